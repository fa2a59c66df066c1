"""Which kind of study a file is."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from taran_eo.config import load_toml
from taran_eo.studies.rows.study import RowStudy
from taran_eo.studies.study import FoldStudy


class _Tells(BaseModel):
    """What decides; all else is looked at later."""

    tiles: Any = None


def load_study(file: Path, changes: Sequence[str] = ()) -> FoldStudy | RowStudy:
    """Read a study: with labelled tiles it is a cross-validation, without them it compares rows on pictures.

    Raises:
        ConfigError: As for `load_toml`.
    """
    if load_toml(file, _Tells, changes).tiles is not None:
        return load_toml(file, FoldStudy, changes)
    return load_toml(file, RowStudy, changes)

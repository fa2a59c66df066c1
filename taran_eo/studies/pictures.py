"""Which pictures a trained network gives their class, left in a file: runs are compared picture by picture."""

from pathlib import Path
from typing import Final
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from taran_eo.errors import CorruptDataError
from taran_eo.metrics import Accuracy
from taran_eo.provenance import sha256_file, sha256_folder
from taran_eo.train import Trained
from taran_eo.train.pictures import is_right
from taran_eo.train.recipe import Images

RIGHT: Final = "right.npz"
"""``bool[n]`` by name of the set, in the order of `taran_eo.train.pictures.scored`."""


def scored_set(images: Images) -> str:
    """What the set that is scored is called."""
    return "test" if images.tuning is None else "tuning"


def scored_digest(images: Images) -> dict[str, str]:
    """SHA-256, by path, of the file or folder that is scored."""
    scored = images.test if images.tuning is None else images.train
    return {str(scored): sha256_folder(scored) if scored.is_dir() else sha256_file(scored)}


def score_pictures(trained: Trained, images: Images, folder: Path) -> Accuracy:
    """Score a network, and leave in `RIGHT` which pictures it gives their class."""
    right = is_right(trained.network, images)
    unfinished = folder / (RIGHT + ".part")
    with unfinished.open("wb") as file:
        np.savez_compressed(file, **{scored_set(images): right})  # type: ignore[arg-type]
    unfinished.replace(folder / RIGHT)
    return Accuracy(len(right), int(right.sum()))


def read_right(folder: Path, name: str, accuracy: Accuracy) -> NDArray[np.bool_]:
    """Whether a network gives each picture of a set its class, ``bool[n]``.

    Args:
        folder: Of the run.
        name: Of the set.
        accuracy: What is known of it.

    Raises:
        CorruptDataError: The file is missing or damaged, or is that of another run.
    """
    path = folder / RIGHT
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as held:
            right: NDArray[np.bool_] = held[name]
        if right.dtype != bool or right.shape != (accuracy.pictures,) or right.sum() != accuracy.right:
            raise ValueError(f"it does not tell of {accuracy.right} right of {accuracy.pictures} pictures")
    except (OSError, ValueError, KeyError, EOFError, AttributeError, TypeError, BadZipFile) as error:
        raise CorruptDataError(
            f"{path} is damaged or missing ({type(error).__name__}: {error})",
            remedy="Remove it, and carry the run out again: it is then scored again",
            path=path,
        ) from error
    return right

"""What all tests share: where the real imagery is, and how Hypothesis searches."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import settings

from taran_eo.cli import main

REPOSITORY = Path(__file__).resolve().parents[1]

# A loaded machine is slow, not wrong; and a failure in CI must be the same failure on the next run.
settings.register_profile("taran", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("taran")


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real imagery beside the checkout; it may not be redistributed and so is not in it."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        message = f"real imagery is missing: {folder} does not exist"
        if "CI" in os.environ:
            pytest.fail(message)
        pytest.skip(message)
    return folder


@dataclass(frozen=True)
class Said:
    """What a call of the command line gave."""

    code: int
    out: str
    err: str


@pytest.fixture
def taran_eo(monkeypatch, capfd) -> Callable[..., Said]:
    """The command line within this process: ``taran_eo("run", folder, "-o", out)``.

    What C libraries print counts as well, and a traceback is an error here.
    """

    def call(*arguments: object) -> Said:
        capfd.readouterr()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["taran-eo", *map(str, arguments)])
            with pytest.raises(SystemExit) as end:
                main()
        return Said(end.value.code, *capfd.readouterr())

    return call

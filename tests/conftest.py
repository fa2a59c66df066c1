"""What all tests share: where the real imagery is, and how Hypothesis searches."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

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

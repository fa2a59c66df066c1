"""Output files: their names, and how they all appear at once or not at all."""

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp

from taran_eo.errors import OutputError, TaranError
from taran_eo.imagery.mask import MASK_SUFFIX
from taran_eo.journal import sync_folder

MASK = MASK_SUFFIX
SHIPS_ON_EARTH = ".ships.geojson"
SHIPS_IN_PIXELS = ".ships.json"
PRODUCT = ".product"

LONGEST_NAME_BYTES = 200
"""Of a scene among the outputs: file systems take 255, and endings, also those of temporary files, need some."""

_SCRATCH = ".partial-"


def place(folder: Path, name: str, ending: str) -> Path:
    """Where the output of a scene with that ending lies."""
    return folder / f"{name}{ending}"


@contextmanager
def together(folder: Path, files: Sequence[Path]) -> Iterator[Mapping[Path, Path]]:
    """A temporary name for each file, below `folder`; on success all are made durable and renamed, else removed.

    Raises:
        OutputError: A file cannot be written; names the file.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        scratch = Path(mkdtemp(prefix=_SCRATCH, dir=folder))
    temporaries = {file: scratch / file.name for file in files}
    try:
        yield temporaries
        for file, temporary in temporaries.items():
            with writing(file), temporary.open("rb") as written:
                os.fsync(written.fileno())
        for file, temporary in temporaries.items():
            with writing(file):
                file.parent.mkdir(parents=True, exist_ok=True)
                temporary.replace(file)
        for parent in {file.parent for file in files}:
            with writing(parent):
                sync_folder(parent)
    finally:
        rmtree(scratch, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Remove what a killed run has left half-written; no other run may be at work in `folder`."""
    for scratch in folder.glob(f"{_SCRATCH}*"):
        rmtree(scratch, ignore_errors=True)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the system says about `path` into an `OutputError` that names it."""
    try:
        yield
    except TaranError:
        raise
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written: {error.strerror or error}",
            remedy="Check that its folder may be written and that the disk has room; then run again",
            path=path,
            errno=error.errno,
        ) from error


def names(roots: Sequence[Path], files: Sequence[Path]) -> dict[Path, str]:
    """A name for each scene among the outputs: unique, and with the folders below the root it was found in.

    A file that was given by itself is called by its stem. Scenes that would share a name keep the folders in
    which they differ, and their endings if that is all.

    Args:
        roots: Files and folders as the user gave them.
        files: The scenes found there.

    Raises:
        OutputError: Two scenes cannot be told apart by name.
    """
    plain = {file: _below(roots, file).with_suffix("") for file in files}
    folders = _apart(plain, {file: file.resolve().with_suffix("") for file in files})
    full = _apart(folders, {file: file.resolve() for file in files})
    for group in _groups(full):
        if len(group) > 1:
            raise OutputError(
                f"{group[0]} and {group[1]} would be written under one name, {full[group[0]]}",
                remedy="Run them into different output folders",
                files=tuple(group),
            )
    return {file: name.as_posix() for file, name in full.items()}


def readable(name: str) -> str:
    """The name of a file as text: where it holds bytes that are no UTF-8, with a mark in their place."""
    return name.encode(errors="surrogateescape").decode(errors="replace")


def _below(roots: Sequence[Path], file: Path) -> Path:
    for root in roots:
        if root != file and file.is_relative_to(root):
            return file.relative_to(root)
    return Path(file.name)


def _groups(chosen: Mapping[Path, Path]) -> list[list[Path]]:
    """The files by name; a file system may not tell upper from lower case, so names must not rely on it."""
    groups: dict[str, list[Path]] = defaultdict(list)
    for file, name in chosen.items():
        groups[name.as_posix().casefold()].append(file)
    return list(groups.values())


def _apart(chosen: Mapping[Path, Path], longer: Mapping[Path, Path]) -> dict[Path, Path]:
    """`chosen`, where files that share a name get what is below the last folder common to them instead."""
    result = dict(chosen)
    for group in _groups(chosen):
        if len(group) > 1:
            common = Path(os.path.commonpath([longer[file].parent for file in group]))
            result |= {file: longer[file].relative_to(common) for file in group}
    return result

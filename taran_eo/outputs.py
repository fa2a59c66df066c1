"""Output files: their names, and how they all appear at once or not at all."""

import os
from collections import defaultdict
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
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

    Where a rename fails, those before it are undone, and what the files replaced is there again. A kill between
    two renames can still part them: a set is whole when the journal has its line.

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
        with ExitStack() as undo:
            for file, temporary in temporaries.items():
                with writing(file):
                    file.parent.mkdir(parents=True, exist_ok=True)
                    if file.is_file():
                        aside = file.rename(scratch / f"{file.name}.old")
                        undo.callback(aside.rename, file)
                    temporary.replace(file)
                    undo.callback(file.unlink)
            for parent in {file.parent for file in files}:
                with writing(parent):
                    sync_folder(parent)
            undo.pop_all()
    finally:
        rmtree(scratch, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Remove what a killed run has left half-written; no other run may be at work in `folder`."""
    for scratch in folder.glob(f"{_SCRATCH}*"):
        rmtree(scratch, ignore_errors=True)


def clear(folder: Path, name: str, keep: Container[str]) -> None:
    """Remove the outputs of a scene, durably, but those whose path within `folder` is to be kept.

    Raises:
        OutputError: One cannot be removed.
    """
    for ending in (MASK, SHIPS_ON_EARTH, SHIPS_IN_PIXELS, PRODUCT):
        file = place(folder, name, ending)
        # Not `Path.is_file`, which raises where a name is too long for the file system.
        if f"{name}{ending}" not in keep and os.path.isfile(file):  # noqa: PTH113
            with writing(file):
                file.unlink()
                sync_folder(file.parent)


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
    which they differ, and their endings if that is all. Where only upper and lower case differ, the later ones
    get a number as well: ``A.jpg``, ``a.jpg~2``.

    Args:
        roots: Files and folders as the user gave them.
        files: The scenes found there.
    """
    plain = {file: _below(roots, file).with_suffix("") for file in files}
    folders = _apart(plain, {file: file.resolve().with_suffix("") for file in files})
    full = _apart(folders, {file: file.resolve() for file in files})
    taken: set[str] = set()
    unique: dict[Path, str] = {}
    for file, path in full.items():
        name = path.as_posix()
        tries = (name, *(f"{name}~{number}" for number in range(2, len(full) + 1)))
        unique[file] = next(each for each in tries if each.casefold() not in taken)
        taken.add(unique[file].casefold())
    return unique


def located(file: Path) -> str:
    """Where a file lies, as text: links resolved, so that it can be told from another of the same name."""
    return readable(str(file.resolve()))


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

"""What lies in a folder, as ``sha256sum -c SHA256SUMS`` checks it: written as a whole, read with distrust."""

from collections.abc import Collection
from pathlib import Path, PurePosixPath

from taran_eo.errors import CorruptDataError
from taran_eo.provenance import sha256_file, sha256_files

SUMS = "SHA256SUMS"
_REMEDY = "Copy the folder again from where it came; do not fly this one"


def write_sums(folder: Path) -> None:
    """Write a line for every file of a folder and of the folders in it."""
    names = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file() and path.name != SUMS)
    lines = [f"{digest}  {name}\n" for name, digest in sha256_files(folder, names).items()]
    (folder / SUMS).write_text("".join(lines), encoding="utf-8")


def check_sums(folder: Path, *, required: Collection[str], spared: Collection[str] = ()) -> tuple[str, ...]:
    """Check every file of a folder that has a sum against it.

    Args:
        folder: The folder.
        required: Files that must have a sum.
        spared: Files that may be missing although they have one.

    Returns:
        The files that were checked; others of the folder were not looked at.

    Raises:
        CorruptDataError: A file is missing, was altered, or has no sum; its attribute ``path`` tells which.
    """
    sums = _read(folder / SUMS)
    for name in required:
        if name not in sums:
            raise _corrupt(folder / SUMS, f"has no line for {name}")
    for name, expected in sums.items():
        path = folder / name
        if not path.is_file():
            if name in spared:
                continue
            raise _corrupt(path, "is missing")
        if sha256_file(path) != expected:
            raise _corrupt(path, f"was altered: its SHA-256 is not the one in {SUMS}")
    return tuple(sums)


def _read(path: Path) -> dict[str, str]:
    """Digest by name; only names below the folder itself are let through."""
    try:
        # Not splitlines, which would take a line feed with one flipped bit for a line break all the same.
        lines = path.read_bytes().decode("ascii").removesuffix("\n").split("\n")
    except OSError as error:
        raise _corrupt(path, f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise _corrupt(path, "was altered: it holds more than ASCII") from error
    sums: dict[str, str] = {}
    for line in lines:
        digest, gap, name = line[:64], line[64:66], line[66:]
        plain = PurePosixPath(name).as_posix() == name and not name.startswith("/") and ".." not in name.split("/")
        if gap != "  " or set(digest) - set("0123456789abcdef") or not plain or name in sums or "\\" in name:
            raise _corrupt(path, f"has the garbled line {line!r}")
        sums[name] = digest
    return sums


def _corrupt(path: Path, what: str) -> CorruptDataError:
    return CorruptDataError(f"{path} {what}", remedy=_REMEDY, path=path)

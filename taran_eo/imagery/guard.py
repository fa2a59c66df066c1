"""What a file says it is, and whether it is safe to open: decided from its first bytes and its size."""

from pathlib import Path
from stat import S_ISREG
from typing import Literal

from taran_eo.errors import ImageryError

Kind = Literal["jpeg", "png", "tiff", "jp2"]

DRIVERS: dict[Kind, str] = {"png": "PNG", "tiff": "GTiff", "jp2": "JP2OpenJPEG"}
"""The one GDAL driver for each kind; a file can never choose another (a VRT could name any path or URL)."""

_SIGNATURES: tuple[tuple[bytes, Kind], ...] = (
    (b"\xff\xd8\xff", "jpeg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
    (b"II+\0", "tiff"),
    (b"MM\0+", "tiff"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "jp2"),
    (b"\xff\x4f\xff\x51", "jp2"),
)

WHOLE_LIMIT_BYTES = 512 * 2**20
"""Most bytes that one indivisible piece of a file (a JPEG, a PNG, a TIFF strip) may take when decoded."""

BOMB_RATIO = 1000
"""Deflate cannot compress by more than 1032, and real imagery by far less."""

BOMB_BYTES = 2 * 2**30
"""Below this a strange ratio is let through: it costs seconds, and a test chart may look like that."""


def sniff(path: Path) -> Kind:
    """The kind of image that a file begins like.

    Raises:
        ImageryError: The file cannot be read, is empty, or begins like no image that we read; or its name is one
            that neither GDAL nor a journal can hold.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise ImageryError(f"{path} has a name that is not UTF-8", remedy="Rename the file", path=path) from error
    head = None
    try:
        # A pipe would keep us waiting for what may never come, and cannot be read twice.
        if S_ISREG(path.stat().st_mode):
            with path.open("rb") as file:
                head = file.read(16)
    except OSError as error:
        raise ImageryError(
            f"{path} cannot be read: {error.strerror}", remedy="Check the path and its permissions", path=path
        ) from error
    if head is None:
        raise ImageryError(f"{path} is no regular file", remedy="Give an image file", path=path)
    for signature, kind in _SIGNATURES:
        if head.startswith(signature):
            return kind
    if not head:
        raise ImageryError(f"{path} is empty (0 bytes)", remedy="Copy the file again from its source", path=path)
    raise ImageryError(
        f"{path} is no JPEG, PNG, TIFF or JPEG 2000 file: it begins with {head[:8]!r}",
        remedy="Convert it to GeoTIFF, or take it out of the list",
        path=path,
    )


def check_size(path: Path, raw_bytes: int, piece_bytes: int) -> None:
    """Refuse, before anything is allocated, a file that declares far more pixels than it can hold.

    Args:
        path: The file.
        raw_bytes: Bytes of all its pixels as declared.
        piece_bytes: Bytes of the largest piece that is decoded at once (the whole image for JPEG and PNG).

    Raises:
        ImageryError: The declared size is beyond the limits above.
    """
    file_bytes = path.stat().st_size
    if piece_bytes > WHOLE_LIMIT_BYTES:
        raise ImageryError(
            f"{path} holds a piece that can only be decoded whole and then takes {piece_bytes / 2**20:.0f} MiB, "
            f"more than {WHOLE_LIMIT_BYTES // 2**20} MiB (the file has {file_bytes} bytes)",
            remedy=f"If it is a true image, make it a tiled GeoTIFF: gdal_translate -of COG {path.name} out.tif",
            path=path,
            piece_bytes=piece_bytes,
            limit_bytes=WHOLE_LIMIT_BYTES,
        )
    if raw_bytes > BOMB_BYTES and raw_bytes > BOMB_RATIO * file_bytes:
        raise ImageryError(
            f"{path} has {file_bytes} bytes and declares {raw_bytes / 2**20:.0f} MiB of pixels, "
            f"{raw_bytes / max(file_bytes, 1):.0f} times as much (limit {BOMB_RATIO}): it looks like a bomb",
            remedy="If it is a true image, cut it into parts, or store it without compression",
            path=path,
            raw_bytes=raw_bytes,
            file_bytes=file_bytes,
        )


def damaged(path: Path, reason: object) -> ImageryError:
    """The error for a file whose pixels cannot be decoded."""
    return ImageryError(
        f"{path} is damaged or cut short: {str(reason).rstrip('.')}",
        remedy="Copy the file again from its source and compare the sizes",
        path=path,
    )

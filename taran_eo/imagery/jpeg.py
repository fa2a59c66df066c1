"""The one JPEG decoder, for scenes and for training alike.

Decoders differ in pixels (inverse DCT, chroma upsampling), so that a network should meet at work the decoder
that it was trained with. libjpeg-turbo through simplejpeg is also four times faster than through GDAL.
"""

from pathlib import Path

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from taran_eo.errors import ContractError, ImageryError
from taran_eo.imagery.guard import check_size, damaged, sniff


def jpeg_header(path: Path) -> tuple[int, int, int]:
    """Rows, columns and stored bands (1 or 3) of a JPEG file, without decoding its pixels.

    Raises:
        ImageryError: The file is no JPEG, is damaged, or declares more pixels than we decode at once.
        ContractError: The file has four inks instead of colours.
    """
    _, header = _opened(path)
    return header


def _opened(path: Path) -> tuple[bytes, tuple[int, int, int]]:
    """The bytes of a JPEG file, and what its header says."""
    kind = sniff(path)
    if kind != "jpeg":
        raise ImageryError(
            f"{path} is a {kind.upper()} file, not a JPEG", remedy="Rename it after what it is", path=path
        )
    data = path.read_bytes()
    try:
        rows, cols, colourspace, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError as error:
        raise damaged(path, error) from error
    if colourspace not in ("YCbCr", "RGB", "Gray"):
        raise ContractError(
            f"{path} is a JPEG in {colourspace}, four inks and not three colours",
            remedy="Convert it to RGB",
            path=path,
            colourspace=colourspace,
        )
    check_size(path, rows * cols * 3, rows * cols * 3)
    return data, (rows, cols, 1 if colourspace == "Gray" else 3)


def read_jpeg(path: Path) -> NDArray[np.uint8]:
    """Decode a whole JPEG file; a greyscale one gives three equal bands. EXIF orientation is not applied.

    Args:
        path: The file.

    Returns:
        uint8[rows, cols, 3], red, green, blue.

    Raises:
        ImageryError: The file is no JPEG, is damaged or cut short, or is too large to decode at once.
        ContractError: The file has four inks instead of colours.
    """
    data, _ = _opened(path)
    try:
        # strict: a file that is cut short raises here; a lenient decoder fills the rest with grey.
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, "RGB", strict=True)
    except ValueError as error:
        raise damaged(path, error) from error
    return pixels

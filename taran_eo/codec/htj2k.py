"""High-throughput JPEG 2000, lossless: some eight times as fast as JPEG 2000, a tenth larger.

The bands lie one below the other in one plane; the codestream is a complete file that any decoder of part 15 reads.

Source:
    ITU-T T.814 (ISO/IEC 15444-15); coded by OpenJPH.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from taran_eo.codec import confined, j2k_markers
from taran_eo.codec.image_shape import ImageShape, Pixels, imagecodecs


@dataclass(frozen=True, slots=True)
class Htj2k:
    """The codec."""

    number: ClassVar[int] = 4
    name: ClassVar[str] = "htj2k"
    lossless: ClassVar[bool] = True

    def encode(self, pixels: Pixels, shape: ImageShape) -> bytes:
        """The codestream.

        Raises:
            FormatError: More rows or columns than a codestream holds.
        """
        shape.refuse_beyond(j2k_markers.LONGEST, "JPEG 2000")
        plane = np.ascontiguousarray(pixels.reshape(shape.stacked))
        return j2k_markers.without_comments(bytes(imagecodecs().htj2k_encode(plane, reversible=True)))

    def decode(self, body: bytes, shape: ImageShape) -> Pixels:
        """The samples of a codestream.

        Raises:
            CorruptDataError: Its header is not one that `encode` writes for the shape.
        """
        j2k_markers.check(body, shape.stacked, 1, 8 * shape.dtype.itemsize, high_throughput=True)
        return confined.decode("htj2k_decode", body, shape)

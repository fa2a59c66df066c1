"""JPEG 2000, lossless or at a stated quality.

The bands lie one below the other in one plane; three bands at a stated quality go through the colour transform of the
standard instead, which halves them on real tiles. A codestream of one band, or of three with loss, is a complete file
that any decoder reads.

Source:
    ITU-T T.800 (ISO/IEC 15444-1); coded by OpenJPEG.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from taran_eo.codec import confined, j2k_markers
from taran_eo.codec.image_shape import ImageShape, Pixels, imagecodecs
from taran_eo.errors import ConfigError

_RED_GREEN_BLUE = 3


@dataclass(frozen=True, slots=True)
class Jpeg2000:
    """The codec.

    Attributes:
        psnr_db: Peak signal to noise ratio that the encoder aims at over all samples, the peak being 2**bits - 1; None
            is lossless. What comes out lies up to 2 dB lower, and further where rounding to whole samples forbids it: 8
            bits hold about 52 dB.

    Raises:
        ConfigError: A ratio that means nothing.
    """

    number: ClassVar[int] = 3
    psnr_db: float | None = None

    def __post_init__(self) -> None:
        if self.psnr_db is not None and not 10 <= self.psnr_db <= 100:
            raise ConfigError(
                f"JPEG 2000 cannot aim at {self.psnr_db} dB",
                remedy="Give 10 to 100 dB, or None for no loss",
                psnr_db=self.psnr_db,
            )

    @property
    def name(self) -> str:
        """``jpeg-2000`` without loss, else ``jpeg-2000-NdB``."""
        return "jpeg-2000" if self.psnr_db is None else f"jpeg-2000-{self.psnr_db:g}db"

    @property
    def lossless(self) -> bool:
        """Whether what goes in comes out."""
        return self.psnr_db is None

    def encode(self, pixels: Pixels, shape: ImageShape) -> bytes:
        """The codestream.

        Raises:
            FormatError: More rows or columns than a codestream holds.
        """
        shape.refuse_beyond(j2k_markers.LONGEST, "JPEG 2000")
        quality: dict[str, Any] = {"level": 0, "reversible": True} if self.psnr_db is None else {"level": self.psnr_db}
        in_colour = self.psnr_db is not None and shape.bands == _RED_GREEN_BLUE
        image = pixels.transpose(1, 2, 0) if in_colour else pixels.reshape(shape.stacked)
        stream = imagecodecs().jpeg2k_encode(
            np.ascontiguousarray(image), codecformat="j2k", bitspersample=shape.bits, numthreads=1, **quality
        )
        return j2k_markers.without_comments(bytes(stream))

    def decode(self, body: bytes, shape: ImageShape) -> Pixels:
        """The samples of a codestream.

        Raises:
            CorruptDataError: Its header is not one that `encode` writes for the shape.
        """
        components = j2k_markers.components(body)
        in_colour = components == shape.bands == _RED_GREEN_BLUE
        plane = (shape.rows, shape.cols) if in_colour else shape.stacked
        j2k_markers.check(body, plane, _RED_GREEN_BLUE if in_colour else 1, shape.bits, high_throughput=False)
        image = confined.decode("jpeg2k_decode", body, shape, numthreads=1)
        return image.reshape(shape.rows, shape.cols, shape.bands).transpose(2, 0, 1) if in_colour else image

"""What a file costs on the wire: bundles, CFDP, space packets, frames, Reed-Solomon and markers, counted exactly.

The formula agrees, to the frame, with what `taran_eo.wire` makes of the same files in class 1; class 2 adds an
acknowledgement of some twenty bytes a file, which is not counted.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from taran_eo.codec.bundle import BUNDLE_BYTES
from taran_eo.wire.cfdp import SEGMENT_OFFSET_BYTES, Cfdp
from taran_eo.wire.framing import Framing
from taran_eo.wire.packets import PACKET_HEADER_BYTES, SHORTEST_PACKET_BYTES

NAME_BYTES = 22
"""Of the longest usual name of a bundle, ``00000-counts-ships.teo``."""

_METADATA_BYTES = 1 + 1 + 4 + 2
"""Directive code, flags with the kind of checksum, size of the file, and the lengths of both names: CCSDS 727.0-B-5,
section 5.2.5. The name goes twice, as that of the source and of the destination."""

_END_BYTES = 1 + 1 + 4 + 4
"""Directive code, condition, checksum and size of the file: CCSDS 727.0-B-5, section 5.2.2."""


@dataclass(frozen=True)
class Overheads:
    """The wire as it is set up.

    Attributes:
        framing: Frames and their coding.
        cfdp: How files are delivered.
    """

    framing: Framing
    cfdp: Cfdp

    @property
    def frame_bits(self) -> int:
        """Bits of a frame with its marker and check symbols."""
        return 8 * self.framing.cadu_bytes

    def frames(self, product_bytes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Frames of products that go in bundles of at most `BUNDLE_BYTES`, each a file of its own.

        Args:
            product_bytes: int64[...]; zero is no product, and no frame.
        """
        whole, rest = np.divmod(product_bytes, BUNDLE_BYTES)
        result: NDArray[np.int64] = whole * self.file_frames(np.array(BUNDLE_BYTES)) + np.where(
            rest > 0, self.file_frames(rest), 0
        )
        return result

    def file_frames(self, file_bytes: NDArray[np.int64], name_bytes: int = NAME_BYTES) -> NDArray[np.int64]:
        """Frames of one file, the last one filled up.

        Segments of file data end where frames end, as `taran_eo.wire.way.segment_bytes` cuts them.

        Args:
            file_bytes: int64[...].
            name_bytes: Length of the file's name.
        """
        zone = self.framing.data_bytes
        fixed = PACKET_HEADER_BYTES + self.cfdp.header_bytes
        directive = fixed - SEGMENT_OFFSET_BYTES
        metadata = directive + _METADATA_BYTES + 2 * name_bytes
        first = np.minimum(self._room(zone - metadata % zone), file_bytes)
        segments = -(-(file_bytes - first) // self._room(zone)) + (first > 0)
        total = metadata + file_bytes + segments * fixed + directive + _END_BYTES
        fill = -total % zone
        result: NDArray[np.int64] = (total + fill) // zone + ((fill > 0) & (fill < SHORTEST_PACKET_BYTES))
        return result

    def _room(self, left: int) -> int:
        """The longest segment of file data where `left` bytes of a frame are left."""
        fixed = PACKET_HEADER_BYTES + self.cfdp.header_bytes
        fits = left - fixed
        while fits < fixed:
            fits += self.framing.data_bytes
        return fits

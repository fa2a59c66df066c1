"""How files travel: everything that both ends must have in common."""

from taran_eo.config import Settings
from taran_eo.wire.cfdp import Cfdp
from taran_eo.wire.framing import Framing


class Wire(Settings):
    """How files travel; the same value on both sides.

    Attributes:
        framing: Packets in frames, and how frames are coded.
        cfdp: Files in packets.
    """

    framing: Framing = Framing(spacecraft=1)
    cfdp: Cfdp = Cfdp()

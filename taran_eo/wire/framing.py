"""How bytes go down: the settings that both ends must share, and the sizes that follow from them."""

from typing import Annotated, Any, Final, Literal

from pydantic import Field, model_validator

from taran_eo.config import Settings

MARKER = bytes.fromhex("1ACFFC1D")
"""The attached synchronization marker before each frame (CCSDS 131.0-B, frame synchronization)."""

CODEWORD_DATA_BYTES = 223
"""Data symbols of a Reed-Solomon codeword, E = 16 (CCSDS 131.0-B, Reed-Solomon coding)."""

CODEWORD_CHECK_BYTES = 32
"""Check symbols of a Reed-Solomon codeword, E = 16."""

HEADER_BYTES = 6
"""Primary header of a TM frame (CCSDS 132.0-B) and of an AOS frame without header error control (CCSDS 732.0-B)."""

POINTER_BYTES = 2
"""The header of the packet zone of an AOS frame, the M_PDU header (CCSDS 732.0-B); a TM frame has it in its own."""

ERROR_CONTROL_BYTES = 2
"""The frame error control field of both kinds."""

MOST_FRAME_BYTES = 2048
"""CCSDS 132.0-B limits a TM frame to this; the 11 bits of a first header pointer could not tell more in AOS either."""

USUAL_INTERLEAVING: Final = 5
"""It gives the usual frame of 1115 bytes."""

INTERLEAVINGS: Final = (1, 2, 3, 4, 5, 8)
"""Codewords that a frame may be made of (CCSDS 131.0-B, Reed-Solomon coding)."""

LEAST_DATA_BYTES = 7
"""The shortest packet, so that fill fits into any frame."""


class Framing(Settings):
    """How bytes go down; the same value on both sides.

    Attributes:
        kind: Telemetry frames (CCSDS 132.0-B) or AOS frames (CCSDS 732.0-B).
        spacecraft: Identifier of the spacecraft: 10 bits in TM, 8 bits in AOS.
        virtual_channel: The one virtual channel that is used: 0 to 7 in TM, 0 to 62 in AOS.
        interleaving: Reed-Solomon codewords a frame (CCSDS 131.0-B allows 1, 2, 3, 4, 5 and 8), 0 for no Reed-Solomon.
        frame_bytes: Length of a frame; where not given, what fills the codewords (1115 with 5 of them, or without
            any). A shorter frame makes shortened codewords (virtual fill): then a multiple of the interleaving.
        fecf: Whether a frame ends in a frame error control field, a CRC of 16 bits. It is needed without Reed-Solomon,
            since nothing else would tell a frame from noise, and without randomizing: codewords are cyclic, so that
            what begins a few bytes beside a frame is nearly one as well.
        randomize: Whether frames and check symbols are randomized, so that the receiver always sees transitions.
    """

    kind: Literal["tm", "aos"] = "tm"
    spacecraft: Annotated[int, Field(ge=0, le=1023)]
    virtual_channel: Annotated[int, Field(ge=0, le=62)] = 0
    interleaving: Literal[0, 1, 2, 3, 4, 5, 8] = USUAL_INTERLEAVING
    frame_bytes: Annotated[int, Field(le=MOST_FRAME_BYTES)] = CODEWORD_DATA_BYTES * USUAL_INTERLEAVING
    fecf: bool = True
    randomize: bool = True

    @model_validator(mode="before")
    @classmethod
    def _full_codewords(cls, given: Any) -> Any:  # noqa: ANN401 - whatever was given
        # Not by a default factory: where another key is refused, pydantic would complain of this one as well.
        if not isinstance(given, dict) or "frame_bytes" in given:
            return given
        interleaving = given.get("interleaving", USUAL_INTERLEAVING)
        if type(interleaving) is not int or interleaving not in INTERLEAVINGS:
            return given
        return {**given, "frame_bytes": CODEWORD_DATA_BYTES * interleaving}

    @model_validator(mode="after")
    def _consistent(self) -> "Framing":
        if self.kind == "tm" and self.virtual_channel > 7:
            raise ValueError(f"virtual_channel = {self.virtual_channel}, but kind = 'tm' has the channels 0 to 7")
        if self.kind == "aos" and self.spacecraft > 255:
            raise ValueError(f"spacecraft = {self.spacecraft}, but kind = 'aos' has 8 bits for it, 0 to 255")
        if self.data_bytes < LEAST_DATA_BYTES:
            raise ValueError(
                f"frame_bytes = {self.frame_bytes} leaves {self.data_bytes} bytes for packets, "
                f"and at least {LEAST_DATA_BYTES} are needed"
            )
        if not self.fecf and not (self.interleaving and self.randomize):
            raise ValueError(
                f"fecf = False, but interleaving = {self.interleaving} and randomize = {self.randomize} leave nothing "
                "else to recognize a frame by"
            )
        if self.interleaving:
            most = CODEWORD_DATA_BYTES * self.interleaving
            if self.frame_bytes > most or self.frame_bytes % self.interleaving:
                raise ValueError(
                    f"frame_bytes = {self.frame_bytes}, but interleaving = {self.interleaving} takes multiples of "
                    f"{self.interleaving} up to {most}"
                )
        return self

    @property
    def data_bytes(self) -> int:
        """Bytes of packets in a frame."""
        pointer = POINTER_BYTES if self.kind == "aos" else 0
        return self.frame_bytes - HEADER_BYTES - pointer - ERROR_CONTROL_BYTES * self.fecf

    @property
    def check_bytes(self) -> int:
        """Bytes of Reed-Solomon check symbols behind a frame."""
        return CODEWORD_CHECK_BYTES * self.interleaving

    @property
    def cadu_bytes(self) -> int:
        """Bytes of a channel access data unit: marker, frame and check symbols."""
        return len(MARKER) + self.frame_bytes + self.check_bytes

    @property
    def overhead(self) -> float:
        """What framing and coding add to a byte of packets, as a fraction."""
        return self.cadu_bytes / self.data_bytes - 1

    @property
    def counts(self) -> int:
        """After how many frames the count of a virtual channel begins again: 8 bits in TM, 24 in AOS."""
        return 1 << 8 if self.kind == "tm" else 1 << 24

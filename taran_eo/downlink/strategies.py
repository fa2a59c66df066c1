"""What may be sent of an image, from all that the sensor gave to nothing but the ships."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from taran_eo.codec.header import Step
from taran_eo.downlink.acquisition import Acquired
from taran_eo.downlink.scenario import Ratios
from taran_eo.errors import ConfigError

Compression = Literal["none", "ccsds_121", "jpeg_ls", "jpeg_2000"]


@dataclass(frozen=True)
class Strategy:
    """One way to use the downlink.

    Attributes:
        name: Name in tables.
        what: What goes down.
        levels: Levels of the product ladder that go down; the first of them is the first sign of a ship on the ground.
        imagery: How whole scenes are compressed, where they go down.
        clear_only: Whether what is under clouds is left out, by a detector that makes no mistakes and takes no time.
    """

    name: str
    what: str
    levels: tuple[Step, ...] = ("scene",)
    imagery: Compression = "none"
    clear_only: bool = False

    @property
    def on_board(self) -> bool:
        """Whether ships are sought on board."""
        return self.levels != ("scene",)

    def imagery_bytes(self, seen: Acquired) -> NDArray[np.float64]:
        """Bytes of the pixels of each segment that go down, before compression."""
        return np.asarray(seen.raw_bytes * (seen.clear if self.clear_only else 1.0), dtype=np.float64)

    def product_bytes(self, seen: Acquired, ratios: Ratios) -> Mapping[Step, NDArray[np.int64]]:
        """Bytes of the products of each segment, by level.

        Args:
            seen: The segments.
            ratios: What compression gives.
        """
        if not self.on_board:
            ratio = 1.0 if self.imagery == "none" else getattr(ratios, self.imagery)
            return {"scene": np.ceil(self.imagery_bytes(seen) / ratio).astype(np.int64)}
        found = {
            "ships": seen.drawn.ships_bytes,
            "mask": seen.drawn.mask_bytes,
            "chips": seen.drawn.chips_bytes,
            "regions": seen.drawn.regions_bytes,
        }
        # The headers of the scenes go with what goes first.
        return {level: found[level] + (seen.header_bytes if level == self.levels[0] else 0) for level in self.levels}


STRATEGIES = (
    Strategy("raw", "all that the sensor gives"),
    Strategy("ccsds-121", "all, CCSDS 121 lossless", imagery="ccsds_121"),
    Strategy("jpeg-ls", "all, JPEG-LS lossless", imagery="jpeg_ls"),
    Strategy("jpeg-2000", "all, JPEG 2000 lossy", imagery="jpeg_2000"),
    Strategy("cloud-drop", "what no cloud covers, JPEG-LS lossless", imagery="jpeg_ls", clear_only=True),
    Strategy("regions", "ships, their surroundings, and a coarse sea", ("ships", "regions")),
    Strategy("mask-and-chips", "ships, masks, and a chip of each ship", ("ships", "mask", "chips")),
    Strategy("mask", "masks", ("mask",)),
    Strategy("ships", "the list of ships", ("ships",)),
)
"""All strategies, by the bytes that they take on open sea."""

REFERENCE = "jpeg-ls"


def chosen(names: Sequence[str] | None) -> tuple[Strategy, ...]:
    """The strategies of these names in the usual order; None for all.

    Raises:
        ConfigError: There is none of that name; the nearest is named.
    """
    known = [each.name for each in STRATEGIES]
    for name in names or ():
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise ConfigError(
                f"There is no strategy {name!r}",
                remedy=f"Did you mean {near[0]}?" if near else f"Name one of {', '.join(known)}",
                strategy=name,
            )
    return tuple(each for each in STRATEGIES if names is None or each.name in names)

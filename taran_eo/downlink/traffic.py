"""What imagery gives to send: the ships and bytes of scenes, to draw from."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from taran_eo.config import Settings
from taran_eo.errors import ConfigError

COLUMNS = ("ships_bytes", "mask_bytes", "chips_bytes", "regions_bytes")


class Alike(Settings):
    """Scenes of one kind.

    Attributes:
        scenes: How many there were.
        ships: Ships in each.
        ships_bytes: List of the ships, mean of these scenes.
        mask_bytes: Mask, likewise.
        chips_bytes: A chip of each ship, likewise.
        regions_bytes: Ships with their surroundings above a coarse sea, likewise.
    """

    scenes: int = Field(ge=1)
    ships: int = Field(ge=0)
    ships_bytes: float = Field(ge=0, allow_inf_nan=False)
    mask_bytes: float = Field(ge=0, allow_inf_nan=False)
    chips_bytes: float = Field(ge=0, allow_inf_nan=False)
    regions_bytes: float = Field(ge=0, allow_inf_nan=False)


class Traffic(Settings):
    """Scenes to draw from.

    Attributes:
        source: What they were.
        scene_km2: Mean area of a scene.
        pixel_m: Ground sampling distance of the pixels that were looked at.
        header_bytes: Mean of what is told of every scene, whatever is in it.
        origin_bytes: What is told once of all scenes of a file.
        alike: The scenes.
    """

    source: str
    scene_km2: float = Field(gt=0, allow_inf_nan=False)
    pixel_m: float = Field(gt=0, allow_inf_nan=False)
    header_bytes: float = Field(ge=0, allow_inf_nan=False)
    origin_bytes: float = Field(ge=0, allow_inf_nan=False)
    alike: tuple[Alike, ...] = Field(min_length=1)

    @property
    def ships_km2(self) -> float:
        """Ships a km2."""
        scenes = sum(each.scenes for each in self.alike)
        return sum(each.scenes * each.ships for each in self.alike) / scenes / self.scene_km2

    def draw(self, scenes: NDArray[np.int64], ships_km2: float | None, rng: np.random.Generator) -> "Drawn":
        """What so many scenes give, drawn with replacement.

        Args:
            scenes: int64[segments], scenes of each segment.
            ships_km2: Ships a km2 that there are to be: scenes with ships are drawn less or more often for it. None
                for as many as in the run.
            rng: Chance.

        Raises:
            ConfigError: More ships than these scenes can give.
        """
        columns = [[each.ships, *(getattr(each, column) for column in COLUMNS)] for each in self.alike]
        # Water where nothing is has no list and no mask, but a coarse image as others have.
        columns.append([0, 0.0, 0.0, 0.0, min(each.regions_bytes for each in self.alike)])
        counts = rng.multinomial(scenes, self._chances(ships_km2), size=scenes.shape)
        ships, *sizes = (counts @ np.array(columns)).T
        ships_bytes, mask_bytes, chips_bytes, regions_bytes = (np.ceil(each).astype(np.int64) for each in sizes)
        return Drawn(ships, ships_bytes, mask_bytes, chips_bytes, regions_bytes)

    def _chances(self, ships_km2: float | None) -> NDArray[np.float64]:
        """Of each kind of scene, and last of one without anything in it."""
        usual = np.array([each.scenes for each in self.alike], dtype=np.float64)
        usual /= usual.sum()
        if ships_km2 is None:
            return np.append(usual, 0.0)
        full = np.array([each.ships > 0 for each in self.alike])
        change = 0.0 if ships_km2 == 0 else ships_km2 / self.ships_km2 if full.any() else math.inf
        share = float(usual[full].sum()) * change if full.any() else change
        if share > 1:
            most = self.ships_km2 / float(usual[full].sum()) if full.any() else 0.0
            raise ConfigError(
                f"traffic.ships_km2 = {ships_km2:g}, but scenes such as those of {self.source} give {most:g} at most",
                remedy="Ask for fewer ships, or take a run over busier waters",
                ships_km2=ships_km2,
                most=most,
            )
        chances = np.where(full, usual * change, 0.0)
        empty = np.where(full, 0.0, usual)
        # The rest of the water holds nothing: as the empty scenes that there were, if there were any.
        if empty.sum() > 0:
            chances += empty / empty.sum() * (1 - share)
            return np.append(chances, 0.0)
        return np.append(chances, 1 - share)


@dataclass(frozen=True)
class Drawn:
    """What segments give, each an array over the segments: ships, and bytes by level of the product ladder."""

    ships: NDArray[np.float64]
    ships_bytes: NDArray[np.int64]
    mask_bytes: NDArray[np.int64]
    chips_bytes: NDArray[np.int64]
    regions_bytes: NDArray[np.int64]

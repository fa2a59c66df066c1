"""The input contract: what a model expects of pixels. Imagery is brought to it, or refused by name."""

from typing import Annotated, Literal

from pydantic import Field

from taran_eo.config import Settings
from taran_eo.errors import ConfigError

GSD_RANGE_M = 0.01, 10_000.0
"""Metres a pixel from which to which a user is believed: a drone over a quay, a weather satellite."""


class Contract(Settings):
    """What the pixels are that a model was trained on.

    There is no mean and no deviation here: normalization is inside the graph, integer pixels go in. Values that this
    version cannot serve are refused.

    Attributes:
        bands: Names of the bands in the order of the graph's input channels.
        bit_depth: Bits of a pixel; deeper scenes are stretched to it once per scene.
        gsd_m: Ground sampling distance in metres a pixel.
        gsd_tolerance: Largest relative difference from `gsd_m` that passes without a warning.
        tone: Tone curve; "display" means grey levels as distributed for viewing (like sRGB), not radiance.
        nodata: Grey level that stands in for pixels without data.
    """

    bands: tuple[Annotated[str, Field(min_length=1)], ...] = Field(("red", "green", "blue"), min_length=1)
    bit_depth: int = Field(8, ge=8, le=8)
    gsd_m: float = Field(1.5, gt=0, allow_inf_nan=False)
    gsd_tolerance: float = Field(0.2, gt=0, lt=1)
    tone: Literal["display"] = "display"
    nodata: int = Field(0, ge=0, le=0)

    def check_request(self, bands: tuple[int, ...] | None, gsd_m: float | None) -> None:
        """Refuse bands and a scale that no scene could be opened with; None leaves them to the scene.

        Raises:
            ConfigError: They make no sense.
        """
        if bands is not None and (len(bands) not in (1, len(self.bands)) or min(bands) < 1):
            raise ConfigError(
                f"The bands {','.join(map(str, bands))} cannot serve as {', '.join(self.bands)}",
                remedy=f"Name {len(self.bands)} bands, counted from 1, or a single one to be repeated",
                bands=bands,
            )
        finest_m, coarsest_m = GSD_RANGE_M
        if gsd_m is not None and not finest_m <= gsd_m <= coarsest_m:
            raise ConfigError(
                f"A ground sampling distance of {gsd_m:g} m makes no sense",
                remedy=f"Give metres a pixel, {finest_m:g} to {coarsest_m:g}",
                gsd_m=gsd_m,
            )

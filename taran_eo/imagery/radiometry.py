"""From deep pixels to grey levels: one linear stretch, fixed per scene and recorded."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LOW_PERCENTILE = 0.1
HIGH_PERCENTILE = 99.9


@dataclass(frozen=True, slots=True)
class Stretch:
    """Grey level = 255 * (value - low) / (high - low), rounded to the nearest even and clipped to 0 to 255.

    One stretch serves all bands of a scene: a stretch per band would turn the blue of the sea into grey.

    Attributes:
        low: Value that becomes 0.
        high: Value that becomes 255; above `low`.
    """

    low: float
    high: float

    @classmethod
    def measured(cls, values: NDArray[np.generic], valid: NDArray[np.bool_]) -> "Stretch":
        """The stretch between the 0.1 and 99.9 percentiles of a scene's valid pixels, all bands together.

        The black point is never above half the white point, so that a scene of nothing but flat sea is not
        stretched into noise.

        Args:
            values: number[bands, rows, cols], usually a decimated read.
            valid: bool[rows, cols]; where no pixel is valid the stretch is 0 to 1.
        """
        inside = values[:, valid].astype(np.float64)
        inside = inside[np.isfinite(inside)]
        if not inside.size:
            return cls(0.0, 1.0)
        low, high = (float(p) for p in np.percentile(inside, (LOW_PERCENTILE, HIGH_PERCENTILE)))
        if high > 0:
            low = min(low, high / 2)
        # A flat scene has no span of its own; this one is wide enough to divide by.
        return cls(low, low + max(high - low, 1e-6 * max(abs(low), abs(high)), 1e-12))

    def apply(self, values: NDArray[np.generic]) -> NDArray[np.uint8]:
        """Grey levels of deep values, in the shape given; values that are not numbers become 0."""
        # The clip comes first: values far outside would overflow, and infinities have no uint8.
        inside = np.clip(values.astype(np.float64), self.low, self.high) - self.low
        return np.rint(np.nan_to_num(inside * (255.0 / (self.high - self.low)), nan=0.0)).astype(np.uint8)

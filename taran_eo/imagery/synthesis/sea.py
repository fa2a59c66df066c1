"""Open water: colour, waves lit from the side, glint, whitecaps, slicks, turbid water and shoals."""

from dataclasses import dataclass
from math import pi

import numpy as np
from numpy.typing import NDArray

from taran_eo.imagery.synthesis.canvas import Canvas, Colour
from taran_eo.imagery.synthesis.noise import fractal, lattice, ramp, unit
from taran_eo.imagery.synthesis.noise import hashed as hash_of

# Mean colours of open water in 1.5 m satellite tiles as distributed, with the range of the contrast of its
# texture (standard deviation in grey levels): deep, dark, teal, turquoise, milky, green, and silver in glint.
_WATERS: tuple[tuple[Colour, float, float], ...] = (
    ((4, 30, 52), 1.0, 4.0),
    ((5, 16, 40), 0.8, 5.0),
    ((12, 48, 58), 1.2, 5.0),
    ((25, 60, 66), 1.5, 7.0),
    ((8, 42, 50), 1.2, 5.0),
    ((22, 80, 100), 1.2, 5.0),
    ((30, 102, 114), 1.5, 5.0),
    ((34, 48, 66), 3.0, 10.0),
    ((60, 80, 92), 2.0, 18.0),
    ((88, 116, 112), 3.0, 16.0),
    ((110, 146, 148), 1.5, 6.0),
    ((90, 95, 98), 8.0, 20.0),
    ((132, 142, 138), 10.0, 26.0),
    ((70, 100, 80), 3.0, 9.0),
)
_WAVES = 72


@dataclass(frozen=True, eq=False, slots=True)
class Sea:
    """The water of a scene.

    Attributes:
        seed: Seed of its noise.
        colour: Mean colour in grey levels.
        contrast: Standard deviation of the waves' brightness in grey levels.
        wave_rows: float64[waves], wave numbers along the rows in radians a metre.
        wave_cols: float64[waves], wave numbers along the columns.
        wave_weight: float64[waves], brightness amplitudes, of unit variance together.
        wave_phase: float64[waves], radians.
        skew: How much sharper crests are than troughs.
        slick_m: Size of patches of calmer and rougher water.
        slick: Strength of the patches, 0 to 1.
        murk: A second colour that drifts through the water, or None.
        murk_m: Size of its patches.
        shoals: Whether patches of bright and dark sea floor show.
        whitecaps: Density of breaking crests, 0 to 1.
        sparkle: Density of coloured glitter, 0 to 1.
    """

    seed: int
    colour: Colour
    contrast: float
    wave_rows: NDArray[np.float64]
    wave_cols: NDArray[np.float64]
    wave_weight: NDArray[np.float64]
    wave_phase: NDArray[np.float64]
    skew: float
    slick_m: float
    slick: float
    murk: Colour | None
    murk_m: float
    shoals: bool
    whitecaps: float
    sparkle: float

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> "Sea":
        """A random sea."""
        mean, least, most = _WATERS[int(len(_WATERS) * rng.random() ** 1.35)]  # dark water is more common
        gain, tint = float(np.exp(rng.normal(-0.05, 0.18))), rng.normal(1, 0.035, 3)
        colour: Colour = tuple(float(level * gain * t) for level, t in zip(mean, tint, strict=True))  # type: ignore[assignment]
        # No water is purple: its green lies at or above the middle of its red and blue.
        colour = (colour[0], max(colour[1], 0.52 * (colour[0] + colour[2])), colour[2])
        contrast = float(np.exp(rng.uniform(np.log(least), np.log(most))))
        wind, sun = rng.uniform(0, 2 * pi, 2)
        # What glitters is seen by its short waves; long swell shows on calm water.
        longest_m = float(np.exp(rng.uniform(np.log(14), np.log(45 if contrast > 6 else 120))))
        length_m = np.exp(rng.uniform(np.log(4.5), np.log(longest_m), _WAVES))
        # Long waves run with the wind, short ones spread around it.
        spread = float(rng.uniform(0.25, 0.7)) * (1 + 0.8 * (10 / length_m))
        direction = wind + rng.normal(0, 1, _WAVES) * spread
        number = 2 * pi / length_m
        weight = length_m ** float(rng.uniform(-0.2, 0.3)) * (0.25 + np.abs(np.cos(direction - sun)))
        murky = rng.random() < 0.3
        # Silt and algae: towards green or brown, and now and then only lighter or darker.
        shift = rng.uniform(0.2, 1.2) * np.array(
            [(12, 22, 6), (26, 20, 6), (14, 18, 18), (-8, -12, -12)][int(rng.integers(4))]
        )
        murk: Colour = tuple(float(max(level + s, 2)) for level, s in zip(colour, shift, strict=True))  # type: ignore[assignment]
        return cls(
            seed=int(rng.integers(2**31)),
            colour=colour,
            contrast=contrast,
            wave_rows=number * np.sin(direction),
            wave_cols=number * np.cos(direction),
            wave_weight=weight / np.sqrt((weight**2).sum() / 2),
            wave_phase=rng.uniform(0, 2 * pi, _WAVES),
            skew=float(rng.uniform(0.05, 0.35)),
            slick_m=float(rng.uniform(150, 700)),
            slick=float(rng.uniform(0.1, 0.6)),
            murk=murk if murky else None,
            murk_m=float(rng.uniform(250, 1200)),
            shoals=bool(rng.random() < 0.05),
            whitecaps=float(rng.uniform(0.2, 1)) if rng.random() < 0.15 else 0.0,
            sparkle=float(rng.uniform(0.1, 1)) if rng.random() < 0.08 else 0.0,
        )

    def paint(self, canvas: Canvas) -> None:
        """Fill a block with this sea."""
        rows_m, cols_m = canvas.rows_m, canvas.cols_m
        waves = self._waves(rows_m, cols_m)
        waves += np.float32(0.35) * lattice(self.seed + 1, rows_m, cols_m, 1.9 * canvas.gsd_m)
        patch = fractal(self.seed + 2, rows_m, cols_m, self.slick_m, 3)
        roughness = 1 + np.float32(2 * self.slick) * patch
        np.maximum(roughness, np.float32(0.15), out=roughness)
        light = waves + np.float32(self.skew) * (waves * waves - 1)
        light *= roughness * np.float32(self.contrast)
        light += patch * np.float32(0.05 * sum(self.colour) / 3 + 0.7)
        canvas.colour += np.array(self.colour, dtype=np.float32)[:, None, None]
        if self.murk is not None:
            drift = fractal(self.seed + 10, rows_m, cols_m, self.murk_m, 4)
            canvas.blend(self.murk, ramp(drift, -0.1, 0.5))
        if self.shoals:
            floor = fractal(self.seed + 20, rows_m, cols_m, 260.0, 5)
            canvas.blend((48, 112, 100), ramp(floor, 0.0, 0.4) * np.float32(0.55))
            canvas.blend((44, 66, 50), ramp(floor, 0.24, 0.5) * np.float32(0.7))
        canvas.colour += light
        if self.whitecaps > 0:
            crest = lattice(self.seed + 30, rows_m, cols_m, 3.2 * canvas.gsd_m, 1.7)
            crest += np.float32(0.9) * lattice(self.seed + 31, rows_m, cols_m, 24.0)
            crest += np.float32(0.12) * waves
            canvas.blend((215, 222, 222), ramp(crest, 1.42 - 0.22 * self.whitecaps, 1.75) * np.float32(0.8))
        if self.sparkle > 0:
            self._glitter(canvas, waves)

    def _waves(self, rows_m: NDArray[np.float64], cols_m: NDArray[np.float64]) -> NDArray[np.float32]:
        # The sum over waves of w cos(kr r + kc c + p) is one matrix product of what depends on r and on c.
        down = rows_m[:, None] * self.wave_rows + self.wave_phase
        right = self.wave_cols[:, None] * cols_m
        left = np.concatenate([np.cos(down), -np.sin(down)], axis=1).astype(np.float32)
        weight = self.wave_weight[:, None]
        over = np.concatenate([weight * np.cos(right), weight * np.sin(right)]).astype(np.float32)
        product: NDArray[np.float32] = left @ over
        return product

    def _glitter(self, canvas: Canvas, waves: NDArray[np.float32]) -> None:
        # The bands of a pushbroom sensor look at different moments, so that glitter comes in single colours.
        first_row, first_col = canvas.window.row, canvas.window.col
        rows = np.arange(first_row, canvas.window.row_stop)[:, None] // 2
        cols = np.arange(first_col, canvas.window.col_stop)[None, :] // 2
        for band in range(3):
            chance = unit(hash_of(self.seed + 40 + band, rows, cols))
            bright = ramp(chance + np.float32(0.01) * waves, 1 - 0.03 * self.sparkle, 1.0)
            canvas.colour[band] += bright * np.float32(130)

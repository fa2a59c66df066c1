"""Soft clouds and the shadows they cast."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from taran_eo.imagery.synthesis.canvas import Canvas
from taran_eo.imagery.synthesis.noise import Field, fractal, fractal_at, ramp


@dataclass(frozen=True, slots=True)
class Clouds:
    """The clouds of a scene.

    Attributes:
        seed: Seed of their noise.
        size_m: Size of the largest ones.
        cover: Noise level above which there is cloud; low is overcast.
        softness: Width of the edges, in noise levels.
        white: Grey level of thick cloud.
        density: Opacity of thick cloud.
        shadow_rows_m: Where the shadows fall, down from the clouds.
        shadow_cols_m: Where the shadows fall, to the right.
    """

    seed: int
    size_m: float
    cover: float
    softness: float
    white: float
    density: float
    shadow_rows_m: float
    shadow_cols_m: float

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> "Clouds":
        """Random clouds."""
        thin = rng.random() < 0.35
        return cls(
            seed=int(rng.integers(2**31)),
            size_m=float(np.exp(rng.uniform(np.log(150), np.log(900)))),
            cover=float(rng.uniform(-0.05, 0.38)),
            softness=float(rng.uniform(0.25, 0.6) if thin else rng.uniform(0.08, 0.3)),
            white=float(rng.uniform(170, 250)),
            density=float(rng.uniform(0.25, 0.7) if thin else rng.uniform(0.85, 1.0)),
            shadow_rows_m=float(rng.uniform(-250, 250)),
            shadow_cols_m=float(rng.uniform(-250, 250)),
        )

    def _thickness(self, noise: Field) -> Field:
        return ramp(noise, self.cover, self.cover + self.softness) * np.float32(self.density)

    def opacity_at(self, rows_m: NDArray[np.float64], cols_m: NDArray[np.float64]) -> Field:
        """Opacity at scattered places, in [0, 1]."""
        return self._thickness(fractal_at(self.seed, rows_m, cols_m, self.size_m, 7, 0.55))

    def paint(self, canvas: Canvas) -> None:
        """Shade a block, then cover it."""
        rows_m, cols_m = canvas.rows_m, canvas.cols_m
        above = fractal(self.seed, rows_m - self.shadow_rows_m, cols_m - self.shadow_cols_m, self.size_m, 5, 0.55)
        canvas.colour *= 1 - np.float32(0.42) * self._thickness(above)
        noise = fractal(self.seed, rows_m, cols_m, self.size_m, 7, 0.55)
        opacity = self._thickness(noise)
        billow = fractal(self.seed + 50, rows_m, cols_m, self.size_m / 4, 4, 0.6)
        level = self.white * (np.float32(0.82) + np.float32(0.22) * opacity + np.float32(0.16) * billow)
        canvas.blend(np.stack([level * np.float32(tint) for tint in (0.99, 0.995, 1.0)]), opacity)

"""Land and what people build at its edge: the places where false alarms live."""

from dataclasses import dataclass
from math import cos, radians, sin

import numpy as np
from numpy.typing import NDArray

from taran_eo.imagery.synthesis.canvas import Canvas, Colour
from taran_eo.imagery.synthesis.noise import Field, fractal, fractal_at, hashed, lattice, lattice_at, ramp, unit

_ROOFS = np.array(
    [(168, 162, 152), (196, 192, 184), (138, 84, 66), (120, 116, 112), (92, 96, 100), (178, 120, 92), (214, 212, 208)],
    dtype=np.float32,
)
_BOXES = np.array(
    [(150, 70, 58), (62, 86, 122), (74, 104, 84), (128, 130, 132), (208, 208, 204), (172, 108, 60), (98, 62, 54)],
    dtype=np.float32,
)


@dataclass(frozen=True, slots=True)
class Coast:
    """A coast: land where a tilted plane plus fractal noise is above zero.

    Attributes:
        seed: Seed of its noise.
        row_m: A place near the shore, down from the scene's top.
        col_m: The same place, right from the scene's left side.
        inland_deg: Direction of the land, clockwise from up.
        rough_m: How far the shore strays from a straight line.
        size_m: Size of its bays.
        ground: Colours of the land, three that alternate in patches.
        urban: Noise level above which land is built over.
        street_deg: Direction of the streets.
        beach_m: Width of the beach.
        surf: Strength of the surf, 0 to 1.
    """

    seed: int
    row_m: float
    col_m: float
    inland_deg: float
    rough_m: float
    size_m: float
    ground: tuple[Colour, Colour, Colour]
    urban: float
    street_deg: float
    beach_m: float
    surf: float

    @classmethod
    def drawn(cls, rng: np.random.Generator, rows_m: float, cols_m: float) -> "Coast":
        """A random coast somewhere in a scene."""
        green: tuple[Colour, Colour, Colour] = ((42, 62, 36), (66, 84, 48), (92, 92, 62))
        dry: tuple[Colour, Colour, Colour] = ((150, 134, 104), (118, 110, 84), (176, 160, 130))
        grey: tuple[Colour, Colour, Colour] = ((112, 108, 98), (86, 92, 72), (140, 134, 122))
        inland_deg = float(rng.uniform(0, 360))
        # The shore crosses the scene between its middle and somewhat past its edge.
        off_m = float(rng.uniform(-0.42, 0.5)) * min(rows_m, cols_m)
        straight = rng.random() < 0.35
        size_m = float(np.exp(rng.uniform(np.log(150), np.log(900))))
        return cls(
            seed=int(rng.integers(2**31)),
            row_m=rows_m / 2 - cos(radians(inland_deg)) * off_m,
            col_m=cols_m / 2 + sin(radians(inland_deg)) * off_m,
            inland_deg=inland_deg,
            rough_m=float(rng.uniform(2, 12) if straight else rng.uniform(0.2, 0.7) * size_m),
            size_m=size_m,
            ground=(green, dry, grey)[int(rng.integers(3))],
            urban=float(rng.uniform(-0.3, 1.0)),
            street_deg=float(rng.uniform(0, 90)),
            beach_m=float(rng.choice([3.0, 12.0, 40.0])),
            surf=float(rng.uniform(0, 1) ** 2),
        )

    def _plane(self, rows_m: NDArray[np.floating], cols_m: NDArray[np.floating]) -> NDArray[np.floating]:
        turn = radians(self.inland_deg)
        return (cols_m - self.col_m) * sin(turn) - (rows_m - self.row_m) * cos(turn)

    def inland_at(self, rows_m: NDArray[np.float64], cols_m: NDArray[np.float64]) -> Field:
        """About how far inland scattered places are, in metres; negative at sea."""
        noise = fractal_at(self.seed, rows_m, cols_m, self.size_m, 6)
        return (self._plane(rows_m, cols_m) + self.rough_m * noise).astype(np.float32)

    def paint(self, canvas: Canvas, water: Colour) -> None:
        """Paint shallows, surf, beach, land and buildings on a block of a sea of the colour `water`."""
        rows_m, cols_m = canvas.rows_m, canvas.cols_m
        plane = self._plane(rows_m[:, None], cols_m[None, :]).astype(np.float32)
        if float(plane.max()) < -self.rough_m - 150:
            return
        inland = plane + np.float32(self.rough_m) * fractal(self.seed, rows_m, cols_m, self.size_m, 6)
        if float(inland.max()) < -150:
            return
        shallow = (0.5 * water[0] + 36, 0.6 * water[1] + 52, 0.6 * water[2] + 44)
        canvas.blend(shallow, ramp(inland, -120, 5) * np.float32(0.55))
        fine = lattice(self.seed + 11, rows_m, cols_m, 3.0)
        wash = lattice(self.seed + 10, rows_m, cols_m, 14.0)
        surf = ramp(inland, -16, -3) * ramp(wash + np.float32(0.5) * fine, -0.2, 0.5)
        canvas.blend((226, 230, 228), surf * np.float32(self.surf))
        land = ramp(inland, -0.8 * canvas.gsd_m, 0.8 * canvas.gsd_m)
        if float(land.max()) > 0:
            canvas.blend(self._land(canvas, inland, fine), land)

    def _land(self, canvas: Canvas, inland: Field, fine: Field) -> Field:
        rows_m, cols_m = canvas.rows_m, canvas.cols_m
        ground = Canvas.blank(canvas.window, canvas.gsd_m)
        patches = fractal(self.seed + 20, rows_m, cols_m, 120.0, 5, 0.6)
        ground.blend(self.ground[0], np.ones_like(inland))
        ground.blend(self.ground[1], ramp(patches, -0.2, 0.15))
        ground.blend(self.ground[2], ramp(patches, 0.15, 0.4))
        canopy = lattice(self.seed + 30, rows_m, cols_m, 7.0) + np.float32(0.8) * fine
        ground.colour *= 1 + np.float32(0.22) * canopy
        built = ramp(fractal(self.seed + 40, rows_m, cols_m, 330.0, 4, 0.6), self.urban, self.urban + 0.2)
        built *= ramp(inland, 15, 30)
        if float(built.max()) > 0:
            self._town(ground, built)
        sand = 1 - ramp(inland + np.float32(6) * patches, 0.6 * self.beach_m, self.beach_m)
        ground.blend((196, 182, 152), sand * np.float32(0.9))
        return ground.colour

    def _town(self, ground: Canvas, built: Field) -> None:
        along, across = ground.axes(self.row_m, self.col_m, self.street_deg)
        for size_m, part in ((58.0, 0.35), (21.0, 1.0)):
            row, col = np.floor(along / size_m), np.floor(across / size_m)
            code = hashed(self.seed + int(size_m), row.astype(np.int64), col.astype(np.int64))
            exists = (unit(code) < (0.6 * built if part == 1.0 else part * built)).astype(np.float32) * ramp(
                built, 0.2, 0.4
            )
            half = np.float32(0.22) + np.float32(0.2) * ((code >> np.uint32(3)) % np.uint32(64)).astype(np.float32) / 64
            high = np.float32(0.2) + np.float32(0.2) * ((code >> np.uint32(9)) % np.uint32(64)).astype(np.float32) / 64
            down = np.abs(along / size_m - row - np.float32(0.5)) - half
            right = np.abs(across / size_m - col - np.float32(0.5)) - high
            edge = np.maximum(down, right) * np.float32(size_m)
            street = np.maximum(np.abs(along / size_m - row - 0.5), np.abs(across / size_m - col - 0.5))
            ground.blend((122, 120, 116), ramp(street, 0.44, 0.47) * built * np.float32(0.6))
            ground.colour *= 1 - np.float32(0.45) * (1 - ramp(edge, 0.0, 4.0)) * exists
            roof = np.moveaxis(_ROOFS[code % np.uint32(len(_ROOFS))], -1, 0)
            ground.blend(roof, (1 - ramp(edge, -0.9, 0.9)) * exists)


@dataclass(frozen=True, slots=True)
class Structure:
    """Something built: a rectangle with a purpose.

    Attributes:
        kind: "quay", "pier", "breakwater", "farm", "rock", "buoy" or "tank".
        seed: Seed of its details.
        row_m: Its centre, down from the scene's top.
        col_m: Its centre, right from the scene's left side.
        length_m: Its longer side.
        width_m: Its shorter side.
        heading_deg: Direction of the longer side, clockwise from up.
    """

    kind: str
    seed: int
    row_m: float
    col_m: float
    length_m: float
    width_m: float
    heading_deg: float

    @property
    def reach_m(self) -> float:
        """No pixel of it is farther from the centre than this."""
        return float(np.hypot(self.length_m, self.width_m)) / 2 + 10

    def gap_at(self, rows_m: NDArray[np.float64], cols_m: NDArray[np.float64]) -> NDArray[np.float64]:
        """How far scattered places are from it, in metres; 0 or less inside."""
        turn = radians(self.heading_deg)
        down, right = rows_m - self.row_m, cols_m - self.col_m
        along = np.abs(right * sin(turn) - down * cos(turn)) - self.length_m / 2
        across = np.abs(right * cos(turn) + down * sin(turn)) - self.width_m / 2
        return np.maximum(along, across)

    def paint(self, canvas: Canvas) -> None:
        """Paint it on a block."""
        view = canvas.around(self.row_m, self.col_m, self.reach_m)
        if view is None:
            return
        along, across = view.axes(self.row_m, self.col_m, self.heading_deg)
        gap = np.maximum(np.abs(along) - self.length_m / 2, np.abs(across) - self.width_m / 2)
        grain = lattice_at(self.seed, along, across, 3.5)
        inside = 1 - ramp(gap, -0.6 * canvas.gsd_m, 0.6 * canvas.gsd_m)
        match self.kind:
            case "quay":
                view.colour *= 1 - np.float32(0.35) * (1 - ramp(gap, 0.0, 5.0)) * (1 - inside)
                view.blend((158, 152, 142), inside)
                view.colour *= 1 + np.float32(0.1) * grain * inside
                self._freight(view, along, across, inside * (1 - ramp(gap, -14.0, -10.0)))
            case "pier":
                view.blend((150, 142, 128) if self.seed % 2 else (196, 190, 180), inside)
                view.colour *= 1 + np.float32(0.12) * grain * inside
            case "breakwater":
                rubble = np.clip(inside + np.float32(0.8) * grain - np.float32(0.15), 0, 1) * (gap < 0)
                view.blend((136, 130, 120), rubble)
            case "farm":
                cell = np.maximum(np.abs((along / 14) % 1 - 0.5), np.abs((across / 14) % 1 - 0.5))
                view.blend((92, 96, 92), ramp(cell, 0.4, 0.48) * inside * np.float32(0.6))
            case "tank":
                radius = np.hypot(along, across) - self.width_m / 2
                view.colour *= 1 - np.float32(0.4) * (1 - ramp(radius, 0.0, 6.0))
                view.blend((214, 212, 206), 1 - ramp(radius, -0.8, 0.8))
            case _:
                bump = np.hypot(along / self.length_m, across / self.width_m) * 2 + np.float32(0.35) * grain
                view.blend((222, 226, 226), (1 - ramp(bump, 0.8, 1.15)) * np.float32(0.7))
                view.blend((84, 76, 64), 1 - ramp(bump, 0.55, 0.8))

    def _freight(self, view: Canvas, along: Field, across: Field, free: Field) -> None:
        row, col = np.floor(along / 13), np.floor(across / 5.4)
        code = hashed(self.seed, row.astype(np.int64), col.astype(np.int64))
        block = hashed(self.seed + 1, np.floor(along / 90).astype(np.int64), np.floor(across / 46).astype(np.int64))
        kind = block % np.uint32(4)
        lane = ramp(np.abs((across / 46) % 1 - 0.5), 0.38, 0.42)
        boxes = free * (kind < 2) * (unit(code) < 0.7) * (1 - lane)
        view.blend(np.moveaxis(_BOXES[code % np.uint32(len(_BOXES))], -1, 0), boxes * np.float32(0.85))
        shed = free * (kind == 2) * (1 - lane) * (1 - ramp(np.abs((along / 90) % 1 - 0.5), 0.4, 0.42))
        view.blend(_ROOFS[self.seed % len(_ROOFS)][:, None, None], shed)

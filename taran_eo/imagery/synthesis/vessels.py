"""Ships of 10 to 300 m: hulls, decks, shadows and wakes."""

from dataclasses import dataclass
from math import cos, exp, radians, sin

import numpy as np

from taran_eo.imagery.synthesis.canvas import Canvas, Colour, mix
from taran_eo.imagery.synthesis.kinds import BLUE, DARK, GREEN, GREY, KINDS, RED, WHITE, Kind
from taran_eo.imagery.synthesis.noise import Field, hashed, lattice, lattice_at, ramp, unit

_HOUSES: tuple[Colour, ...] = ((226, 228, 224), (214, 212, 202), (192, 190, 182), (222, 216, 198), (176, 180, 182))
"""Colours of superstructures, mostly near white."""


@dataclass(frozen=True, slots=True)
class Vessel:
    """One ship on the water.

    Attributes:
        number: Its number in the scene, from 1.
        seed: Seed of its details.
        kind: What it is.
        row_m: Its centre, down from the scene's top.
        col_m: Its centre, right from the scene's left side.
        length_m: From stern to bow.
        width_m: Its beam.
        heading_deg: Clockwise from up.
        deck: Colour of the deck.
        gain: Brightness of the whole ship.
        shadow_m: Length of the shadow of its side.
        sun_deg: Where the shadow falls, clockwise from up.
        wake_m: Length of the wake; 0 when it lies still.
        bend_per_m: Curvature of the wake.
        arms: Strength of the V of bow waves, 0 to 1.
    """

    number: int
    seed: int
    kind: Kind
    row_m: float
    col_m: float
    length_m: float
    width_m: float
    heading_deg: float
    deck: Colour
    gain: float
    shadow_m: float
    sun_deg: float
    wake_m: float
    bend_per_m: float
    arms: float

    @classmethod
    def drawn(
        cls,
        rng: np.random.Generator,
        number: int,
        place_m: tuple[float, float],
        *,
        heading_deg: float | None = None,
        sun_deg: float,
        moored: bool = False,
    ) -> "Vessel":
        """A random ship at a place (down, right); without a heading it points anywhere."""
        shares = np.array([kind.share for kind in KINDS])
        kind = KINDS[int(rng.choice(len(KINDS), p=shares / shares.sum()))]
        low, high = kind.length_m
        length_m = float(np.exp(rng.uniform(np.log(low), np.log(high))))
        deck = kind.decks[int(rng.integers(len(kind.decks)))]
        tint = rng.normal(1, 0.12) * rng.normal(1, 0.06, 3)
        under_way = not moored and rng.random() < kind.moving
        wake_m = float(rng.uniform(1.5, 7) * length_m * (1.6 if length_m < 40 else 0.9)) if under_way else 0.0
        return cls(
            number=number,
            seed=int(rng.integers(2**31)),
            kind=kind,
            row_m=place_m[0],
            col_m=place_m[1],
            length_m=length_m,
            width_m=max(length_m / float(rng.uniform(*kind.slender)), 3.0),
            heading_deg=float(rng.uniform(0, 360)) if heading_deg is None else heading_deg % 360,
            deck=tuple(float(level * t) for level, t in zip(deck, tint, strict=True)),  # type: ignore[arg-type]
            gain=float(np.clip(rng.normal(0.95, 0.15), 0.55, 1.25)),
            shadow_m=float(min(0.35 * length_m / 5, 16) * rng.uniform(0.2, 1)),
            sun_deg=sun_deg,
            wake_m=min(wake_m, 1200.0),
            bend_per_m=float(rng.normal(0, 1 / 900)) if under_way and length_m < 40 else 0.0,
            arms=float(rng.uniform(0, 1)) if under_way and rng.random() < 0.6 else 0.0,
        )

    @property
    def reach_m(self) -> float:
        """No pixel of the hull or its shadow is farther from the centre than this."""
        return self.length_m / 2 + self.shadow_m + 4

    def outline(self, ahead: Field, aside: Field, edge_m: float) -> Field:
        """How much of each place the hull covers, 0 to 1, with edges `edge_m` wide."""
        part = np.clip(ahead / np.float32(self.length_m) + np.float32(0.5), 0, 1)
        bow = np.clip((part - self.kind.bow) / (1 - self.kind.bow), 0, 1)
        aft = np.clip(part / np.float32(0.12), 0, 1)
        half = (1 - bow**self.kind.sharp) * (self.kind.stern + (1 - self.kind.stern) * aft * (2 - aft))
        half *= np.float32(self.width_m / 2)
        across = np.clip((half - np.abs(aside)) / edge_m + 0.5, 0, 1)
        along = np.clip((self.length_m / 2 - np.abs(ahead)) / edge_m + 0.5, 0, 1)
        cover: Field = across * along
        return cover

    def paint_wake(self, canvas: Canvas) -> None:
        """The foam behind the ship and the V of its bow waves."""
        view = canvas.around(self.row_m, self.col_m, self.wake_m + self.length_m) if self.wake_m else None
        if view is None:
            return
        ahead, aside = view.axes(self.row_m, self.col_m, self.heading_deg)
        behind = -ahead - np.float32(self.length_m / 2)
        past = np.maximum(behind, 0)
        aside = aside - np.float32(self.bend_per_m / 2) * past * past
        streak = lattice(self.seed, view.rows_m, view.cols_m, 6.0)
        streak += np.float32(0.7) * lattice(self.seed + 1, view.rows_m, view.cols_m, 2.4)
        half = np.float32(0.42 * self.width_m + 1) + np.float32(0.035) * past
        fade = np.exp(-past * np.float32(3.0 / self.wake_m))
        body = ramp(-np.abs(aside) / half, -1.15, -0.5) * ramp(behind, -2.0, 2.0) * fade
        froth = body * np.clip(np.float32(0.55) + np.float32(0.5) * streak, 0, 1.3) * np.float32(self.kind.froth)
        # Close behind the screws the foam is white; farther on, a smooth and slightly lighter band remains.
        view.blend((214, 224, 224), np.clip(froth * (0.35 + 0.65 * fade * fade), 0, 0.95))
        if self.arms > 0:
            from_bow = np.maximum(np.float32(self.length_m / 2) - ahead, 0)
            slope = np.float32(0.16 + 0.18 * self.arms)
            ridge = np.abs(np.abs(aside) - slope * from_bow - np.float32(0.2 * self.width_m))
            width = 2.0 + np.float32(0.045) * from_bow
            arm = np.exp(-((ridge / width) ** 2)) * np.exp(-from_bow * np.float32(3.6 / self.wake_m))
            cusps = np.clip(0.6 + np.float32(0.8) * streak, 0, 1)
            view.blend((206, 216, 218), arm * cusps * np.float32(0.6 * self.arms))

    def paint_hull(self, canvas: Canvas) -> None:
        """Shadow, hull and deck; marks the hull's pixels as owned by this ship."""
        view = canvas.around(self.row_m, self.col_m, self.reach_m)
        if view is None:
            return
        ahead, aside = view.axes(self.row_m, self.col_m, self.heading_deg)
        edge_m = 1.2 * canvas.gsd_m
        turn = radians(self.sun_deg - self.heading_deg)
        shade = self.outline(
            ahead - np.float32(self.shadow_m * cos(turn)), aside - np.float32(self.shadow_m * sin(turn)), 2 * edge_m
        )
        hull = self.outline(ahead, aside, edge_m)
        view.colour *= 1 - np.float32(0.6) * np.clip(shade - hull, 0, 1)
        view.blend(self._deck(ahead, aside, edge_m) * np.float32(self.gain), hull)
        view.owner[hull >= 0.5] = self.number

    def _deck(self, ahead: Field, aside: Field, edge_m: float) -> Field:
        part = ahead / np.float32(self.length_m) + np.float32(0.5)
        over = aside / np.float32(self.width_m / 2)
        deck = np.empty((3, *ahead.shape), dtype=np.float32)
        deck[:] = np.array(self.deck, dtype=np.float32)[:, None, None]
        rim = np.abs(over)
        mix(deck, tuple(0.6 * level for level in self.deck), ramp(rim, 0.72, 0.95))  # type: ignore[arg-type]
        self._fittings(deck, part, over, ahead, aside)
        start, stop = self.kind.house
        if stop > start:
            soft = edge_m / self.length_m
            inside = ramp(part, start - soft, start + soft) * (1 - ramp(part, stop - soft, stop + soft))
            inside *= 1 - ramp(rim, 0.78, 0.92)
            mix(deck, _HOUSES[self.seed % len(_HOUSES)], inside * np.float32(0.92))
            funnel = ramp(-np.abs(part - np.float32(start + 0.3 * (stop - start))), -0.02, -0.005)
            mix(deck, (60, 56, 54), funnel * (1 - ramp(rim, 0.2, 0.35)) * np.float32(0.8))
        deck *= 1 + np.float32(0.14) * lattice_at(self.seed + 3, ahead, aside, 3.2)
        # One side faces the sun.
        deck *= 1 - np.float32(0.13) * over * np.float32(sin(radians(self.sun_deg - self.heading_deg)))
        return deck

    def _fittings(self, deck: Field, part: Field, over: Field, ahead: Field, aside: Field) -> None:
        rim = np.abs(over)
        middle = ramp(part, 0.18, 0.2) * (1 - ramp(part, 0.86, 0.9))
        bright: Colour = tuple(min(1.3 * level + 25, 235) for level in self.deck)  # type: ignore[assignment]
        dark: Colour = tuple(0.55 * level for level in self.deck)  # type: ignore[assignment]
        pick = (self.seed >> 8) % 97 / 97
        match self.kind.layout:
            case "pipes":
                mix(deck, bright, middle * (1 - ramp(rim, 0.06, 0.16)) * np.float32(0.8))
                beam = np.abs((part * np.float32(6 + 4 * pick)) % 1 - np.float32(0.5))
                mix(deck, bright, middle * (1 - ramp(beam, 0.03, 0.08)) * (1 - ramp(rim, 0.6, 0.8)) * np.float32(0.5))
            case "hatches":
                count = max(2, round(self.length_m / 28))
                phase = np.abs((part * np.float32(count * 1.35)) % 1 - np.float32(0.5))
                hatch = middle * (1 - ramp(phase, 0.3, 0.38)) * (1 - ramp(rim, 0.52, 0.66))
                mix(deck, bright if pick > 0.4 else dark, hatch * np.float32(0.75))
                crane = middle * ramp(phase, 0.42, 0.48) * (1 - ramp(rim, 0.12, 0.3))
                mix(deck, (205, 200, 180), crane * np.float32(0.8 if pick > 0.5 else 0.0))
            case "boxes":
                stack = hashed(
                    self.seed, np.floor(ahead / 12.8).astype(np.int64), np.floor(aside / 2.6).astype(np.int64)
                )
                palette = np.array(
                    [RED, BLUE, GREEN, GREY, WHITE, (168, 104, 58), (92, 58, 52), DARK], dtype=np.float32
                )
                loaded = ramp(part, 0.05, 0.07) * (1 - ramp(part, 0.9, 0.93)) * (1 - ramp(rim, 0.86, 0.97))
                seen = loaded * (unit(stack * np.uint32(2654435761)) < 0.55 + 0.45 * pick)
                mix(deck, np.moveaxis(palette[stack % np.uint32(8)], -1, 0), seen * np.float32(0.85))
            case "houses":
                detail = lattice_at(self.seed + 5, ahead, aside, 5.0)
                mix(deck, dark, ramp(detail, 0.2, 0.6) * (1 - ramp(rim, 0.7, 0.85)) * np.float32(0.45))
            case "helipad":
                pad = 1 - ramp((part - np.float32(0.12)) ** 2 * np.float32(90) + rim * rim, 0.5, 0.8)
                mix(deck, dark, pad * np.float32(0.6))
            case "piles":
                heap = lattice_at(self.seed + 5, ahead, aside, 7.0)
                mix(deck, bright if pick > 0.5 else dark, ramp(heap, -0.1, 0.5) * (1 - ramp(rim, 0.65, 0.85)))
            case "gear":
                mix(deck, dark, (1 - ramp(np.abs(part - np.float32(0.25)), 0.1, 0.18)) * (1 - ramp(rim, 0.5, 0.7)))
            case _:
                mix(
                    deck,
                    (72, 74, 80),
                    (1 - ramp(np.abs(part - np.float32(0.3)), 0.05, 0.12)) * (1 - ramp(rim, 0.4, 0.7)),
                )

    def at(self, ahead_m: float, aside_m: float) -> tuple[float, float]:
        """The place (down, right) so far ahead of the centre and to the right of it."""
        turn = radians(self.heading_deg)
        return (
            self.row_m - ahead_m * cos(turn) + aside_m * sin(turn),
            self.col_m + ahead_m * sin(turn) + aside_m * cos(turn),
        )


def expected_spacing_m(length_m: float) -> float:
    """Free water that a ship keeps around it, from its centre."""
    return 0.5 * length_m + 4 + 8 * (1 - exp(-length_m / 60))

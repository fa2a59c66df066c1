"""What a satellite takes images of, segment by segment: when, how large, how cloudy, and what is in it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from taran_eo.downlink.scenario import Imaging
from taran_eo.downlink.traffic import Drawn, Traffic

EARTH_RADIUS_KM = 6371.0
"""Mean radius, IUGG."""


@dataclass(frozen=True)
class Acquired:
    """The segments of one satellite, each an array over them.

    Attributes:
        taken_s: When a segment ends and is recorded, seconds from the start, rising.
        length_s: How long each takes.
        area_km2: Area of each.
        clear: Share of it that no cloud covers.
        raw_bytes: What the sensor gives.
        header_bytes: What is told of their scenes, whatever is in them.
        sea_km2: Area that is searched for ships, clouds included.
        drawn: What is found there.
        cancelled: Segments that were not taken, since the satellite pointed to a station.
    """

    taken_s: NDArray[np.float64]
    length_s: float
    area_km2: float
    clear: NDArray[np.float64]
    raw_bytes: NDArray[np.int64]
    header_bytes: NDArray[np.int64]
    sea_km2: float
    drawn: Drawn
    cancelled: int


def segment_starts_s(
    imaging: Imaging, noons_s: NDArray[np.float64], period_s: float, duration_s: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """When segments begin: in each revolution one after the other, from a random moment of its sunlit half on.

    Args:
        imaging: The share of the time, and the length of a segment.
        noons_s: The middle of the sunlit half of each revolution.
        period_s: Of a revolution.
        duration_s: Segments that would begin before or end after the simulation are left out.
        rng: Chance.
    """
    # Whole segments, so many in each revolution that the share of the time is right in the long run.
    until = np.floor(np.arange(noons_s.size + 1) * imaging.duty * period_s / imaging.segment_s).astype(np.int64)
    counts = np.diff(until)
    slack_s = np.maximum(period_s / 2 - counts * imaging.segment_s, 0.0)
    first_s = noons_s - period_s / 4 + rng.random(noons_s.size) * slack_s
    place = np.arange(until[-1]) - np.repeat(until[:-1], counts)
    starts_s: NDArray[np.float64] = np.repeat(first_s, counts) + place * imaging.segment_s
    return starts_s[(starts_s >= 0) & (starts_s + imaging.segment_s <= duration_s)]


def acquire(
    imaging: Imaging,
    traffic: Traffic,
    *,
    ships_km2: float | None,
    bits_km2: float,
    noons_s: NDArray[np.float64],
    period_s: float,
    duration_s: float,
    busy_s: Sequence[tuple[float, float]],
    rng: np.random.Generator,
) -> Acquired:
    """Take images.

    Args:
        imaging: How.
        traffic: What there is to see.
        ships_km2: Ships a km2 of clear sea; None for as many as in `traffic`.
        bits_km2: What the sensor gives.
        noons_s: The middle of the sunlit half of each revolution.
        period_s: Of a revolution.
        duration_s: Length of the simulation.
        busy_s: Times in which no image can be taken, start and end.
        rng: Chance.
    """
    starts_s = segment_starts_s(imaging, noons_s, period_s, duration_s, rng)
    cloudy = imaging.cloud_share
    clear = 1 - rng.beta(cloudy, 1 - cloudy, starts_s.size) if 0 < cloudy < 1 else np.full(starts_s.size, 1.0 - cloudy)
    if busy_s and starts_s.size:
        begins, ends = np.array(busy_s).T
        # The first contact that is not over when a segment begins must not begin before the segment ends.
        following = np.searchsorted(ends, starts_s, side="right")
        kept = np.append(begins, np.inf)[following] >= starts_s + imaging.segment_s
    else:
        kept = np.ones(starts_s.size, dtype=np.bool_)
    cancelled = int((~kept).sum())
    starts_s, clear = starts_s[kept], clear[kept]
    area_km2 = imaging.swath_km * imaging.segment_s * 2 * math.pi * EARTH_RADIUS_KM / period_s
    sea_km2 = area_km2 * imaging.sea_share
    scenes = np.rint(sea_km2 * clear / traffic.scene_km2).astype(np.int64)
    headers = math.ceil(sea_km2 / imaging.scene_km2) * traffic.header_bytes + traffic.origin_bytes
    return Acquired(
        taken_s=starts_s + imaging.segment_s,
        length_s=imaging.segment_s,
        area_km2=area_km2,
        clear=clear,
        raw_bytes=np.full(starts_s.size, math.ceil(area_km2 * bits_km2 / 8), dtype=np.int64),
        header_bytes=np.full(starts_s.size, math.ceil(headers), dtype=np.int64),
        sea_km2=sea_km2,
        drawn=traffic.draw(scenes, ships_km2, rng),
        cancelled=cancelled,
    )

"""What a ship looks like: centre, oriented box, length and width, heading axis, place on Earth."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue
from rasterio import Affine
from rasterio.crs import CRS

from taran_eo.imagery.geodesy import Floats, metres_per_degree, to_lonlat
from taran_eo.ships.components import Component, Ints, convex_hull, corners, runs


@dataclass(frozen=True, slots=True)
class Ship:
    """One connected set of ship pixels, rounded to what the pixels can tell.

    Rows and columns count from the upper left corner of the scene; a pixel's centre lies at .5. The box is
    the rectangle of smallest area around the pixels, in any orientation. Where the scene is georeferenced, metres
    and heading come from the ground (WGS 84 ellipsoid); else metres come from the ground sampling distance,
    and the heading counts from the top of the image. Length is the longer side, on the ground where that is
    known.

    Attributes:
        row: Centre of gravity, to 0.01 pixel.
        col: Centre of gravity, to 0.01 pixel.
        box: Four corners (row, col), to 0.1 pixel.
        length_px: Long side of the box, to 0.1 pixel.
        width_px: Other side of the box, to 0.1 pixel.
        length_m: Long side in metres to 0.1 m, None where no scale is known.
        width_m: Other side in metres to 0.1 m, None where no scale is known.
        heading_deg: Axis of the long side, clockwise from north (or up), 0 <= heading < 180: bow and stern
            are not told apart. To 0.1 degree; of no meaning where length and width are equal.
        pixels: Ship pixels.
        score: Mean probability of the ship's pixels, to 0.0001.
        longitude_deg: Centre, WGS 84, to 1e-7 degree; None without georeference.
        latitude_deg: Centre, WGS 84, to 1e-7 degree; None without georeference.
    """

    row: float
    col: float
    box: tuple[tuple[float, float], ...]
    length_px: float
    width_px: float
    length_m: float | None
    width_m: float | None
    heading_deg: float
    pixels: int
    score: float
    longitude_deg: float | None
    latitude_deg: float | None

    def record(self) -> dict[str, JsonValue]:
        """The fields as JSON holds them."""
        return asdict(self) | {"box": [list(corner) for corner in self.box]}


def smallest_box(hull: Ints) -> Floats:
    """The corners float64[4, 2] (row, col) of the rectangle of smallest area around a convex hull.

    One side of that rectangle lies on a side of the hull, so all are tried; of equal areas the first wins.

    Args:
        hull: int64[corners, 2], as `convex_hull` gives it.

    Source: Freeman and Shapira, "Determining the minimum-area encasing rectangle for an arbitrary closed
        curve", Communications of the ACM 18 (1975).
    """
    sides = np.roll(hull, -1, axis=0) - hull
    along = sides @ hull.T
    across = np.stack([-sides[:, 1], sides[:, 0]], axis=1) @ hull.T
    squares = (sides**2).sum(axis=1)
    areas = np.ptp(along, axis=1) * np.ptp(across, axis=1) / squares
    best = int(np.argmin(areas))
    side, square = sides[best], squares[best]
    normal = np.array([-side[1], side[0]])
    low_a, high_a = along[best].min(), along[best].max()
    low_b, high_b = across[best].min(), across[best].max()
    corners = ((low_a, low_b), (high_a, low_b), (high_a, high_b), (low_a, high_b))
    return np.array([(a * side + b * normal) / square for a, b in corners])


def oriented_length_px(ship: NDArray[np.bool_]) -> float:
    """The longer side of the smallest rectangle around all pixels of a mask, joined or not, in pixels.

    Args:
        ship: bool[rows, cols] with at least one True.
    """
    rows, starts, stops, _ = runs(ship)
    box = smallest_box(convex_hull(corners(rows, starts, stops)))
    return float(np.linalg.norm(box[1:3] - box[:2], axis=1).max())


def _ground_vectors(tails: Floats, heads: Floats) -> Floats:
    """East and north in metres from each tail to its head, both (longitude, latitude) and close together."""
    # Across the antimeridian the difference of longitudes jumps by a full turn.
    turns_deg = (heads - tails + 180.0) % 360.0 - 180.0
    degree_m = [metres_per_degree(latitude) for latitude in ((tails[:, 1] + heads[:, 1]) / 2).tolist()]
    vectors: Floats = turns_deg * np.array(degree_m).reshape(-1, 2)[:, ::-1]  # also where no ship is on the globe
    return vectors


def ships_of(
    components: Iterable[Component],
    *,
    score_unit: float,
    gsd_m: float | None,
    crs: CRS | None,
    transform: Affine | None,
) -> tuple[Ship, ...]:
    """The ships that the components of a scene are, in the row-major order of their first pixels.

    Args:
        components: The components of one scene.
        score_unit: What one unit of the components' scores is as a probability.
        gsd_m: Ground sampling distance in metres, None where unknown.
        crs: Reference system of the scene, None without georeference.
        transform: From column and row to the reference system, None without georeference.
    """
    kept = sorted(components, key=lambda each: each.first)
    if not kept:
        return ()
    sums = np.array([(each.row_sum, each.col_sum, each.pixels) for each in kept], dtype=np.float64)
    return ships_in(
        np.array([smallest_box(each.hull) for each in kept]),
        sums[:, :2] / sums[:, 2:] + 0.5,
        [each.pixels for each in kept],
        [each.score_sum * score_unit / each.pixels for each in kept],
        gsd_m=gsd_m,
        crs=crs,
        transform=transform,
    )


def ships_in(
    boxes: Floats,
    centres: Floats,
    pixels: Sequence[int],
    scores: Sequence[float],
    *,
    gsd_m: float | None,
    crs: CRS | None,
    transform: Affine | None,
) -> tuple[Ship, ...]:
    """The ships in oriented boxes, in their order.

    Args:
        boxes: Corners float64[ships, 4, 2] (row, col) in their order around each box.
        centres: What is told as the place of each, float64[ships, 2] (row, col).
        pixels: Pixels of each.
        scores: Mean probability of each.
        gsd_m: Ground sampling distance in metres, None where unknown.
        crs: Reference system of the scene, None without georeference.
        transform: From column and row to the reference system, None without georeference.
    """
    # The middles of opposite sides span the two axes of the box: [ship, axis, end, (row, col)].
    middles = (boxes + np.roll(boxes, -1, axis=1)) / 2
    axes = np.stack([middles[:, [3, 1]], middles[:, [0, 2]]], axis=1)
    sides_px = np.linalg.norm(axes[:, :, 1] - axes[:, :, 0], axis=-1)
    places, ground, sides_m = _on_the_ground(centres, axes, sides_px, gsd_m=gsd_m, crs=crs, transform=transform)
    longest = np.argmax(np.where(np.isnan(sides_m), sides_px, sides_m), axis=1)
    ships = []
    for index in range(len(boxes)):
        long, short = int(longest[index]), 1 - int(longest[index])
        east, north = ground[index, long]
        longitude, latitude = (None, None) if np.isnan(places[index]).any() else _degrees(places[index])
        ships.append(
            Ship(
                row=round(float(centres[index, 0]), 2),
                col=round(float(centres[index, 1]), 2),
                box=_corners(boxes[index]),
                length_px=round(float(sides_px[index, long]), 1),
                width_px=round(float(sides_px[index, short]), 1),
                length_m=_metres(sides_m[index, long]),
                width_m=_metres(sides_m[index, short]),
                heading_deg=round(math.degrees(math.atan2(east, north)), 1) % 180.0,
                pixels=pixels[index],
                score=round(scores[index], 4),
                longitude_deg=longitude,
                latitude_deg=latitude,
            )
        )
    return tuple(ships)


def _on_the_ground(
    centres: Floats,
    axes: Floats,
    sides_px: Floats,
    *,
    gsd_m: float | None,
    crs: CRS | None,
    transform: Affine | None,
) -> tuple[Floats, Floats, Floats]:
    """Centres in degrees, axes as vectors to east and north [ship, axis, 2], sides in metres [ship, axis].

    The vectors are in metres where a ship lies on the globe; else only their direction counts. NaN is what is not
    known.
    """
    steps = axes[:, :, 1] - axes[:, :, 0]
    rows, cols = steps[..., 0], steps[..., 1]
    a, b, _, d, e, _ = (1, 0, 0, 0, -1, 0) if transform is None else transform[:6]
    ground = np.stack([a * cols + b * rows, d * cols + e * rows], axis=-1)
    sides_m = sides_px * (math.nan if gsd_m is None else gsd_m)
    centres_deg = np.full_like(centres, math.nan)
    if crs is not None and transform is not None:
        places = to_lonlat(np.concatenate([centres[:, None], axes.reshape(-1, 4, 2)], axis=1), crs, transform)
        on_globe = np.isfinite(places).all(axis=(1, 2))
        centres_deg[on_globe] = places[on_globe, 0]
        tails, heads = places[on_globe, 1:].reshape(-1, 2, 2).swapaxes(0, 1)
        ground[on_globe] = _ground_vectors(tails, heads).reshape(-1, 2, 2)
        sides_m[on_globe] = np.linalg.norm(ground[on_globe], axis=-1)
    return centres_deg, ground, sides_m


def _degrees(place: Floats) -> tuple[float, float]:
    return round(float(place[0]), 7), round(float(place[1]), 7)


def _metres(side_m: float) -> float | None:
    return None if math.isnan(side_m) else round(float(side_m), 1)


def _corners(box: Floats) -> tuple[tuple[float, float], ...]:
    return tuple((round(float(row), 1), round(float(col), 1)) for row, col in box)


def feature_collection(ships: Sequence[Ship], crs: CRS, transform: Affine) -> dict[str, JsonValue]:
    """The ships as GeoJSON: the oriented box as a polygon, all fields of the ship as properties.

    A box that crosses the antimeridian becomes the point of its centre, because a polygon must not cross it;
    a ship that has no place on the globe keeps its properties and has no geometry.

    Source: RFC 7946: WGS 84, longitude first, counter-clockwise, seven decimals (section 3.1, 3.1.9, 11.2).
    """
    features: list[JsonValue] = []
    for ship in ships:
        geometry: JsonValue = None
        if ship.longitude_deg is not None and ship.latitude_deg is not None:
            geometry = {"type": "Point", "coordinates": [ship.longitude_deg, ship.latitude_deg]}
            outline = to_lonlat(np.array(ship.box), crs, transform)
            if np.isfinite(outline).all() and np.ptp(outline[:, 0]) < 180.0:
                geometry = {"type": "Polygon", "coordinates": [_ring(outline)]}
        features.append({"type": "Feature", "geometry": geometry, "properties": ship.record()})
    return {"type": "FeatureCollection", "features": features}


def _ring(outline: Floats) -> list[JsonValue]:
    """The corners, counter-clockwise seen from above, with the first one again at the end."""
    onwards = np.roll(outline, -1, axis=0)
    twice_area = (outline[:, 0] * onwards[:, 1] - outline[:, 1] * onwards[:, 0]).sum()
    corners = outline if twice_area > 0 else outline[::-1]
    return [[*_degrees(corner)] for corner in (*corners, corners[0])]

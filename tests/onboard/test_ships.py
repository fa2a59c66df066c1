"""Ships: components do not depend on the tiles, boxes and places agree with slow or independent twins."""

import math

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio import Affine
from rasterio.crs import CRS
from rasterio.warp import transform as warp_points

from taran_eo.imagery.window import Window
from taran_eo.ships import Components, feature_collection, label_components, oriented_length_px, ships_of


def stream(ship, scores, tile_rows, tile_cols):
    """The components of a whole image that is fed tile by tile, in a fixed order."""
    rows, cols = ship.shape
    components = Components(cols)
    found = []
    for row in range(0, rows, tile_rows):
        for col in range(0, cols, tile_cols):
            core = Window(row, col, min(tile_rows, rows - row), min(tile_cols, cols - col))
            part = ship[core.slices]
            found += components.feed(core, part, scores[core.slices][part])
    found += components.finish()
    return sorted(found, key=lambda each: each.first)


def flood(ship, scores):
    """The slow twin: flood fill, one pixel at a time."""
    left = {(int(r), int(c)) for r, c in np.argwhere(ship)}
    found = []
    for start in sorted(left):
        if start not in left:
            continue
        left.remove(start)
        pixels, todo = [], [start]
        while todo:
            row, col = todo.pop()
            pixels.append((row, col))
            for near in [(row + r, col + c) for r in (-1, 0, 1) for c in (-1, 0, 1)]:
                if near in left:
                    left.remove(near)
                    todo.append(near)
        corners = [(r + i, c + j) for r, c in pixels for i in (0, 1) for j in (0, 1)]
        found.append((start, pixels, sum(int(scores[p]) for p in pixels), corners))
    return found


IMAGES = st.builds(
    lambda rows, cols, density, seed: np.random.default_rng(seed).random((rows, cols)) < density,
    st.integers(1, 30),
    st.integers(1, 30),
    st.sampled_from([0.05, 0.2, 0.35, 0.5, 0.8, 1.0]),
    st.integers(0, 10**6),
)


@given(ship=IMAGES, tile_rows=st.integers(1, 12), tile_cols=st.integers(1, 12))
@settings(max_examples=200)
def test_components_are_those_of_a_flood_fill_whatever_the_tiles(ship, tile_rows, tile_cols):
    scores = np.random.default_rng(1).integers(0, 65536, ship.shape, dtype=np.uint16)
    found = stream(ship, scores, tile_rows, tile_cols)
    expected = flood(ship, scores)
    assert len(found) == len(expected)
    for component, (first, pixels, score_sum, corners) in zip(found, expected, strict=True):
        assert component.first == first
        assert component.pixels == len(pixels)
        assert component.row_sum == sum(r for r, _ in pixels)
        assert component.col_sum == sum(c for _, c in pixels)
        assert component.score_sum == score_sum
        hull = shapely.convex_hull(shapely.MultiPoint(corners))
        assert {tuple(p) for p in component.hull.tolist()} == {(int(r), int(c)) for r, c in hull.exterior.coords}
    plain = {"score_unit": 1 / 65535, "gsd_m": None, "crs": None, "transform": None}
    assert ships_of(found, **plain) == ships_of(stream(ship, scores, 30, 30), **plain)


def test_a_spiral_through_many_tiles_is_one_ship():
    """Branches that meet late join names that were far apart."""
    ship = np.zeros((64, 64), bool)
    row, col = 0, 0
    ship[0, 0] = True
    for turn, length in enumerate([63, 63, 63, *[n for n in range(61, 0, -2) for _ in (0, 1)]]):
        step = ((0, 1), (1, 0), (0, -1), (-1, 0))[turn % 4]
        for _ in range(length):
            row, col = row + step[0], col + step[1]
            ship[row, col] = True
    scores = np.ones(ship.shape, np.uint16)
    for tile in (3, 7, 16, 64):
        assert [each.pixels for each in stream(ship, scores, tile, tile)] == [int(ship.sum())]


def test_cores_out_of_turn_are_refused():
    with pytest.raises(ValueError, match="expected the core"):
        Components(8).feed(Window(0, 4, 4, 4), np.zeros((4, 4), bool), np.zeros(0, np.uint16))


def drawn(rows, cols, centre_row, centre_col, length, width, axis_deg):
    """A rectangle drawn into pixels: its axis clockwise from up."""
    grid_rows, grid_cols = np.mgrid[:rows, :cols] + 0.5
    angle = math.radians(axis_deg)
    up, right = centre_row - grid_rows, grid_cols - centre_col
    along = up * math.cos(angle) + right * math.sin(angle)
    across = right * math.cos(angle) - up * math.sin(angle)
    return (abs(along) <= length / 2) & (abs(across) <= width / 2)


def only_ship(ship, **place):
    found = stream(ship, np.full(ship.shape, 65535, np.uint16), 32, 32)
    return ships_of(found, **{"score_unit": 1 / 65535, "gsd_m": None, "crs": None, "transform": None} | place)[0]


@given(axis_deg=st.floats(0, 179.9), length=st.floats(25, 60), width=st.floats(6, 12))
@settings(max_examples=40)
def test_a_drawn_ship_is_measured(axis_deg, length, width):
    ship = only_ship(drawn(100, 100, 50.2, 49.7, length, width, axis_deg), gsd_m=1.5)
    assert (ship.row, ship.col) == pytest.approx((50.2, 49.7), abs=1.0)
    assert ship.length_px == pytest.approx(length, abs=2.0)
    assert ship.width_px == pytest.approx(width, abs=2.0)
    assert (ship.length_m, ship.width_m) == pytest.approx((ship.length_px * 1.5, ship.width_px * 1.5), abs=0.15)
    assert abs((ship.heading_deg - axis_deg + 90) % 180 - 90) < 6
    assert 0 <= ship.heading_deg < 180
    assert ship.score == 1.0


@given(ship=IMAGES)
def test_boxes_are_the_smallest(ship):
    scores = np.zeros(ship.shape, np.uint16)
    numbers, _ = label_components(ship)
    for component in stream(ship, scores, 9, 9):
        (found,) = ships_of([component], score_unit=1.0, gsd_m=None, crs=None, transform=None)
        twin = shapely.minimum_rotated_rectangle(shapely.MultiPoint(component.hull))
        assert found.length_px * found.width_px == pytest.approx(
            twin.area, abs=0.06 * (found.length_px + found.width_px)
        )
        # The length that ships are binned by when a model is scored is the length that is sent down.
        assert found.length_px == round(oriented_length_px(numbers == numbers[component.first]), 1)
        grown = shapely.Polygon(found.box).buffer(0.15)
        assert shapely.covers(grown, shapely.MultiPoint(component.hull))


PLACES = [
    ("EPSG:32631", Affine(1.5, 0, 500_000, 0, -1.5, 6_000_000), 1.5),
    ("EPSG:32631", Affine(0, 1.5, 500_000, 1.5, 0, 6_000_000), 1.5),  # rows run east, columns north
    ("EPSG:4326", Affine(2e-5, 0, 10.0, 0, -1e-5, 60.0), None),  # degrees: about 1.1 m both ways at 60 north
    ("EPSG:4326", Affine(1e-5, 0, 179.9995, 0, -1e-5, 0.0), None),  # across the antimeridian
    ("EPSG:3857", Affine(1.5, 0, 0, 0, -1.5, 8_399_737), None),  # 60 north: metres of 3857 are twice too long
]


@pytest.mark.parametrize(("crs", "transform", "gsd_m"), PLACES)
def test_ships_on_earth(crs, transform, gsd_m):
    """The sides and the axis agree with great circles between the ends, worked out on a sphere."""
    ship = only_ship(drawn(100, 100, 50, 50, 40, 10, 30), crs=CRS.from_string(crs), transform=transform, gsd_m=gsd_m)
    box = np.array(ship.box)
    middles = (box + np.roll(box, -1, axis=0)) / 2
    sides = []
    for tail, head in ((3, 1), (0, 2)):
        ends = [transform @ (middles[end][1], middles[end][0]) for end in (tail, head)]
        (lon_0, lon_1), (lat_0, lat_1) = warp_points(
            CRS.from_string(crs), CRS.from_epsg(4326), *zip(*ends, strict=True)
        )
        turn = math.radians((lon_1 - lon_0 + 180) % 360 - 180)
        north, east = 6_371_000 * math.radians(lat_1 - lat_0), 6_371_000 * turn * math.cos(math.radians(lat_0))
        sides.append((math.hypot(north, east), math.degrees(math.atan2(east, north)) % 180))
    (length_m, axis_deg), (width_m, _) = sorted(sides, reverse=True)
    assert (ship.length_m, ship.width_m) == pytest.approx((length_m, width_m), rel=0.02)
    assert abs((ship.heading_deg - axis_deg + 90) % 180 - 90) < 1.0
    longitude, latitude = warp_points(
        CRS.from_string(crs), CRS.from_epsg(4326), *[[v] for v in transform @ (ship.col, ship.row)]
    )
    assert abs((ship.longitude_deg - longitude[0] + 180) % 360 - 180) < 1e-6
    assert ship.latitude_deg == pytest.approx(latitude[0], abs=1e-6)


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        ("EPSG:32631", Affine(2e5, 0, 500_000, 0, -2e5, 6_000_000)),  # to the east, a projection loses its way
        ("EPSG:4326", Affine(1, 0, 5.0, 0, 1, 60.0)),  # 90 degrees north are passed within the scene
    ],
)
def test_a_ship_off_the_globe_does_not_take_the_others_along(crs, transform):
    crs = CRS.from_string(crs)
    near, far = drawn(20, 200, 10, 8, 12, 4, 0), drawn(200, 200, 180, 190, 12, 4, 0)
    image = far.copy()
    image[:20] |= near
    found = stream(image, np.full(image.shape, 65535, np.uint16), 32, 32)
    place = {"score_unit": 1 / 65535, "gsd_m": 1.5, "crs": crs, "transform": transform}
    on_globe, off_globe = ships_of(found, **place)
    assert on_globe == only_ship(near, crs=crs, transform=transform, gsd_m=1.5)
    assert on_globe.longitude_deg is not None
    assert (off_globe.longitude_deg, off_globe.latitude_deg) == (None, None)
    assert (off_globe.length_m, off_globe.width_m) == (off_globe.length_px * 1.5, off_globe.width_px * 1.5)
    one, other = feature_collection([on_globe, off_globe], crs, transform)["features"]
    assert (one["geometry"]["type"], other["geometry"]) == ("Polygon", None)


def test_geojson_is_as_the_standard_wants_it():
    crs = CRS.from_epsg(32631)
    for transform in (PLACES[0][1], PLACES[1][1]):
        ship = only_ship(drawn(100, 100, 50, 50, 40, 10, 30), crs=crs, transform=transform)
        (feature,) = feature_collection([ship], crs, transform)["features"]
        (ring,) = feature["geometry"]["coordinates"]
        assert len(ring) == 5
        assert ring[0] == ring[-1]
        assert shapely.LinearRing(ring).is_ccw
        assert shapely.Polygon(ring).contains(shapely.Point(ship.longitude_deg, ship.latitude_deg))
        assert feature["properties"] == ship.record()
    crs, transform = CRS.from_epsg(4326), PLACES[3][1]
    ship = only_ship(drawn(100, 100, 50, 50, 40, 10, 90), crs=crs, transform=transform)
    (feature,) = feature_collection([ship], crs, transform)["features"]
    assert feature["geometry"]["type"] == "Point"  # its box would cross the antimeridian

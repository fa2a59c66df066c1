"""How large a pixel is on the ground, in true metres, whatever the coordinate reference system."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio._err import CPLE_AppDefinedError, CPLE_BaseError
from rasterio.crs import CRS
from rasterio.errors import RasterioError
from rasterio.warp import transform as warp_points

Floats = NDArray[np.float64]

WGS84_A_M = 6378137.0
"""Semi-major axis of the WGS84 ellipsoid (NIMA TR8350.2)."""
WGS84_F = 1 / 298.257223563
"""Flattening of the WGS84 ellipsoid (NIMA TR8350.2)."""

_BASELINE_PIXELS = 256
"""Long against the inverse projections' tolerance (under a millimetre), short against the Earth."""


def metres_per_degree(lat_deg: float) -> tuple[float, float]:
    """Length of one degree of latitude and of longitude on the WGS84 ellipsoid.

    Args:
        lat_deg: Geodetic latitude in degrees.

    Returns:
        Metres along the meridian and along the parallel.

    Source:
        Radii of curvature M and N; Snyder, Map Projections: A Working Manual (1987), equations 4-18 to 4-20.
    """
    lat = math.radians(lat_deg)
    e2 = WGS84_F * (2 - WGS84_F)
    w2 = 1 - e2 * math.sin(lat) ** 2
    meridian_radius_m = WGS84_A_M * (1 - e2) / w2**1.5
    normal_radius_m = WGS84_A_M / math.sqrt(w2)
    return math.radians(meridian_radius_m), math.radians(normal_radius_m * math.cos(lat))


def to_lonlat(points: Floats, crs: CRS, transform: Any) -> Floats:  # noqa: ANN401 affine has no types
    """Longitude and latitude (WGS 84 degrees) of points of a scene.

    Args:
        points: float64[..., 2]: row, column.
        crs: The scene's coordinate reference system.
        transform: affine.Affine from (column, row) to the coordinates of `crs`.

    Returns:
        float64[..., 2]; infinite where a point has no place on the globe.
    """
    flat = points.reshape(-1, 2)
    a, b, c, d, e, f = transform[:6]
    lon, lat = _warped(crs, flat @ (b, a) + c, flat @ (e, d) + f)
    # A scene in degrees that crosses the antimeridian counts on beyond it.
    lon = np.where(abs(lon) > 180.0, lon - np.copysign(360.0, lon), lon)
    on_globe = (abs(lon) <= 180.0) & (abs(lat) <= 90.0)
    return np.where(on_globe[:, None], np.stack([lon, lat], axis=1), math.inf).reshape(points.shape)


def _warped(crs: CRS, east: Floats, north: Floats) -> Floats:
    """float64[2, points]: longitude and latitude, infinite where there is none."""
    try:
        return np.array(warp_points(crs, CRS.from_epsg(4326), east.tolist(), north.tolist())[:2])
    except CPLE_AppDefinedError:
        # One point off the globe spoils the answer for all.
        if len(east) > 1:
            half = len(east) // 2
            return np.hstack([_warped(crs, east[:half], north[:half]), _warped(crs, east[half:], north[half:])])
    except (RasterioError, CPLE_BaseError):
        pass
    return np.full((2, len(east)), math.inf)


def pixel_steps_m(crs: CRS, transform: Any, rows: int, cols: int) -> tuple[float, float, float] | None:  # noqa: ANN401
    """True size of the pixel at the centre of a scene.

    The steps are measured on the ellipsoid, not read off the coordinates: degrees have no length, and the
    metres of EPSG:3857 are longer than true ones by the Mercator scale factor, about 1 / cos(latitude).

    Args:
        crs: The scene's coordinate reference system.
        transform: affine.Affine from (column, row) to the coordinates of `crs`.
        rows: Rows of the scene.
        cols: Columns of the scene.

    Returns:
        Metres from row to row, metres from column to column, and the ground sampling distance, the square
        root of the pixel's area. None where the coordinates have no place on the Earth.
    """
    half_rows, half_cols = min(rows, _BASELINE_PIXELS) / 2, min(cols, _BASELINE_PIXELS) / 2
    row, col = rows / 2, cols / 2
    points = [(row - half_rows, col), (row + half_rows, col), (row, col - half_cols), (row, col + half_cols)]
    lon, lat = to_lonlat(np.array(points), crs, transform).T.tolist()
    if not all(map(math.isfinite, lon)):
        return None
    north_m, east_m = metres_per_degree(sum(lat) / 4)

    def step_m(a: int, b: int, pixels: float) -> tuple[float, float]:
        # Across the antimeridian the difference of longitudes jumps by a full turn.
        turn = (lon[b] - lon[a] + 180) % 360 - 180
        return turn * east_m / pixels, (lat[b] - lat[a]) * north_m / pixels

    row_step, col_step = step_m(0, 1, 2 * half_rows), step_m(2, 3, 2 * half_cols)
    area_m2 = abs(row_step[0] * col_step[1] - row_step[1] * col_step[0])
    if area_m2 == 0:
        return None
    return math.hypot(*row_step), math.hypot(*col_step), math.sqrt(area_m2)

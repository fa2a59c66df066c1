"""``taran-eo synth``: synthetic scenes with known ships."""

import csv
from pathlib import Path
from typing import Annotated

import typer

from taran_eo.cli.console import parse_size


def command(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the scenes.")],
    scenes: Annotated[int, typer.Option(min=1, help="How many.")] = 3,
    size: Annotated[str, typer.Option(help="Rows and columns of a scene, ROWSxCOLS.")] = "1536x1536",
    seed: Annotated[int, typer.Option(help="The same seed makes the same scenes.")] = 0,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print nothing.")] = False,
) -> None:
    """Make georeferenced scenes of sea, coast, clouds and ships, with the true masks in masks.csv.

    The scenes are GeoTIFFs of 1.5 m a pixel. The CSV has the competition's columns, one row a ship, and the size of
    the scene; the folder truth/ has each mask as GeoTIFF.
    """
    import numpy as np
    from affine import Affine
    from rasterio.crs import CRS

    from taran_eo.errors import OutputError
    from taran_eo.imagery import write_synthetic_scene

    rows, cols = parse_size(size)
    truth = output / "truth"
    try:
        truth.mkdir(parents=True, exist_ok=True)
        with (output / "masks.csv").open("w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["ImageId", "EncodedPixels", "width", "height", "length_m", "width_m", "heading_deg"])
            for number in range(scenes):
                # Side by side in the Gulf of Lion, so that they can be looked at together.
                transform = Affine.translation(500_000 + number * cols * 1.5, 4_750_000) @ Affine.scale(1.5, -1.5)
                name = f"scene_{number:03d}.tif"
                ships = write_synthetic_scene(
                    output / name,
                    rows,
                    cols,
                    rng=np.random.default_rng([seed, number]),
                    crs=CRS.from_epsg(32631),
                    transform=transform,
                    mask_path=truth / name,
                )
                for ship in ships:
                    length, width, heading = f"{ship.length_m:.1f}", f"{ship.width_m:.1f}", f"{ship.heading_deg:.1f}"
                    table.writerow([name, ship.kaggle(rows, cols), cols, rows, length, width, heading])
                if not ships:
                    table.writerow([name, "", cols, rows, "", "", ""])
                if not quiet:
                    typer.echo(f"{output / name}: {len(ships)} ships")
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(f"{output} cannot be written: {error.strerror}", remedy="Choose another folder") from error

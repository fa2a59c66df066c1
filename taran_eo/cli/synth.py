"""``taran-eo synth``: synthetic scenes with known ships."""

import csv
from pathlib import Path
from typing import Annotated

import typer

from taran_eo.cli.console import parse_size, tell
from taran_eo.cli.options import folder


def command(
    output: Annotated[Path, typer.Option("-o", "--output", parser=folder, metavar="FOLDER", help="For the scenes.")],
    scenes: Annotated[int, typer.Option(min=1, help="How many.")] = 3,
    size: Annotated[str, typer.Option(help="Rows and columns of a scene, ROWSxCOLS.")] = "1536x1536",
    seed: Annotated[int, typer.Option(min=0, help="The same seed makes the same scenes.")] = 0,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print nothing.")] = False,
) -> None:
    """Make georeferenced scenes of sea, coast, clouds and ships, with the true masks in masks.csv.

    The scenes are GeoTIFFs of 1.5 m a pixel. The CSV has the competition's columns, one row a ship, and the size of
    the scene; the folder truth/ has each mask as GeoTIFF.
    """
    import numpy as np
    from rasterio import Affine
    from rasterio.crs import CRS

    from taran_eo.imagery import MASK_SUFFIX
    from taran_eo.imagery.synthetic import write_synthetic_scene
    from taran_eo.outputs import together, writing

    rows, cols = parse_size(size)
    truth, masks = output / "truth", output / "masks.csv"
    with writing(truth):
        truth.mkdir(parents=True, exist_ok=True)
        masks.unlink(missing_ok=True)  # an older table would tell of scenes that are no more
    with together(output, [masks]) as temporaries, writing(masks), temporaries[masks].open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["ImageId", "EncodedPixels", "width", "height", "length_m", "width_m", "heading_deg"])
        for number in range(scenes):
            # Side by side in the Gulf of Lion, so that they can be looked at together.
            transform = Affine(1.5, 0, 500_000 + number * cols * 1.5, 0, -1.5, 4_750_000)
            scene = output / f"scene_{number:03d}.tif"
            ships = write_synthetic_scene(
                scene,
                rows,
                cols,
                rng=np.random.default_rng([seed, number]),
                crs=CRS.from_epsg(32631),
                transform=transform,
                mask_path=truth / f"{scene.stem}{MASK_SUFFIX}",
            )
            for ship in ships:
                length, width, heading = f"{ship.length_m:.1f}", f"{ship.width_m:.1f}", f"{ship.heading_deg:.1f}"
                table.writerow([scene.name, ship.kaggle(rows), cols, rows, length, width, heading])
            if not ships:
                table.writerow([scene.name, "", cols, rows, "", "", ""])
            if not quiet:
                tell(f"{scene}: {len(ships)} ships")

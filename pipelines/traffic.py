"""Fit the scenes that simulations of the downlink draw from where nobody names others, to real tiles.

The tiles are those of `ladder.py`, which the model was not trained on. They go through the shipped model and its gate
twice: what a chip of each ship takes is of products that hold chips, what ships and surroundings take of products that
hold those. All else, the header of a scene with it, is of the former.

Usage, some seconds:
    python pipelines/traffic.py
It writes taran_eo/downlink/traffic.json, and prints how many times smaller JPEG-LS made the pixels that
`taran_eo.downlink.runs` counts, beside what that module takes for runs without pixels.
"""

import tempfile
from pathlib import Path

from taran_eo.codec import LEVELS, Level, Product
from taran_eo.codec.part import pack_part
from taran_eo.codec.product import parts
from taran_eo.downlink.runs import (
    DISPLAY_BYTES_PIXEL,
    JPEG_LS_CHIPS,
    JPEG_LS_REGIONS,
    USUAL,
    chip_pixels,
    fit,
    region_pixels,
)
from taran_eo.gate import check_gate
from taran_eo.model import DEFAULT_GATE, DEFAULT_NAME, Model, shipped
from taran_eo.onboard import Options, run
from taran_eo.onboard.sending import products

TILES = Path("../shared/data/airbus/val")
GSD_M = 1.5


def made(level: Level, out: Path) -> list[Product]:
    """The products of all tiles with pixels of a level."""
    model, gate = Model.open(), Model.open(shipped(DEFAULT_GATE))
    check_gate(gate, model)
    run([TILES], out, model, gate=gate, options=Options(level=level, codec="jpeg-ls"))
    return list(products(out))


def ratio(level: Level, found: list[Product]) -> float:
    """Bytes of the pixels that are counted for a level over those of its parts."""
    count = chip_pixels if level == "chips" else region_pixels
    pixels = sum(count(product.ships(), product.header) for product in found)
    packed = sum(len(pack_part(part)) for product in found for part in parts(product, (level,)))
    return pixels * DISPLAY_BYTES_PIXEL / packed


def main() -> None:
    """Run, fit, write and tell."""
    with tempfile.TemporaryDirectory() as folder:
        chips, regions = (made(level, Path(folder) / level) for level in LEVELS[3:5])
    source = (
        f"{len(chips)} tiles of the Airbus Ship Detection Challenge (2018), ships as {DEFAULT_NAME} finds them behind "
        f"{DEFAULT_GATE}"
    )
    traffic, wide = (fit(found, source=source, gsd_m=GSD_M) for found in (chips, regions))
    alike = tuple(
        each.model_copy(update={"regions_bytes": other.regions_bytes})
        for each, other in zip(traffic.alike, wide.alike, strict=True)
    )
    traffic = traffic.model_copy(update={"alike": alike})
    USUAL.write_text(traffic.model_dump_json(indent=1) + "\n", encoding="utf-8")
    print(f"{traffic.ships_km2:.3f} ships a km2, {sum(each.scenes * each.ships for each in alike)} in all")
    for level, found, taken in (("chips", chips, JPEG_LS_CHIPS), ("regions", regions, JPEG_LS_REGIONS)):
        print(f"{level} are {ratio(level, found):.2f} times smaller in JPEG-LS; {taken:g} are taken for runs without")


if __name__ == "__main__":
    main()

"""How many bytes each level of the product ladder takes on the wire, on real tiles that the model was not trained on.

The tiles go through the shipped model and its gate, their products through bundles, CFDP with retransmission, packets,
frames and Reed-Solomon over a link that loses 2 % of all frames both ways, and the masks on the ground are held against
those on board. Raw are the bits that the camera of `spot-6` measured on the ground of these tiles, without any
overhead; JPEG-LS is what it makes of raw frames of that camera that never were a JPEG (`lossless.json`). Intervals are
bootstrapped over tiles, 95 %, and stand for these tiles only: what a level takes follows from how many ships there are.
What pieces of a whole scene cost is told for squares of several sides: how much more JPEG-LS takes than for a whole
tile, and how many pixels a lost frame takes with it.

Usage, some six minutes:
    python pipelines/ladder.py
It writes results/ladder.md, and results/ladder.json with the provenance.
"""

import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from taran_eo.codec import LEVELS, Level, pack
from taran_eo.codec.chip import PIECE
from taran_eo.codec.image import compress
from taran_eo.codec.jpeg_ls import JpegLs
from taran_eo.gate import check_gate
from taran_eo.ground import compare, land
from taran_eo.imagery import read_jpeg
from taran_eo.imagery.sensor import sensor_named
from taran_eo.model import DEFAULT_GATE, Model, shipped
from taran_eo.onboard import Options, files, run
from taran_eo.onboard.sending import products
from taran_eo.provenance import Provenance, environment, sha256_files
from taran_eo.wire import Channel, Wire, exchange

TILES = Path("../shared/data/airbus/val")
LOSSLESS = Path("pipelines/results/lossless.json")
RESULT = Path("pipelines/results/ladder")
TILE, SIDES = 768, (64, PIECE, 256, 768)
GSD_M, SENSOR, FRAME_LOSS, LINKS, SEED, RESAMPLES = 1.5, "spot-6", 0.02, 10, 6, 2000
ROWS: tuple[tuple[Level, str], ...] = (
    *((level, "jpeg-ls") for level in LEVELS),
    ("scene", "jpeg-2000-45db"),
)
WHAT = {
    "counts": "counts and where the scene lies",
    "ships": "with the list of ships",
    "mask": "with the mask",
    "chips": "with a chip of each ship",
    "regions": "with ships and surroundings above a coarse sea",
    "scene": "with the whole scene",
}


@dataclass(frozen=True)
class Row:
    """What a level takes.

    Attributes:
        level: The level.
        codec: What compresses its pixels, if it has any.
        product_bytes: Bytes of all bundles.
        wire_bytes: Bytes of all frames, markers and check symbols, sent again or not: mean of the links.
        wire_low: Least of the links.
        wire_high: Most of the links.
        identical: Masks on the ground that are those on board, of all links; None where none goes down.
        less_than_raw: Raw bytes over `wire_bytes`, and its interval.
        less_than_jpeg_ls: The same for raw frames in JPEG-LS.
    """

    level: str
    codec: str | None
    product_bytes: int
    wire_bytes: int
    wire_low: int
    wire_high: int
    identical: str | None
    less_than_raw: tuple[float, float, float]
    less_than_jpeg_ls: tuple[float, float, float]


def measure(level: Level, codec: str, out: Path, raw_bytes: float, jpeg_ls: float) -> Row:
    """One row, from a run in a folder of its own."""
    model, gate = Model.open(), Model.open(shipped(DEFAULT_GATE))
    check_gate(gate, model)
    run([TILES], out, model, gate=gate, options=Options(level=level, codec=codec))
    sent, wire = list(files(out, twice=False)), Wire()
    totals, same, masks = [], 0, 0
    channel = Channel(frame_loss=FRAME_LOSS)
    for seed in range(LINKS):
        rng = np.random.default_rng([SEED, seed])
        transfer = exchange(sent, wire.framing, channel, channel, rng=rng, settings=wire.cfdp)
        landing = land((file.data for file in transfer.files), out / "ground")
        found = list(compare(out, out / "ground", landing))
        same, masks = same + sum(mask.identical for mask in found), masks + len(found)
        totals.append(transfer.down.total_bytes)
    held = [len(pack(product)) for product in products(out)]
    product_total, wire_mean = sum(len(file.data) for file in sent), float(np.mean(totals))
    # A tile's share of the wire is that of its product; raw is the same for all tiles.
    shares = np.array(held) / sum(held) * wire_mean
    drawn = np.random.default_rng(SEED).integers(0, len(shares), (RESAMPLES, len(shares)))
    low, high = np.percentile(raw_bytes / shares[drawn].sum(axis=1), (2.5, 97.5))
    times = (raw_bytes / wire_mean, float(low), float(high))
    pixels = level in ("chips", "regions", "scene")
    return Row(
        level,
        codec if pixels else None,
        product_total,
        round(wire_mean),
        min(totals),
        max(totals),
        f"{same} of {masks}" if level not in ("counts", "ships") else None,
        times,
        tuple(each / jpeg_ls for each in times),
    )


@dataclass(frozen=True)
class Pieces:
    """What whole scenes take in JPEG-LS, in squares of a side.

    Attributes:
        side: The side in pixels.
        total_bytes: Bytes of all images.
        more: Share that these are more than those of whole tiles.
        lost_pixels: Pixels of the squares of which a frame holds any byte, mean over frames.
    """

    side: int
    total_bytes: int
    more: float
    lost_pixels: float


def pieces(paths: list[Path]) -> list[Pieces]:
    """What squares of each side cost."""
    frame_bytes, codec = Wire().framing.data_bytes, JpegLs()
    tiles = [np.ascontiguousarray(read_jpeg(path).transpose(2, 0, 1)) for path in paths]
    found = {}
    for side in SIDES:
        places = range(0, TILE, side)
        sizes = [
            len(compress(np.ascontiguousarray(tile[:, row : row + side, col : col + side]), codec))
            for tile in tiles
            for row in places
            for col in places
        ]
        stops = np.cumsum(sizes)
        edges = np.append(np.arange(0, stops[-1], frame_bytes), stops[-1])
        first, last = np.searchsorted(stops, edges[:-1], "right"), np.searchsorted(stops, edges[1:], "left")
        found[side] = int(stops[-1]), float((last - first + 1).mean() * side**2)
    return [Pieces(side, total, total / found[TILE][0] - 1, lost) for side, (total, lost) in found.items()]


def line(row: Row) -> str:
    """A row of the Markdown table."""
    times = (
        f"{_times(value)} [{_times(low)}, {_times(high)}]"
        for value, low, high in (row.less_than_raw, row.less_than_jpeg_ls)
    )
    cells = (f"{row.level}, {WHAT[row.level]}", row.codec or "", f"{row.wire_bytes:,}", row.identical or "", *times)
    return f"| {' | '.join(cells)} |"


def _times(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def main() -> None:
    """Measure and write."""
    paths = sorted(TILES.glob("*.jpg"))
    lossless = json.loads(LOSSLESS.read_text())["rows"]
    (jpeg_ls,) = (
        row["ratio"] for row in lossless if (row["frames"], row["codec"], row["green"]) == (SENSOR, "jpeg-ls", True)
    )
    pixels = TILE * TILE * len(paths)
    raw_bytes = sensor_named(SENSOR).bits_pixel(GSD_M) * pixels / 8
    with tempfile.TemporaryDirectory() as folder:
        rows = [measure(level, codec, Path(folder) / f"{level}-{codec}", raw_bytes, jpeg_ls) for level, codec in ROWS]
        ships = sum(product.header.ships for product in products(Path(folder) / "counts-jpeg-ls"))
    area_km2 = pixels * GSD_M**2 / 1e6
    cut = pieces(paths)
    told = {
        "tiles": len(paths),
        "area_km2": area_km2,
        "ships_found": ships,
        "ships_found_km2": ships / area_km2,
        "raw_bytes": raw_bytes,
        "jpeg_ls_ratio": jpeg_ls,
        "frame_loss": FRAME_LOSS,
        "links": LINKS,
        "rows": [asdict(row) for row in rows],
        "pieces": [asdict(each) for each in cut],
        "provenance": Provenance(
            (environment(),), seed=SEED, inputs=sha256_files(TILES, [path.name for path in paths])
        ).to_dict(),
    }
    RESULT.with_suffix(".json").write_text(json.dumps(told, indent=1) + "\n")
    head = (
        f"What goes down of {len(paths)} tiles ({area_km2:.1f} km², {ships} ships as the model finds them, "
        f"{ships / area_km2:.2f} a km²), by level: `pipelines/ladder.py`. Raw are {raw_bytes:,.0f} bytes of the camera "
        f"{SENSOR}, JPEG-LS {raw_bytes / jpeg_ls:,.0f}. On the wire: all headers, fill, Reed-Solomon, markers and what "
        f"was sent again where {100 * FRAME_LOSS:.0f} % of the frames are lost, mean of {LINKS} links; masks: those on "
        "the ground that are those on board. Intervals are 95 %, over tiles."
    )
    text = [
        f"{head}\n",
        "| level | pixels | bytes on the wire | masks identical | times less than raw | than JPEG-LS |",
        "| --- | --- | --- | --- | --- | --- |",
        *map(line, rows),
        f"\nA whole scene goes down in squares of {PIECE} pixels. In JPEG-LS, beside whole tiles of {TILE}:\n",
        *(
            f"- squares of {each.side}: {100 * each.more:.1f} % more bytes; a lost frame takes {each.lost_pixels:,.0f} "
            "pixels with it"
            for each in cut
        ),
    ]
    RESULT.with_suffix(".md").write_text("\n".join(text) + "\n")
    print("\n".join(text))


if __name__ == "__main__":
    main()

"""How many times smaller the image codecs make raw data: synthetic frames of cameras, and tiles that were JPEGs.

A ratio is raw bits, as the camera packs them, over the bytes of all envelopes, with a 95 % bootstrap interval over
frames. The frames of `taran_eo.imagery.sensor.observe` never were a JPEG: their noise is whole. The tiles are decoded
JPEGs, whose compression took the noise and half of the colour; their ratios are what a codec does to such pictures, and
no measure of what it does on board. Everything that is lossless is expanded and compared.

Usage, some seven minutes:
    python pipelines/lossless.py
It writes results/lossless.md, results/lossless.csv, and results/lossless.json with the provenance.
"""

import csv
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from taran_eo.codec.image import IMAGE_CODECS, ImageCodec, compress, expand
from taran_eo.codec.image_shape import Pixels
from taran_eo.codec.jpeg_2000 import Jpeg2000
from taran_eo.codec.jpeg_ls import JpegLs
from taran_eo.imagery import read_jpeg
from taran_eo.imagery.sensor import Sensor, observe, sensor_named
from taran_eo.provenance import Provenance, environment, sha256_files

TILES = Path("../shared/data/airbus/val")
RESULT = Path("pipelines/results/lossless")
SEED, FRAMES, SIDE, RESAMPLES = 6, 12, 512, 2000
CODECS = (*IMAGE_CODECS, JpegLs(near=4), JpegLs(near=8), Jpeg2000(psnr_db=60.0), Jpeg2000(psnr_db=55.0))
HEAD = """What the image codecs make of raw data: `pipelines/lossless.py`. The ratio is raw bits as packed by the camera
over bytes sent, with a 95 % bootstrap interval over frames; rates are of one core that others used too, in megabytes of
packed raw data, expanding with the process around the decoder. The green difference is taken where it looks worth it.
The tiles are decoded JPEGs, which flatters every codec, and the green difference above all, since their colour had been
halved: they say nothing about raw data. PSNR is against the largest sample, of which land and sea fill a tenth or two
in a raw frame: its own noise lies at about 55 dB (spot-6) and 48 dB (colour-frame), and less costs more than noise."""


@dataclass(frozen=True)
class Frame:
    """Images of one place that are sent together, and the bits of their samples."""

    images: tuple[tuple[Pixels, int], ...]

    @property
    def raw_bits(self) -> int:
        """Bits of all samples as the camera packs them."""
        return sum(pixels.size * bits for pixels, bits in self.images)


@dataclass(frozen=True)
class Row:
    """What a codec did to a set of frames."""

    frames: str
    codec: str
    green: bool
    ratio: float
    ratio_low: float
    ratio_high: float
    bits_sample: float
    largest_error: int
    psnr_db: float | None
    compress_mb_s: float
    expand_mb_s: float


def observed(sensor: Sensor) -> Iterator[Frame]:
    """Frames of a camera: the bands of one sampling go into one image."""
    for number in range(FRAMES):
        bands = observe(sensor, np.random.default_rng([SEED, number]), SIDE, SIDE)
        by_sampling: dict[float, list[int]] = {}
        for index, band in enumerate(sensor.bands):
            by_sampling.setdefault(band.gsd_m, []).append(index)
        groups = by_sampling.values()
        yield Frame(tuple((np.stack([bands[i] for i in group]), sensor.bands[group[0]].bits) for group in groups))


def tiles(paths: list[Path]) -> Iterator[Frame]:
    """Tiles that were JPEGs, in red, green and blue of 8 bits."""
    for path in paths:
        yield Frame(((np.ascontiguousarray(read_jpeg(path).transpose(2, 0, 1)), 8),))


def measure(name: str, frames: list[Frame], codec: ImageCodec, *, green: bool) -> Row:
    """Compress and expand all frames with a codec."""
    raw, sent = np.zeros(len(frames)), np.zeros(len(frames))
    compressing_s = expanding_s = squares = 0.0
    samples = largest = 0
    for index, frame in enumerate(frames):
        for pixels, bits in frame.images:
            begin = time.perf_counter()
            data = compress(pixels, codec, bits=bits, green=green)
            between = time.perf_counter()
            back = expand(data)
            expanding_s += time.perf_counter() - between
            compressing_s += between - begin
            error = np.abs(back.astype(np.int32) - pixels)
            assert not codec.lossless or not error.any(), codec.name  # noqa: S101
            largest = max(largest, int(error.max()))
            squares += float(np.square(error / ((1 << bits) - 1)).sum())
            samples += pixels.size
            sent[index] += 8 * len(data)
        raw[index] = frame.raw_bits
    drawn = np.random.default_rng(SEED).integers(0, len(frames), (RESAMPLES, len(frames)))
    low, high = np.percentile(raw[drawn].sum(axis=1) / sent[drawn].sum(axis=1), (2.5, 97.5))
    megabytes = raw.sum() / 8e6
    return Row(
        *(name, codec.name, green),
        *(round(float(value), 3) for value in (raw.sum() / sent.sum(), low, high, sent.sum() / samples)),
        largest,
        round(float(-10 * np.log10(squares / samples)), 2) if squares else None,
        *(round(float(megabytes / seconds), 1) for seconds in (compressing_s, expanding_s)),
    )


def rows() -> Iterator[Row]:
    """All measurements; green matters to lossless codecs of several bands only."""
    sets = {sensor: list(observed(sensor_named(sensor))) for sensor in ("spot-6", "colour-frame")}
    sets["tiles that were JPEGs"] = list(tiles(paths()))
    for name, frames in sets.items():
        for codec in CODECS:
            for green in (False, True) if codec.lossless else (False,):
                yield measure(name, frames, codec, green=green)


def paths() -> list[Path]:
    """The tiles."""
    return sorted(TILES.glob("*.jpg"))


def line(row: Row) -> str:
    """A row of the Markdown table."""
    cells = (
        *(row.frames, row.codec, "yes" if row.green else ""),
        f"{row.ratio:.2f} ({row.ratio_low:.2f} to {row.ratio_high:.2f})",
        f"{row.bits_sample:.2f}",
        str(row.largest_error),
        "" if row.psnr_db is None else f"{row.psnr_db:.1f}",
        *(f"{row.compress_mb_s:.0f}", f"{row.expand_mb_s:.0f}"),
    )
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Measure and write."""
    expand(compress(np.zeros((1, 8, 8), np.uint8), CODECS[0]))  # starts the process around the decoders
    found = list(rows())
    sensors = [sensor_named(name).model_dump(mode="json") for name in ("spot-6", "colour-frame")]
    inputs = sha256_files(TILES, [path.name for path in paths()])
    made = Provenance((environment(),), seed=SEED, inputs=inputs).to_dict()
    told = {
        "rows": [asdict(row) for row in found],
        "frames": {"each": FRAMES, "side": SIDE, "tiles": len(paths())},
        "sensors": sensors,
        "provenance": made,
    }
    RESULT.with_suffix(".json").write_text(json.dumps(told, indent=1) + "\n")
    with RESULT.with_suffix(".csv").open("w", newline="") as file:
        table = csv.DictWriter(file, list(asdict(found[0])), lineterminator="\n")
        table.writeheader()
        table.writerows(asdict(row) for row in found)
    columns = "| frames | codec | green | ratio | bits a sample | largest error | PSNR, dB | MB/s in | MB/s out |"
    text = [
        f"{HEAD} {FRAMES} frames of {SIDE} x {SIDE} samples of the finest band, {len(paths())} tiles of 768 x 768.\n",
        *(columns, "| --- | --- | --- | --- | --- | --- | --- | --- | --- |", *map(line, found)),
    ]
    RESULT.with_suffix(".md").write_text("\n".join(text) + "\n")
    print("\n".join(text))


if __name__ == "__main__":
    main()

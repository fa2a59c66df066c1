"""Labelled imagery: the competition's mask table, one row a ship in run lengths, beside a folder of images."""

import csv
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from taran_eo.errors import ConfigError, CorruptDataError
from taran_eo.imagery.contract import Contract
from taran_eo.imagery.rle import kaggle_decode_part
from taran_eo.imagery.scene import open_scene
from taran_eo.imagery.window import Part, Window

AIRBUS_TILE = 768
"""Rows and columns of a competition tile, for tables without ``width`` and ``height``."""


@dataclass(frozen=True)
class LabelledImage:
    """One image file and the run-length text of each ship in it; nothing is read before it is asked for.

    Attributes:
        path: Image file.
        rows: Rows of the masks.
        cols: Columns of the masks.
        ships: Run-length text of each ship; empty for an image without ships.
    """

    path: Path
    rows: int
    cols: int
    ships: tuple[str, ...]

    def pixels(self) -> NDArray[np.uint8]:
        """The whole image, red, green, blue, ``uint8[rows, cols, 3]``, read as on board.

        Raises:
            ImageryError: It cannot be read.
            ContractError: It has no such bands.
        """
        with open_scene(self.path, Contract(bands=("red", "green", "blue"))) as scene:
            pixels, _ = scene.read(Window(0, 0, scene.rows, scene.cols))
        return np.ascontiguousarray(pixels.transpose(1, 2, 0))

    def parts(self) -> Iterator[Part]:
        """The pixels of each ship within the smallest window around them, decoded one by one.

        Raises:
            CorruptDataError: A text is no run length, or does not fit.
        """
        for text in self.ships:
            try:
                part = kaggle_decode_part(text, self.rows, self.cols)
            except CorruptDataError as error:
                raise CorruptDataError(f"The masks of {self.path}: {error.what}", remedy=error.remedy) from error
            yield part

    def masks(self) -> Iterator[NDArray[np.bool_]]:
        """One mask a ship, ``bool[rows, cols]``, decoded one by one; raises as `parts` does."""
        for window, part in self.parts():
            mask = np.zeros((self.rows, self.cols), dtype=np.bool_)
            mask[window.slices] = part
            yield mask

    def mask(self) -> NDArray[np.bool_]:
        """All ships together, ``bool[rows, cols]``; raises as `parts` does."""
        union = np.zeros((self.rows, self.cols), dtype=np.bool_)
        for window, part in self.parts():
            union[window.slices] |= part
        return union


def read_labels(images: Path, masks: Path, labels: Sequence[str] = ()) -> list[LabelledImage]:
    """Read a mask file of the competition's form, one row a ship, empty text for no ship.

    Args:
        images: Folder of the images.
        masks: CSV with ``ImageId, EncodedPixels`` and optionally ``width, height, label``.
        labels: Keep only rows with these labels; empty keeps all.

    Returns:
        The images of the file that are in the folder, sorted by name.

    Raises:
        ConfigError: The folder or file is missing or no table, has other columns, or they share no image.
    """
    if not masks.is_file():
        raise ConfigError(f"There is no mask file {masks}", remedy="Point `masks` at the CSV", path=masks)
    ships: dict[str, list[str]] = defaultdict(list)
    sizes: dict[str, tuple[int, int]] = {}
    try:
        with masks.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            if not {"ImageId", "EncodedPixels"} <= set(reader.fieldnames or ()):
                raise ConfigError(
                    f"{masks} has the columns {reader.fieldnames}",
                    remedy="It must have ImageId and EncodedPixels, as the competition distributes it",
                    path=masks,
                )
            for row in reader:
                if labels and row.get("label") not in labels:
                    continue
                name = row["ImageId"]
                where = f"{masks}, line {reader.line_num}"
                sizes[name] = (_pixels(row, "height", where), _pixels(row, "width", where))
                ships[name] += [row["EncodedPixels"]] if row["EncodedPixels"] else []
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(
            f"{masks} cannot be read as a table: {error}", remedy="Give a CSV in UTF-8, one row a ship", path=masks
        ) from error
    if not images.is_dir():
        raise ConfigError(f"There is no folder {images}", remedy="Point `images` at the images", path=images)
    present = {path.name for path in images.iterdir()}
    found = [
        LabelledImage(images / name, *sizes[name], tuple(ships[name])) for name in sorted(sizes) if name in present
    ]
    if not found:
        raise ConfigError(
            f"No image named in {masks} is in {images}", remedy="Point `images` at their folder", path=images
        )
    return found


def _pixels(row: Mapping[str, str | None], column: str, where: str) -> int:
    text = row.get(column)
    if not text:
        return AIRBUS_TILE
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) > 0):
        raise ConfigError(
            f"{where}: the {column} of {row['ImageId']} is {text[:40]!r}", remedy="Give a whole number of pixels"
        )
    return int(text)

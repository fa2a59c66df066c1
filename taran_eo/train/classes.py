"""Pictures of classes: CIFAR-10 as published or as JPEG copies, and folders with a folder of files for each class."""

import io
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, Protocol
from zipfile import BadZipFile

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from taran_eo.errors import ConfigError, CorruptDataError

Pixels = NDArray[np.uint8]

CIFAR_SIDE = 32
CIFAR_BATCHES = {"train": [f"data_batch_{number}" for number in range(1, 6)], "test": ["test_batch"]}
CIFAR_NAMES = "batches.meta"

PADDING = 8
"""A training crop of CIFAR is moved by up to a side / `PADDING` each way (4 pixels of 32), as is customary."""

LARGER = 8 / 7
"""A centre crop is cut from a picture whose shorter side is so many times as long (256 for 224)."""

AREA = (0.25, 1.0)
RATIO = (3 / 4, 4 / 3)
"""Share of a picture, and ratio of its sides, that a training crop is drawn with."""

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")

Part = Literal["train", "test"]


class Classified(Protocol):
    """Pictures, each of one class.

    Attributes:
        classes: Their names.
        labels: Class of each picture, ``int64[n]``.
    """

    @property
    def classes(self) -> tuple[str, ...]: ...  # noqa: D102 - above

    @property
    def labels(self) -> NDArray[np.int64]: ...  # noqa: D102 - above

    def crops(self, numbers: Sequence[int] | NDArray[np.int64], rng: np.random.Generator | None) -> Pixels:
        """Crops of some pictures, ``uint8[n, side, side, 3]``: at random for training, the middle without chance."""
        ...


@dataclass(frozen=True, eq=False)
class SmallPictures:
    """Pictures of one size, in memory.

    Attributes:
        pixels: ``uint8[n, side, side, 3]``.
    """

    pixels: Pixels
    labels: NDArray[np.int64]
    classes: tuple[str, ...]

    def crops(self, numbers: Sequence[int] | NDArray[np.int64], rng: np.random.Generator | None) -> Pixels:
        """As they are; for training mirrored or not, and moved by up to an eighth, with what is missing reflected."""
        chosen = self.pixels[np.asarray(numbers)]
        if rng is None:
            return chosen
        count, side = chosen.shape[:2]
        pad = side // PADDING
        padded = np.pad(chosen, [(0, 0), (pad, pad), (pad, pad), (0, 0)], mode="reflect")
        tops, lefts = rng.integers(0, 2 * pad + 1, (2, count))
        place, mirrored = np.arange(side), rng.random(count) < 0.5
        cols = np.where(mirrored[:, None], place[::-1], place) + lefts[:, None]
        rows = place + tops[:, None]
        crops: Pixels = padded[np.arange(count)[:, None, None], rows[:, :, None], cols[:, None, :]]
        return crops


@dataclass(frozen=True, eq=False)
class PictureFiles:
    """Files of any size, each read when it is asked for.

    Attributes:
        paths: One a picture.
        side: Rows and columns of a crop.
    """

    paths: tuple[Path, ...]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    side: int

    def crops(self, numbers: Sequence[int] | NDArray[np.int64], rng: np.random.Generator | None) -> Pixels:
        """The middle of each, scaled; for training a part of random area and ratio, mirrored or not.

        Raises:
            CorruptDataError: A file is no picture.
        """
        return np.stack([_crop(_read(self.paths[number]), self.side, rng) for number in numbers])


def _read(path: Path) -> Pixels:
    pixels = cv2.imdecode(np.fromfile(path, dtype=np.uint8), cv2.IMREAD_COLOR_RGB) if path.stat().st_size else None
    if pixels is None:
        raise CorruptDataError(f"{path} cannot be read as a picture", remedy="Restore it, or take it out", path=path)
    return pixels.astype(np.uint8, copy=False)


def _crop(pixels: Pixels, side: int, rng: np.random.Generator | None) -> Pixels:
    rows, cols = pixels.shape[:2]
    if rng is None:
        height = width = min(rows, cols) / LARGER
        top, left = (rows - height) / 2, (cols - width) / 2
    else:
        area = rows * cols * rng.uniform(*AREA)
        ratio = np.exp(rng.uniform(*np.log(RATIO)))
        height, width = min(rows, np.sqrt(area / ratio)), min(cols, np.sqrt(area * ratio))
        top, left = rng.uniform(0, rows - height), rng.uniform(0, cols - width)
    row, col = int(top), int(left)
    cut = pixels[row : max(row + 1, round(top + height)), col : max(col + 1, round(left + width))]
    smaller = min(cut.shape[:2]) > side
    scaled = cv2.resize(cut, (side, side), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
    return (scaled if rng is None or rng.random() < 0.5 else scaled[:, ::-1]).astype(np.uint8)


def read_classes(path: Path, part: Part, side: int) -> Classified:
    """Read pictures of classes.

    Args:
        path: An ``.npz`` of JPEGs; the folder ``cifar-10-batches-py`` as it is published; or a folder that holds a
            folder of picture files for each class, as ImageNet is kept.
        part: Which of the published batches; other paths hold one part.
        side: Rows and columns of a crop; the pictures of the first two have that size.

    Raises:
        ConfigError: Nothing is there, or nothing of that kind; or the pictures have another size.
        CorruptDataError: A file is damaged or cut short; says which.
    """
    if not path.exists():
        raise ConfigError(f"No pictures are at {path}", remedy="Fetch the data set, or correct the path", path=path)
    if path.is_file():
        found = _jpegs(path)
    elif (path / CIFAR_NAMES).exists() or (path / CIFAR_BATCHES[part][0]).exists():
        found = _batches(path, part)
    else:
        return _folders(path, side)
    if found.pixels.shape[1] != side:
        raise ConfigError(
            f"The pictures of {path} have {found.pixels.shape[1]} rows and columns, not {side}",
            remedy="Correct `images.side`",
            path=path,
        )
    return found


def _jpegs(path: Path) -> SmallPictures:
    """JPEG files that share one header: ``header``, ``body``, ``offsets``, ``labels``, ``classes``."""
    try:
        with np.load(path, allow_pickle=False) as held:
            header, body = held["header"].tobytes(), held["body"].tobytes()
            offsets, labels = held["offsets"].astype(np.int64), held["labels"].astype(np.int64)
            classes = tuple(str(name) for name in held["classes"])
        if len(offsets) != len(labels) + 1 or offsets[-1] != len(body) or (labels >= len(classes)).any():
            raise ValueError("its parts do not fit each other")
        pixels = [
            simplejpeg.decode_jpeg(header + body[start:stop], "RGB", strict=True) for start, stop in pairwise(offsets)
        ]
        return SmallPictures(np.stack(pixels), labels, classes)
    except (OSError, EOFError, ValueError, KeyError, BadZipFile) as error:
        raise _damaged(path, error) from error


_RECONSTRUCT = np.empty(0).__reduce__()[0]


class _ArraysOnly(pickle.Unpickler):
    """A pickle may call anything; those of CIFAR call what makes arrays, and that is all that is let through."""

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401 - what pickle returns
        if (module, name) in {("numpy.core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "_reconstruct")}:
            return _RECONSTRUCT
        if (module, name) in {("numpy", "ndarray"), ("numpy", "dtype")}:
            return getattr(np, name)
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def _batches(folder: Path, part: Part) -> SmallPictures:
    """The python batches of https://www.cs.toronto.edu/~kriz/cifar.html."""

    def held(name: str) -> dict[bytes, Any]:
        path = folder / name
        try:
            content = _ArraysOnly(io.BytesIO(path.read_bytes()), encoding="bytes").load()
            return {key if isinstance(key, bytes) else str(key).encode(): value for key, value in content.items()}
        except (OSError, EOFError, pickle.UnpicklingError, AttributeError, ValueError, IndexError, KeyError) as error:
            raise _damaged(path, error) from error

    pixels, labels = [], []
    names = tuple(str(name, "ascii") if isinstance(name, bytes) else name for name in held(CIFAR_NAMES)[b"label_names"])
    for name in CIFAR_BATCHES[part]:
        batch = held(name)
        try:
            planes = np.asarray(batch[b"data"], dtype=np.uint8).reshape(-1, 3, CIFAR_SIDE, CIFAR_SIDE)
            marks = np.asarray(batch[b"labels"], dtype=np.int64)
            if len(planes) != len(marks) or (marks >= len(names)).any():
                raise ValueError(f"{len(planes)} pictures and {len(marks)} labels")
        except (KeyError, ValueError) as error:
            raise _damaged(folder / name, error) from error
        pixels.append(planes.transpose(0, 2, 3, 1))
        labels.append(marks)
    return SmallPictures(np.ascontiguousarray(np.concatenate(pixels)), np.concatenate(labels), names)


def _folders(root: Path, side: int) -> PictureFiles:
    classes = tuple(sorted(path.name for path in root.iterdir() if path.is_dir()))
    found = [
        (path, number)
        for number, name in enumerate(classes)
        for path in sorted((root / name).iterdir())
        if path.suffix.lower() in PICTURES
    ]
    if not found:
        raise ConfigError(
            f"{root} holds neither the batches of CIFAR-10 nor a folder of pictures for each class",
            remedy="Give an .npz of JPEGs, cifar-10-batches-py, or a folder with one folder a class",
            path=root,
        )
    paths, labels = zip(*found, strict=True)
    return PictureFiles(paths, np.array(labels, dtype=np.int64), classes, side)


def _damaged(path: Path, error: Exception) -> CorruptDataError:
    return CorruptDataError(
        f"{path} is damaged, cut short or missing ({type(error).__name__}: {error})",
        remedy="Fetch it again and compare its checksum",
        path=path,
    )

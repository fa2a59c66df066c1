"""Pictures of classes: CIFAR-10 as published or as JPEG copies, and folders with a folder of files for each class."""

import io
import pickle
import pickletools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, Protocol
from zipfile import is_zipfile

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from taran_eo.errors import ConfigError, ContractError, CorruptDataError, ImageryError
from taran_eo.imagery import SUFFIXES, Contract, Window, open_scene

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

COLOURS = Contract(bands=("red", "green", "blue"))

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
        chosen: Pixels = self.pixels[np.asarray(numbers)]
        if rng is None:
            return chosen
        count, side = chosen.shape[:2]
        pad = side // PADDING
        padded = np.pad(chosen, [(0, 0), (pad, pad), (pad, pad), (0, 0)], mode="reflect")
        tops, lefts = rng.integers(0, 2 * pad + 1, (2, count))
        place, mirrored = np.arange(side), rng.random((count,)) < 0.5
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
            ImageryError: A file is no picture, is damaged or cut short, or cannot be read; says which.
            ContractError: A file has pixels that are no colours.
        """
        return np.stack([_crop(_read(self.paths[number]), self.side, rng) for number in numbers])


def _read(path: Path) -> Pixels:
    """A whole picture, read as scenes are; and those in four inks, which ImageNet holds some of."""
    try:
        with open_scene(path, COLOURS) as scene:
            pixels, _ = scene.read(Window(0, 0, scene.rows, scene.cols))
        return pixels.transpose(1, 2, 0)
    except ContractError as error:
        inks = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB) if "colourspace" in error.facts else None
        if inks is None:
            raise
        return inks.astype(np.uint8, copy=False)


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


def class_names(path: Path, part: Part) -> tuple[str, ...]:
    """The names of the classes of what `read_classes` reads; raises as it does."""
    match _form(path, part):
        case "jpegs":
            with _whole(path):
                return _names(_arrays(path, "classes")["classes"])
        case "batches":
            return _label_names(path)
        case "folders":
            return _class_folders(path)


def read_classes(path: Path, part: Part, side: int) -> Classified:
    """Read pictures of classes.

    Args:
        path: An ``.npz`` of JPEGs; the folder ``cifar-10-batches-py`` as it is published; or a folder that holds a
            folder of picture files for each class, as ImageNet is kept. What is hidden, and what has another ending
            than `SUFFIXES`, is no picture.
        part: Which of the published batches; other paths hold one part.
        side: Rows and columns of a crop; the pictures of the first two have that size.

    Raises:
        ConfigError: Nothing is there, or nothing of that kind; or the pictures have another size.
        CorruptDataError: A file is damaged or cut short; says which.
    """
    match _form(path, part):
        case "jpegs":
            found = _jpegs(path)
        case "batches":
            found = _batches(path, part)
        case "folders":
            return _folders(path, side)
    if found.pixels.shape[1] != side:
        raise ConfigError(
            f"The pictures of {path} have {found.pixels.shape[1]} rows and columns, not {side}",
            remedy="Correct `images.side`",
            path=path,
        )
    return found


def _form(path: Path, part: Part) -> Literal["jpegs", "batches", "folders"]:
    if not path.exists():
        raise ConfigError(f"No pictures are at {path}", remedy="Fetch the data set, or correct the path", path=path)
    if path.is_file():
        return "jpegs"
    return "batches" if any((path / name).exists() for name in (CIFAR_NAMES, *CIFAR_BATCHES[part])) else "folders"


@contextmanager
def _whole(path: Path) -> Iterator[None]:
    """Name the file that does not hold what it should: libraries raise nearly anything over a damaged one."""
    try:
        yield
    except Exception as error:
        raise CorruptDataError(
            f"{path} is damaged, cut short or missing ({type(error).__name__}: {error})",
            remedy="Fetch it again and compare its checksum",
            path=path,
        ) from error


def _small(pixels: Pixels, labels: NDArray[Any], classes: tuple[str, ...]) -> SmallPictures:
    """Pictures and labels that fit each other; anything else is a `ValueError`."""
    count, rows, cols, _ = pixels.shape
    if rows != cols:
        raise ValueError(f"its pictures have {rows} x {cols} pixels")
    if labels.shape != (count,) or labels.dtype.kind not in "iu":
        raise ValueError(f"{count} pictures have labels {labels.dtype}{list(labels.shape)}")
    if count and not 0 <= labels.min() <= labels.max() < len(classes):
        raise ValueError(f"labels from {labels.min()} to {labels.max()} of {len(classes)} classes")
    return SmallPictures(pixels, labels.astype(np.int64), classes)


def _names(classes: NDArray[Any]) -> tuple[str, ...]:
    if classes.ndim != 1 or classes.dtype.kind != "U":
        raise ValueError(f"its classes are {classes.dtype}{list(classes.shape)} and no names")
    return tuple(map(str, classes))


def _arrays(path: Path, *names: str) -> dict[str, NDArray[Any]]:
    with path.open("rb") as file:  # by path, numpy leaves what it cannot read open
        if not is_zipfile(file):  # numpy would take an array by itself
            raise ValueError("it is no whole .npz")
        file.seek(0)
        with np.load(file, allow_pickle=False) as held:
            return {name: held[name] for name in names}


def _jpegs(path: Path) -> SmallPictures:
    """JPEG files that share one header: ``header``, ``body``, ``offsets``, ``labels``, ``classes``."""
    with _whole(path):
        held = _arrays(path, "header", "body", "offsets", "labels", "classes")
        header, body, offsets = held["header"].tobytes(), held["body"].tobytes(), held["offsets"].astype(np.int64)
        if len(offsets) < 2 or offsets[0] < 0 or offsets[-1] != len(body) or (np.diff(offsets) <= 0).any():
            raise ValueError(f"its offsets do not rise to the {len(body)} bytes of its body")
        pixels = [
            simplejpeg.decode_jpeg(header + body[start:stop], "RGB", strict=True) for start, stop in pairwise(offsets)
        ]
        return _small(np.stack(pixels), held["labels"], _names(held["classes"]))


class _Kept:
    """Stands for an array, or its type: keeps what would be called to make it, and calls nothing."""

    def __init__(self, *arguments: object) -> None:
        self.arguments = arguments
        self.state: tuple[Any, ...] = ()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.state = state


class _ArraysOnly(pickle.Unpickler):
    """A pickle may call anything; those of CIFAR make arrays, and that is all that is let through, as `_Kept`."""

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401 - what pickle returns
        if (module, name) not in _ARRAYS:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return _Kept


_ARRAYS = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
}


def _unpickled(path: Path) -> dict[bytes, Any]:
    """What a pickle of Python 2 holds, if that is a table."""
    content = path.read_bytes()
    # One wrong bit there, and the unpickler makes room for as many objects as it says.
    places = (number for code, number, _ in pickletools.genops(content) if "PUT" in code.name)
    if any(isinstance(place, int) and place > len(content) for place in places):
        raise pickle.UnpicklingError("it counts more objects than it has bytes")
    held = _ArraysOnly(io.BytesIO(content), encoding="bytes").load()
    if not isinstance(held, dict):
        raise pickle.UnpicklingError(f"it holds no table but {type(held).__name__}")
    return held


def _rows(kept: _Kept) -> Pixels:
    """The array of bytes ``uint8[n, columns]`` that was kept."""
    _, shape, dtype, in_columns, content = kept.state
    if dtype.arguments[0] not in (b"u1", "u1") or in_columns:
        raise ValueError(f"its pictures are {dtype.arguments[0]!r} and no bytes in rows")
    return np.frombuffer(content, np.uint8).reshape(shape)


def _label_names(folder: Path) -> tuple[str, ...]:
    with _whole(folder / CIFAR_NAMES):
        return tuple(name.decode("ascii") for name in _unpickled(folder / CIFAR_NAMES)[b"label_names"])


def _batches(folder: Path, part: Part) -> SmallPictures:
    """The python batches of https://www.cs.toronto.edu/~kriz/cifar.html."""
    names = _label_names(folder)
    found = []
    for name in CIFAR_BATCHES[part]:
        with _whole(folder / name):
            batch = _unpickled(folder / name)
            planes = _rows(batch[b"data"]).reshape(-1, 3, CIFAR_SIDE, CIFAR_SIDE)
            found.append(_small(planes.transpose(0, 2, 3, 1), np.asarray(batch[b"labels"]), names))
    pixels, labels = ([getattr(each, name) for each in found] for name in ("pixels", "labels"))
    return SmallPictures(np.ascontiguousarray(np.concatenate(pixels)), np.concatenate(labels), names)


def _visible(folder: Path) -> Iterator[Path]:
    """What lies in a folder, without what editors and file browsers leave there."""
    try:
        return (path for path in sorted(folder.iterdir()) if not path.name.startswith("."))
    except OSError as error:
        raise ImageryError(
            f"{folder} cannot be read: {error.strerror}", remedy="Check its permissions", path=folder
        ) from error


def _class_folders(root: Path) -> tuple[str, ...]:
    return tuple(path.name for path in _visible(root) if path.is_dir())


def _folders(root: Path, side: int) -> PictureFiles:
    classes = _class_folders(root)
    found = [
        (path, number)
        for number, name in enumerate(classes)
        for path in _visible(root / name)
        if path.suffix.lower() in SUFFIXES
    ]
    if not found:
        raise ConfigError(
            f"{root} holds neither the batches of CIFAR-10 nor a folder of pictures for each class",
            remedy="Give an .npz of JPEGs, cifar-10-batches-py, or a folder with one folder a class",
            path=root,
        )
    paths, labels = zip(*found, strict=True)
    return PictureFiles(paths, np.array(labels, dtype=np.int64), classes, side)

"""Training crops from folders of tiles with run-length masks.

Images are decoded when a crop is drawn (1.6 ms a 768 x 768 tile), so the competition's 192,556 tiles need no
more memory than a hundred. A crop is a pure function of the generator that it is drawn with.
"""

from collections.abc import Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from taran_eo.errors import ConfigError
from taran_eo.imagery.labels import LabelledImage, read_labels
from taran_eo.imagery.synthetic import SyntheticScene, synthesize
from taran_eo.train.recipe import Recipe, Source, Synthetic

Pixels = NDArray[np.uint8]
MaskPixels = NDArray[np.bool_]


class Labelled(Protocol):
    """What crops are cut from: an image and a mask for each of its ships."""

    @property
    def rows(self) -> int:
        """Rows of the image."""
        ...

    @property
    def cols(self) -> int:
        """Columns of the image."""
        ...

    @property
    def ships(self) -> Sized:
        """One entry a ship."""
        ...

    def pixels(self) -> Pixels:
        """The image, ``uint8[rows, cols, 3]``."""
        ...

    def masks(self) -> Iterable[MaskPixels]:
        """One mask a ship, ``bool[rows, cols]``."""
        ...


@dataclass(frozen=True, eq=False)
class GeneratedImage:
    """A synthetic scene as training data."""

    scene: SyntheticScene

    @property
    def rows(self) -> int:
        """Rows of the image."""
        return int(self.scene.image.shape[0])

    @property
    def cols(self) -> int:
        """Columns of the image."""
        return int(self.scene.image.shape[1])

    @property
    def ships(self) -> Sized:
        """Its ships."""
        return self.scene.ships

    def pixels(self) -> Pixels:
        """The image, ``uint8[rows, cols, 3]``."""
        return self.scene.image

    def masks(self) -> list[MaskPixels]:
        """One mask a ship, ``bool[rows, cols]``."""
        return [ship.on(self.rows, self.cols) for ship in self.scene.ships]


@dataclass(frozen=True)
class Crop:
    """A training example: ``uint8[size, size, 3]`` and ``bool[size, size]``, and the pool it was drawn from."""

    pixels: Pixels
    mask: MaskPixels
    pool: int
    index: int


class Pool:
    """Images of one source that are drawn in one way: placed on ships, or anywhere without them.

    `difficulty` is one number an image; images are drawn in proportion to it. `paste` says whether its ships may be
    cut out and pasted elsewhere.
    """

    def __init__(self, images: Sequence[Labelled], share: float, *, on_ships: bool, paste: bool) -> None:
        self.images = images
        self.share = share
        self.on_ships = on_ships
        self.paste = paste
        # A tile with many ships is worth more crops, but not in proportion: they look alike.
        ships = np.array([len(image.ships) for image in images], dtype=np.float64)
        self.difficulty = np.sqrt(ships) if on_ships else np.ones(len(images))

    def draw(self, rng: np.random.Generator) -> int:
        """Choose an image, returning its index."""
        return int(rng.choice(len(self.images), p=self.difficulty / self.difficulty.sum()))


def training_images(source: Source) -> list[LabelledImage]:
    """The images of a source, without those that it excludes."""
    # A name is a name even where its characters make a pattern; and looking names up is quick, also for thousands.
    names = frozenset(source.exclude)
    patterns = [pattern for pattern in source.exclude if any(sign in pattern for sign in "*?[")]
    return [
        image
        for image in read_labels(source.images, source.masks, source.labels)
        if image.path.name not in names and not any(image.path.match(pattern) for pattern in patterns)
    ]


def pools(recipe: Recipe) -> list[Pool]:
    """The pools of a recipe, with images split into those with and those without ships.

    Raises:
        ConfigError: No source has a share above zero, or one cannot be read.
    """
    found: list[Pool] = []
    for source in recipe.source:
        found += _split(training_images(source), source, paste=source.paste)
    if recipe.synthetic is not None:
        found += _split(_generated(recipe.synthetic, recipe.seed), recipe.synthetic, paste=False)
    if not found:
        raise ConfigError("No source of the recipe has a share above zero", remedy="Give ship_share or empty_share")
    return found


def _split(images: Sequence[Labelled], shares: Source | Synthetic, *, paste: bool) -> Iterator[Pool]:
    for share, on_ships in ((shares.ship_share, True), (shares.empty_share, False)):
        chosen = [image for image in images if bool(len(image.ships)) == on_ships]
        if share and chosen:
            yield Pool(chosen, share, on_ships=on_ships, paste=paste)


@lru_cache(maxsize=4)  # the runs of a study draw from the same ones
def _generated(how: Synthetic, seed: int) -> list[GeneratedImage]:
    """Scenes of which every third has no ships; the seed of each depends on its number alone."""
    return [
        GeneratedImage(
            synthesize(
                how.size,
                how.size,
                rng=np.random.default_rng([seed, number]),
                ships=None if number % 3 else 0,
                swath_edge=None if number % 10 == 0 else False,
            )
        )
        for number in range(how.scenes)
    ]


def reflected(values: NDArray[Any], size: int) -> NDArray[Any]:
    """Reflect an image or mask ``[rows, cols, ...]`` that is smaller than a crop up to the crop's size."""
    short = [max(0, size - length) for length in values.shape[:2]]
    margins = [(lack // 2, lack - lack // 2) for lack in short] + [(0, 0)] * (values.ndim - 2)
    return np.pad(values, margins, mode="reflect") if any(short) else values


def cut(image: Labelled, size: int, rng: np.random.Generator, *, on_ship: bool) -> tuple[Pixels, MaskPixels]:
    """Cut a square, with a ship somewhere in its inner half if asked, anywhere otherwise.

    Returns:
        ``uint8[size, size, 3]`` and ``bool[size, size]``.
    """
    masks = list(image.masks())
    union = np.logical_or.reduce(masks) if masks else np.zeros((image.rows, image.cols), dtype=bool)
    pixels, mask = reflected(image.pixels(), size), reflected(union, size)
    rows, cols = mask.shape
    if on_ship and masks:
        # A pixel of a ship drawn evenly over ships, so that a small boat counts as much as a tanker.
        ship = reflected(masks[int(rng.integers(len(masks)))], size)
        points = np.argwhere(ship)
        row, col = points[int(rng.integers(len(points)))]
        offset = rng.integers(size // 8, size - size // 8, size=2)
        row, col = int(row - offset[0]), int(col - offset[1])
    else:
        row, col = int(rng.integers(0, rows - size + 1)), int(rng.integers(0, cols - size + 1))
    row, col = min(max(row, 0), rows - size), min(max(col, 0), cols - size)
    window = np.s_[row : row + size, col : col + size]
    return pixels[window], mask[window]

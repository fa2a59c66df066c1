"""What classes are learned from: pictures in an order that is shuffled anew for each epoch."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from taran_eo.errors import ConfigError
from taran_eo.train.classes import Classified, class_names, read_classes
from taran_eo.train.recipe import Images, Recipe
from taran_eo.train.task import Batch

TUNING_SEED = 0
"""Draws the pictures that are kept for tuning: the same for every run."""

CALIBRATION_STEP = 1 << 40
"""From this step on pictures are drawn with replacement, in no epoch."""

SCORED_PIXELS = 1 << 19
"""Pictures are scored as many at once as have so many pixels."""


class Pictures:
    """Classes of pictures: a `Task`."""

    def __init__(self, recipe: Recipe, images: Images) -> None:
        self.recipe = recipe
        self.found = read_classes(images.train, "train", images.side)
        self.numbers = learned(images, len(self.found.labels))
        there = np.bincount(self.found.labels[self.numbers], minlength=len(self.found.classes))
        if not there.all():
            raise ConfigError(
                f"No picture of the class {self.found.classes[there.argmin()]} is learned from {images.train}",
                remedy="Give it some, take the class out, or keep fewer for `images.tuning`",
            )
        if recipe.schedule.batch > len(self.numbers):
            raise ConfigError(
                f"A batch of {recipe.schedule.batch} is more than the {len(self.numbers)} pictures of {images.train}",
                remedy="Lower schedule.batch",
            )
        # Numbers of classes that mean others would only be told by a poor score, after the training.
        if images.tuning is None and (others := class_names(images.test, "test")) != self.found.classes:
            odd = sorted(set(others) ^ set(self.found.classes)) or ["their order"]
            raise ConfigError(
                f"The classes of {images.test} are not those of {images.train}: they differ in {', '.join(odd[:3])}",
                remedy="Give both the same classes, in the same order",
            )

    def batch(self, step: int) -> Batch[None]:
        """The next pictures of the epoch, the rest of one too small for a batch left out; truth is ``int64[n]``."""
        size, seed = self.recipe.schedule.batch, self.recipe.seed
        rng = np.random.default_rng([seed, step])
        if step < CALIBRATION_STEP:
            epoch, place = divmod(step, len(self.numbers) // size)
            order = np.random.default_rng([seed, epoch, 1]).permutation(self.numbers)
            chosen = order[place * size : (place + 1) * size]
        else:
            chosen = rng.choice(self.numbers, size)
        return Batch(as_pixels(self.found.crops(chosen, rng)), torch.from_numpy(self.found.labels[chosen]), None)

    def loss(self, logits: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
        """Cross entropy."""
        each = nn.functional.cross_entropy(logits, truth, reduction="none")
        return each.mean(), each.detach()

    def taught(self, logits: Tensor, said: Tensor) -> Tensor:
        """Cross entropy with the teacher's probabilities."""
        return nn.functional.cross_entropy(logits, said.softmax(dim=1))

    def learn(self, batch: Batch[None], losses: Tensor) -> None:
        """All pictures are drawn alike."""

    def remember(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def recall(self, state: Mapping[str, Any]) -> None:
        """Nothing."""


def as_pixels(crops: NDArray[np.uint8]) -> Tensor:
    """``uint8[n, rows, cols, 3]`` as a network takes it, ``float32[n, 3, rows, cols]``, channels last in memory."""
    return torch.from_numpy(crops).permute(0, 3, 1, 2).float().contiguous(memory_format=torch.channels_last)


def _shuffled(count: int) -> NDArray[np.int64]:
    return np.random.default_rng(TUNING_SEED).permutation(count)


def learned(images: Images, count: int) -> NDArray[np.int64]:
    """Which of the training pictures are learned."""
    return np.sort(_shuffled(count)[images.tuning or 0 :])


def scored(images: Images) -> tuple[Classified, NDArray[np.int64]]:
    """The pictures to score a network on, and which of them: those kept for tuning, else all for testing."""
    if images.tuning is None:
        found = read_classes(images.test, "test", images.side)
        return found, np.arange(len(found.labels))
    found = read_classes(images.train, "train", images.side)
    return found, np.sort(_shuffled(len(found.labels))[: images.tuning])


def is_right(network: nn.Module, images: Images) -> NDArray[np.bool_]:
    """Whether a network, in evaluation mode, gives each scored picture its class, ``bool[n]``."""
    found, numbers = scored(images)
    batch = max(1, SCORED_PIXELS // images.side**2)

    def parts() -> Iterator[NDArray[np.bool_]]:
        for start in range(0, len(numbers), batch):
            chosen = numbers[start : start + batch]
            with torch.no_grad():
                said = network(as_pixels(found.crops(chosen, None))).argmax(dim=1)
            yield said.numpy() == found.labels[chosen]

    return np.concatenate(list(parts()))

"""What ships are learned from: crops drawn from the pools of a recipe, and drawn again where they were hard."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from taran_eo.train.augment import augment, paste
from taran_eo.train.data import Crop, Pool, cut
from taran_eo.train.losses import SegmentationLoss
from taran_eo.train.recipe import Recipe
from taran_eo.train.task import Batch

DIFFICULTY_MEMORY = 0.7


class Ships:
    """Ships in crops from the pools of a recipe: a `Task`."""

    def __init__(self, recipe: Recipe, found: list[Pool]) -> None:
        self.recipe = recipe
        self.pools = found
        shares = np.array([pool.share for pool in found])
        self.shares = shares / shares.sum()
        self.donors = [pool for pool in found if pool.on_ships and pool.paste]
        self.loss_of = SegmentationLoss(recipe.schedule)

    def crop(self, rng: np.random.Generator) -> Crop:
        """Draw one augmented crop."""
        size = self.recipe.schedule.crop
        number = int(rng.choice(len(self.pools), p=self.shares))
        pool = self.pools[number]
        index = pool.draw(rng)
        pixels, mask = cut(pool.images[index], size, rng, on_ship=pool.on_ships)
        if self.donors and not mask.any() and rng.random() < self.recipe.augmentation.paste:
            donors = self.donors[int(rng.integers(len(self.donors)))]
            pixels, mask = paste(pixels, mask, *cut(donors.images[donors.draw(rng)], size, rng, on_ship=True), rng)
        pixels, mask = augment(pixels, mask, self.recipe.augmentation, rng)
        return Crop(pixels, mask, number, index)

    def batch(self, step: int) -> Batch[list[Crop]]:
        """The crops of a step; truth is ``float32[n, 1, rows, cols]``, 0 or 1."""
        rng = np.random.default_rng([self.recipe.seed, step])
        crops = [self.crop(rng) for _ in range(self.recipe.schedule.batch)]
        pixels = torch.from_numpy(np.stack([crop.pixels for crop in crops])).permute(0, 3, 1, 2)
        truth = torch.from_numpy(np.stack([crop.mask for crop in crops]))[:, None]
        return Batch(pixels.float().contiguous(memory_format=torch.channels_last), truth.float(), crops)

    def loss(self, logits: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
        """The overlap loss and the cross entropy; the latter of each crop."""
        loss, each = self.loss_of(logits, in_cells(truth, logits))
        return loss, each

    def taught(self, logits: Tensor, said: Tensor) -> Tensor:
        """Cross entropy with the teacher's probabilities."""
        return nn.functional.binary_cross_entropy_with_logits(logits, in_cells(said.sigmoid(), logits))

    def learn(self, batch: Batch[list[Crop]], losses: Tensor) -> None:
        """Draw empty images that were hard more often: the false alarms of today are the batch of tomorrow."""
        strength = self.recipe.schedule.hard_negatives
        for crop, loss in zip(batch.drawn, losses.tolist(), strict=True):
            pool = self.pools[crop.pool]
            if not pool.on_ships and not crop.mask.any():
                hard = 1.0 + strength * min(100.0 * loss, 10.0)
                kept = DIFFICULTY_MEMORY * pool.difficulty[crop.index]
                pool.difficulty[crop.index] = kept + (1 - DIFFICULTY_MEMORY) * hard

    def remember(self) -> dict[str, Any]:
        """The difficulties."""
        return {"difficulty": [torch.from_numpy(pool.difficulty) for pool in self.pools]}

    def recall(self, state: Mapping[str, Any]) -> None:
        """Take up the difficulties."""
        for pool, difficulty in zip(self.pools, state["difficulty"], strict=True):
            pool.difficulty = difficulty.numpy()


def in_cells(truth: Tensor, logits: Tensor) -> Tensor:
    """The truth ``[n, 1, rows, cols]`` for logits that may be coarser: a cell is ship where any of its pixels is."""
    cell = truth.shape[-1] // logits.shape[-1]
    return truth if cell == 1 else nn.functional.max_pool2d(truth, cell)

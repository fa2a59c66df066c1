"""What the training loop asks of what is learned: batches, a loss, and what to remember."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from torch import Tensor

Drawn = TypeVar("Drawn")


@dataclass(frozen=True)
class Batch(Generic[Drawn]):
    """What a step learns from.

    Attributes:
        pixels: ``float32[n, bands, rows, cols]``, 0 to 255, channels last in memory.
        truth: What the logits are compared with.
        drawn: What it was made of, for `Task.learn`.
    """

    pixels: Tensor
    truth: Tensor
    drawn: Drawn


class Task(Protocol[Drawn]):
    """A kind of training data, with its loss."""

    def batch(self, step: int) -> Batch[Drawn]:
        """The batch of a step; depends on nothing but the recipe, the step, and what is remembered."""
        ...

    def loss(self, logits: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
        """The scalar to minimize, and that of each example ``[n]``, detached."""
        ...

    def taught(self, logits: Tensor, said: Tensor) -> Tensor:
        """Cross entropy with what the logits of a teacher say; least where both say the same."""
        ...

    def learn(self, batch: Batch[Drawn], losses: Tensor) -> None:
        """Take what the examples cost into account for batches to come."""
        ...

    def remember(self) -> Mapping[str, Any]:
        """What a checkpoint must hold."""
        ...

    def recall(self, state: Mapping[str, Any]) -> None:
        """Take up what was remembered."""
        ...

"""Bit-widths as real numbers that are computed with: FracBits, by mixing the formats of two neighbouring widths.

Between two whole widths a value is rounded to both formats and mixed by what the real width has beyond the lower one.
So the loss has a gradient for the width, which comes with that of the weights, and a cost that knows real widths has
one too. At the deadline each takes the next whole width, or one bit fewer where the target asks for it.

Source: Yang and Jin, FracBits, arXiv 2007.02017. Its abstract was at hand: a fractional state between two consecutive
widths, adjusted gradually, and a differentiable term that makes the training meet its constraint. The linear mixing and
the two stages are from memory. The pressure, which ends at the target, the way widths are rounded, the groups, and all
about minifloats are ours, as in `taran_eo.nn.learned_bits`, so that both are compared under one cost.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from taran_eo.errors import WidthError
from taran_eo.formats import Format
from taran_eo.nn.learned_bits import Learning, Loss, Width, Widths
from taran_eo.nn.quantized_modules import Between, QuantizedSite
from taran_eo.nn.sites import Layer, Site


@dataclass(frozen=True)
class _Real:
    """What a cost asks of a format, of a real width."""

    bits: Tensor


class FracBits(Widths):
    """The widths of a network, as they are learned by interpolation."""

    def __init__(
        self,
        layers: Sequence[Layer],
        how: Learning,
        *,
        fixed: Iterable[Site] = (),
        followers: Iterable[Sequence[Layer]] = (),
    ) -> None:
        """Begin with the widths that the network has.

        Args:
            layers: Of a `taran_eo.nn.quantized_modules.QuantizedModules`.
            how: Settings.
            fixed: Sites that keep their format.
            followers: Layers of networks of the same shape; they take whole widths, the nearest ones.

        Raises:
            WidthError: The network is of another kind, or as for `Widths`.
        """
        super().__init__(layers, how, fixed=fixed, followers=followers)
        for site in self.sites:
            if not isinstance(site, QuantizedSite):
                raise WidthError(
                    f"{site.name} cannot be mixed of two formats, as its network is one for the integer graph",
                    remedy='Take bits.method = "adaqat" or "greedy", or a residual network',
                )
        self.reals: list[Tensor] = []

    def before(self, step: int, steps: int) -> Tensor | None:
        """Mix the formats for the coming step, and say what the widths cost; to be called before the network.

        Args:
            step: The step, from 0.
            steps: Steps of the training.

        Returns:
            ``float32[]`` to be added to the loss; None when nothing presses, as the target is met or all are frozen.
        """
        if self.done:
            return None
        # Fresh leaves, so that no gradient of an earlier step is left in them.
        self.reals = [torch.tensor(group.widths[0].value, requires_grad=True) for group in self.groups]
        for group, real in zip(self.groups, self.reals, strict=True):
            (width,) = group.widths
            # At a whole width the upper neighbour is mixed in with a share of zero, as two equal ones have no slope.
            lower = max(width.lowest, min(math.floor(width.value), width.highest - 1))
            upper = min(lower + 1, width.highest)
            for place in group.places:
                below, above = self.format_of(place, [lower]), self.format_of(place, [upper])
                cast(QuantizedSite, self.sites[place]).between = Between(below, above, real - lower)
        cost = self._cost(self.reals)
        pressure = self.pressure(step, steps, cost.item())
        return pressure * cost / self.whole if pressure else None

    def after(self, step: int, steps: int, loss_of: Loss) -> None:
        """Follow the gradients of a step, or freeze.

        Args:
            step: The step, from 0.
            steps: Steps of the training.
            loss_of: Is not asked for.
        """
        if self.done:
            return
        for group, real in zip(self.groups, self.reals, strict=True):
            (width,) = group.widths
            width.follow(0.0 if real.grad is None else real.grad.item())
            self.take(group, [_nearest(width)])
        if step + 1 >= self.how.until * steps:
            self.freeze()
        if self.done or (step + 1) % self.how.every == 0:
            values = [group.widths[0].value for group in self.groups]
            cost = self._cost([torch.tensor(value) for value in values])
            self.trace.append([step + 1, float(cost) / self.whole, *values])

    def freeze(self) -> dict[str, Format]:
        """Mix no more, and freeze all widths."""
        for group in self.groups:
            for place in group.places:
                cast(QuantizedSite, self.sites[place]).between = None
        return super().freeze()

    def _cost(self, reals: Sequence[Tensor]) -> Tensor:
        """The cost of real widths, one a group."""
        found = {
            id(self.sites[place]): _Real(real)
            for group, real in zip(self.groups, reals, strict=True)
            for place in group.places
        }
        return torch.as_tensor(self.cost(self.layers, lambda site: cast(Format, found.get(id(site), site.format))))


def _nearest(width: Width) -> int:
    return math.floor(width.value + 0.5)

"""Widths chosen before the training: by what each costs in loss, until the cost of the network meets a target.

What a width costs in loss is measured (`taran_eo.nn.greedy`) or estimated (`taran_eo.nn.hessian`), group by group, as
if what several cost added up.
"""

import math
from collections.abc import Callable, Mapping, Sequence

from taran_eo.errors import WidthError
from taran_eo.nn.learned_bits import Widths
from taran_eo.nn.quantized_modules import QuantizedSite

Sensitivity = Mapping[int, float]
"""What a group costs in loss, by its bits, from the lowest to the highest; up to a constant. No number is infinite."""


def allocate(
    sensitivities: Sequence[Sensitivity], cost_of: Callable[[Sequence[int]], float], limit: float
) -> list[int]:
    """Begin with the highest widths, and take a bit from the group that loses least for what it saves, again and again.

    Where all bits save alike and each further bit loses more than the one before, nothing of that cost loses less.

    Args:
        sensitivities: Of each group.
        cost_of: The cost of some widths, one a group.
        limit: The cost to come down to.

    Returns:
        The width of each group.

    Raises:
        WidthError: The limit is out of reach.

    Example:
        Two groups, of which the second loses less:

        >>> allocate([{2: 4.0, 3: 1.0, 4: 0.0}, {2: 3.0, 3: 0.5, 4: 0.0}], sum, limit=6)
        [3, 3]
        >>> allocate([{2: 4.0, 3: 1.0, 4: 0.0}, {2: 3.0, 3: 0.5, 4: 0.0}], sum, limit=5)
        [3, 2]
    """
    bits = [max(each) for each in sensitivities]
    while (cost := cost_of(bits)) > limit:
        found = []
        for place, sensitivity in enumerate(sensitivities):
            fewer = bits[place] - 1
            saved = cost - cost_of([*bits[:place], fewer, *bits[place + 1 :]])
            if fewer in sensitivity and saved > 0:
                after = sensitivity[fewer]
                # Between two ruined widths there is no difference to take.
                lost = after - sensitivity[bits[place]] if math.isfinite(after) else math.inf
                found.append((lost / saved, -saved, place))
        if not found:
            raise WidthError(
                f"The lowest widths cost {cost:g}, which is above the {limit:g} that they should come down to",
                remedy="Raise `target`, lower `lowest`, or let the first and the last layer learn too",
                cost=cost,
            )
        bits[min(found)[2]] -= 1
    return bits


def settle(widths: Widths, sensitivities: Sequence[Sensitivity]) -> None:
    """Give a network the widths that meet the target, for good.

    Args:
        widths: Of the network, with a target; its trace gets the one line.
        sensitivities: Of each of its groups.

    Raises:
        WidthError: The target is out of reach.
    """
    single = [group.widths[0] for group in widths.groups]
    assert widths.how.target is not None  # noqa: S101 - asked by the settings

    def cost_of(bits: Sequence[int]) -> float:
        now = {id(width): each for width, each in zip(single, bits, strict=True)}
        return widths.cost_at(lambda width: now[id(width)])

    chosen = allocate(sensitivities, cost_of, widths.how.target * widths.whole)
    for group, width, bits in zip(widths.groups, single, chosen, strict=True):
        width.value, width.frozen = float(bits), True
        take(widths, group.places, bits)
    widths.trace.append([0, widths.share, *map(float, chosen)])


def take(widths: Widths, places: Sequence[int], bits: int) -> Callable[[], None]:
    """Give sites the formats of so many bits, each with a scale that is found for it, as in calibration.

    Returns:
        What makes everything, to the bit, as it was.
    """
    undone = []
    for place in places:
        site = widths.sites[place]
        undone.append(site.attempt(widths.format_of(place, [bits])))
        if isinstance(site, QuantizedSite):
            site.begin()

    def undo() -> None:
        for each in undone:
            each()

    return undo

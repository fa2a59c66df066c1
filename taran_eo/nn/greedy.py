"""What widths cost in loss, as measured: each group by itself at each width, while all others have the highest."""

import math
from collections.abc import Callable

from taran_eo.nn.allocation import Sensitivity, take
from taran_eo.nn.learned_bits import Widths


def measured(widths: Widths, loss_of: Callable[[], float]) -> list[Sensitivity]:
    """Measure the loss with each group at each width.

    Args:
        widths: Of a calibrated network; afterwards all that is learned has the highest width.
        loss_of: The loss of the network as it is, without a trace in it.

    Returns:
        For each group and its bits, by how much the loss is above that with the highest widths everywhere; but no more
        than with fewer bits, as what a wider format loses beyond a narrower one is chance.
    """
    for group in widths.groups:
        take(widths, group.places, group.widths[0].highest)
    least = loss_of()
    found: list[Sensitivity] = []
    for group in widths.groups:
        (width,) = group.widths
        rise, lowest = {}, math.inf
        for bits in range(width.lowest, width.highest):
            undo = take(widths, group.places, bits)
            loss = loss_of()
            undo()
            lowest = min(lowest, loss - least if math.isfinite(loss) else math.inf)
            rise[bits] = lowest
        found.append(rise | {width.highest: min(lowest, 0.0)})
    return found

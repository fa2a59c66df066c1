"""Bundles: the parts of many products in files of a few hundred kilobytes, what matters most first.

A file transaction for each mask of 67 bytes would drown it. So all counts and ships go first, then all masks, then
pixels; whoever loses the end of a pass has lost the least.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from taran_eo.codec.part import ORIGIN, Part, pack_part
from taran_eo.codec.product import Level, Product, parts

BUNDLE_BYTES = 1 << 18
"""About a fifth of a second at 10 Mbit/s; a bundle is larger only where one part is."""

SUFFIX = ".teo"

ORDER: tuple[tuple[Level, ...], ...] = (("counts", "ships"), ("mask",), ("chips",), ("regions",), ("scene",))
"""What goes together, in the order in which it goes."""

TWICE = ORDER[:2]
"""What costs next to nothing and matters most."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """A file for the way down.

    Attributes:
        name: Its number, and what is in it.
        data: Parts, one behind the other.
    """

    name: str
    data: bytes


def bundles(products: Callable[[], Iterable[Product]], *, twice: bool) -> Iterator[Bundle]:
    """The bundles that hold whole products.

    Args:
        products: Gives the products, each time in the same order; they are read once for each of `ORDER`, so that
            one at a time is held.
        twice: Whether `TWICE` goes again at the end: for a link without retransmission, on which the loss of counts
            would leave everything else without a place.
    """
    number = 0
    for levels in (*ORDER, *TWICE) if twice else ORDER:
        found = map(pack_part, _each_once(parts(product, levels) for product in products()))
        for data in _together(found):
            yield Bundle(f"{number:05d}-{'-'.join(levels)}{SUFFIX}", data)
            number += 1


def _together(found: Iterable[bytes]) -> Iterator[bytes]:
    held, size = list[bytes](), 0
    for packed in found:
        if held and size + len(packed) > BUNDLE_BYTES:
            yield b"".join(held)
            held, size = [], 0
        held.append(packed)
        size += len(packed)
    if held:
        yield b"".join(held)


def _each_once(products: Iterable[Iterator[Part]]) -> Iterator[Part]:
    """The parts of products, but what made them only where it was not told before."""
    told = set[bytes]()
    for found in products:
        for part in found:
            if part.kind == ORIGIN:
                if part.key in told:
                    continue
                told.add(part.key)
            yield part

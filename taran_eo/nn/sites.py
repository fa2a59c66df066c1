"""Where the width of numbers is chosen: the weights of each layer, and each activation; and what the choice costs."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from taran_eo.formats import Format

Kind = Literal["weights", "activations"]

PIXEL_BITS = 8


class Site(Protocol):
    """A tensor of a network whose format can be chosen, also during training.

    Attributes:
        name: That of the layer, or of the ReLU.
        kind: What it holds.
        format: Its present format.
    """

    kind: Kind

    @property
    def name(self) -> str: ...  # noqa: D102 - above

    @property
    def format(self) -> Format: ...  # noqa: D102 - above

    def take(self, fmt: Format) -> None:
        """Take another format; a scale that belongs to the format is chosen anew."""
        ...

    def attempt(self, fmt: Format) -> Callable[[], None]:
        """Take another format for a moment; what is returned makes everything, to the bit, as it was."""
        ...

    def error(self, fmt: Format) -> float:
        """Mean square error of what it holds, or held in calibration, in a format, over its mean square."""
        ...


@dataclass(frozen=True, eq=False)
class Layer:
    """A layer as far as widths go.

    Attributes:
        name: Its name.
        weights: The site of its weights.
        activations: That of what it reads, which it may share with other layers; None are pixels of 8 bits.
        count: Weights.
        macs: Multiplications a picture, or a pixel of one.
    """

    name: str
    weights: Site
    activations: Site | None
    count: int
    macs: float


def present(site: Site) -> Format:
    """The format that a site has."""
    return site.format


FormatOf = Callable[[Site], Format]
Cost = Callable[[Iterable[Layer], FormatOf], float]


def activation_bits(layer: Layer, format_of: FormatOf = present) -> int:
    """Bits of what a layer reads."""
    return PIXEL_BITS if layer.activations is None else format_of(layer.activations).bits


def bit_operations(layers: Iterable[Layer], format_of: FormatOf = present) -> float:
    """Multiplications, each times the bits of its weight and of its activation (BitOPs).

    As it is customary; of minifloats, whose multipliers are as wide as their mantissas, it is an upper bound.
    """
    return sum(layer.macs * format_of(layer.weights).bits * activation_bits(layer, format_of) for layer in layers)


def weight_bytes(layers: Iterable[Layer], format_of: FormatOf = present) -> float:
    """Bytes of the packed weights; scales and biases are not among them."""
    return sum(layer.count * format_of(layer.weights).bits for layer in layers) / 8


CostName = Literal["bit_operations", "weight_bytes"]
COSTS: dict[CostName, Cost] = {"bit_operations": bit_operations, "weight_bytes": weight_bytes}


def mean_bits(layers: Sequence[Layer], kind: Kind) -> float:
    """Mean width of the weights, weighted by their number; or of the activations, by the multiplications they enter.

    Pixels are not among the activations.
    """
    if kind == "weights":
        return 8 * weight_bytes(layers) / sum(layer.count for layer in layers)
    inner = [layer for layer in layers if layer.activations is not None]
    return sum(layer.macs * activation_bits(layer) for layer in inner) / sum(layer.macs for layer in inner)


def sites(layers: Iterable[Layer]) -> list[Site]:
    """All sites of some layers, in their order, each once."""
    found: dict[int, Site] = {}
    for layer in layers:
        for site in (layer.weights, layer.activations):
            if site is not None:
                found[id(site)] = site
    return list(found.values())

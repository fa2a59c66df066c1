"""A network whose modules are quantized where they stand: any convolution or linear layer, behind ReLU modules.

Batch norms stay, and scales are real numbers: this is how quantization-aware training is usually studied, with networks
that the integer graph need not know. What flies is `taran_eo.nn.quantized`.
"""

from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F  # noqa: N812 - torch's own idiom

from taran_eo.errors import LoweringError
from taran_eo.formats import Format, parse_format
from taran_eo.nn.lsq import LsqStep
from taran_eo.nn.pact import PactClip, SawbWeights
from taran_eo.nn.quantizer import Quantizer
from taran_eo.nn.sites import Kind, Layer, Site

Way = Literal["pact", "lsq"]
WAYS: dict[Way, tuple[Callable[[], Quantizer], Callable[[], Quantizer]]] = {
    "pact": (SawbWeights, PactClip),
    "lsq": (LsqStep, LsqStep),
}
"""For weights, and for activations."""

SAMPLE = 8192
"""Values of an activation that are kept to judge formats by."""


@dataclass(frozen=True)
class ModuleFormats:
    """Which format stands where.

    Attributes:
        weights: Of every layer.
        activations: After every ReLU.
        first_weights: Of what reads the pixels, if not `weights`.
        head_weights: Of the last layer, if not `weights`.
        head_activations: Of what the last layer reads, if not `activations`.
        way: How scales are found.
    """

    weights: Format
    activations: Format
    first_weights: Format | None = None
    head_weights: Format | None = None
    head_activations: Format | None = None
    way: Way = "pact"


@dataclass(frozen=True)
class Between:
    """Two neighbouring formats, mixed.

    Attributes:
        below: The narrower one.
        above: The wider one.
        share: Of the wider one, ``float32[]``; it may require a gradient.
    """

    below: Format
    above: Format
    share: Tensor


class QuantizedSite(nn.Module):
    """A site of a network of modules.

    Attributes:
        quantizer: Finds the scale and rounds.
        between: What it is rounded to in place of `format`; None but for `taran_eo.nn.fracbits`.
    """

    name: str
    kind: Kind
    sample: Tensor

    def __init__(self, name: str, kind: Kind, quantizer: Quantizer, fmt: Format) -> None:
        super().__init__()
        self.name, self.kind, self.quantizer, self._format = name, kind, quantizer, fmt
        self.between: Between | None = None

    @property
    def format(self) -> Format:
        """The present format."""
        return self._format

    def take(self, fmt: Format) -> None:
        """Take another format."""
        if fmt != self._format:
            self.quantizer.switch(self._format, fmt)
            self._format = fmt

    def begin(self) -> None:
        """Find the scale anew in what it holds."""
        self.quantizer.begin(self.held(), self._format)

    def attempt(self, fmt: Format) -> Callable[[], None]:
        """Take another format for a moment."""
        state = [*self.quantizer.parameters(), *self.quantizer.buffers()]
        before, kept = self._format, [each.detach().clone() for each in state]
        self.take(fmt)

        def undo() -> None:
            self._format = before
            with torch.no_grad():
                for each, value in zip(state, kept, strict=True):
                    each.copy_(value)

        return undo

    def error(self, fmt: Format) -> float:
        """Relative mean square error in a format, at a scale found for it."""
        values = self.held()
        quantizer = deepcopy(self.quantizer)
        quantizer.begin(values, fmt)
        with torch.no_grad():
            return float((quantizer(values, fmt) - values).square().mean() / values.square().mean())

    def held(self) -> Tensor:
        """What it rounds, or some of it, ``float32[n]``."""
        raise NotImplementedError

    def rounded(self, values: Tensor) -> Tensor:
        """The values, in the format."""
        if self.between is None:
            result: Tensor = self.quantizer(values, self._format)
            return result
        mixed = self.between
        below, above = (self.quantizer.beside(values, self._format, each) for each in (mixed.below, mixed.above))
        return torch.lerp(below, above, mixed.share.to(below))

    def get_extra_state(self) -> str:
        """The format, so that a checkpoint has it."""
        return str(self._format)

    def set_extra_state(self, state: str) -> None:
        """Take up the format; the scale comes with the parameters."""
        self._format = parse_format(state)


class QuantizedLayer(QuantizedSite):
    """A convolution or linear layer with rounded weights."""

    def __init__(self, name: str, layer: nn.Conv2d | nn.Linear, quantizer: Quantizer, fmt: Format) -> None:
        super().__init__(name, "weights", quantizer, fmt)
        if not layer.weight.numel() or not layer.weight.any():
            raise LoweringError(
                f"{name} has {'no weight but zeros' if layer.weight.numel() else 'no weights'}, to which no width fits",
                remedy="Take the layer out of the network",
            )
        self.layer = layer
        self.begin()

    def held(self) -> Tensor:
        """All weights."""
        return self.layer.weight.detach().flatten().float()

    def forward(self, features: Tensor) -> Tensor:
        """What the layer does, with its weights rounded."""
        layer, weight = self.layer, self.rounded(self.layer.weight)
        if isinstance(layer, nn.Linear):
            return F.linear(features, weight, layer.bias)
        padding = cast(tuple[int, int], layer.padding)
        return F.conv2d(features, weight, layer.bias, layer.stride, padding, layer.dilation, layer.groups)


class QuantizedReLU(QuantizedSite):
    """A ReLU with rounded results, in an unsigned format."""

    def __init__(self, name: str, quantizer: Quantizer, fmt: Format) -> None:
        super().__init__(name, "activations", quantizer, fmt)
        self.register_buffer("sample", torch.zeros(SAMPLE))
        self.observing = False

    def held(self) -> Tensor:
        """A sample from calibration."""
        return self.sample

    def forward(self, features: Tensor) -> Tensor:
        """Round what is above zero; while observing, keep some of it and round nothing."""
        if not self.observing:
            return self.rounded(features)
        passed = F.relu(features)
        flat = passed.detach().float().flatten()
        # Places spread over all, the same each time: neighbours in memory are neighbours in the picture.
        places = torch.linspace(0, flat.numel() - 1, SAMPLE).long()
        self.sample.copy_(flat[places])
        return passed


@dataclass(frozen=True)
class _Place:
    """A layer of the network as it was read."""

    name: str
    reads: str | None
    macs: float


class QuantizedModules(nn.Module):
    """A network with its layers and ReLUs quantized where they stand.

    Attributes:
        network: The network itself.
    """

    def __init__(self, network: nn.Module, how: ModuleFormats, side: int, bands: int = 3) -> None:
        super().__init__()
        self.how = how
        self.network = network
        self.places = _read(network, side, bands)
        weights, activations = WAYS[how.way]
        last = self.places[-1]
        for place in self.places:
            fmt = how.weights
            if place.reads is None:
                fmt = how.first_weights or fmt
            elif place is last:
                fmt = how.head_weights or fmt
            layer = cast(nn.Conv2d | nn.Linear, network.get_submodule(place.name))
            network.set_submodule(place.name, QuantizedLayer(place.name, layer, weights(), fmt))
        for name in dict.fromkeys(place.reads for place in self.places if place.reads is not None):
            fmt = how.activations if name != last.reads else how.head_activations or how.activations
            network.set_submodule(name, QuantizedReLU(name, activations(), fmt))

    def layers(self) -> tuple[Layer, ...]:
        """Its layers, with their sites."""
        return tuple(self._layers())

    def fixed(self) -> list[Site]:
        """The sites whose format is given apart, for the first and the last layer."""
        first, last = self.layers()[0], self.layers()[-1]
        given = (
            (first.weights, self.how.first_weights),
            (last.weights, self.how.head_weights),
            (last.activations, self.how.head_activations),
        )
        return [site for site, fmt in given if site is not None and fmt is not None]

    def _layers(self) -> Iterator[Layer]:
        for place in self.places:
            weights = cast(QuantizedLayer, self.network.get_submodule(place.name))
            reads = None if place.reads is None else cast(QuantizedReLU, self.network.get_submodule(place.reads))
            yield Layer(place.name, weights, reads, weights.layer.weight.numel(), place.macs)

    def forward(self, pixels: Tensor) -> Tensor:
        """As the network."""
        logits: Tensor = self.network(pixels)
        return logits


def calibrate_modules(network: QuantizedModules, batches: Iterable[Tensor]) -> None:
    """Set the scale of every activation from what passes through the float activations.

    Args:
        network: On the CPU, in training mode; its batch norms learn nothing of the batches but the last.
        batches: Pixels ``float32[n, bands, rows, cols]``; the last one is what activations are judged by.

    Raises:
        LoweringError: An activation is zero everywhere, or no number; says behind which ReLU.
    """
    activations = [each for each in network.modules() if isinstance(each, QuantizedReLU)]
    for each in activations:
        each.observing = True
    try:
        with torch.no_grad():
            for pixels in batches:
                network(pixels)
    finally:  # nobody goes on observing after a failure
        for each in activations:
            each.observing = False
    for each in activations:
        largest = each.sample.amax().item()
        if not 0 < largest < float("inf"):
            raise LoweringError(
                f"The largest activation of {each.name} in calibration is {largest}, which makes no scale",
                remedy="Look for a diverged run or a dead layer",
            )
        each.begin()


def _read(network: nn.Module, side: int, bands: int) -> tuple[_Place, ...]:
    """The convolutions and linear layers in order, with the ReLU that each reads and its multiplications."""
    try:
        graph = fx.symbolic_trace(network)
    except (fx.proxy.TraceError, TypeError) as error:
        raise LoweringError(
            f"{type(network).__name__} has no fixed list of modules ({error})",
            remedy="Take a network whose path does not depend on the pixels",
        ) from error
    modules = dict(graph.named_modules())
    macs: dict[str, float] = {}

    def count(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def hook(module: nn.Module, _: tuple[Tensor, ...], result: Tensor) -> None:
            outputs = result[0].numel() / len(module.weight)  # type: ignore[arg-type]
            macs[name] = outputs * module.weight.numel()  # type: ignore[operator]

        return hook

    hooks = [
        module.register_forward_hook(count(name))
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    ]
    mode = network.training
    with torch.no_grad():
        network.eval()(torch.zeros(1, bands, side, side))
    network.train(mode)
    for hook in hooks:
        hook.remove()

    def reads(node: fx.Node) -> str | None:
        """The ReLU behind which a node lies; None where it lies behind nothing but pixels."""
        while True:
            target = str(node.target)
            if node.op == "placeholder":
                return None
            if node.op == "call_module" and isinstance(modules[target], nn.ReLU):
                return target
            before = [
                each for each in node.all_input_nodes if each.op in ("placeholder", "call_module", "call_function")
            ]
            layer = node.op == "call_module" and isinstance(modules[target], nn.Conv2d | nn.Linear)
            if layer or len(before) != 1:
                raise LoweringError(
                    f"What {target} gives is read without a ReLU module behind it, where it could be quantized",
                    remedy="Give the network an nn.ReLU there; it changes nothing where values are not negative",
                )
            node = before[0]

    return tuple(
        _Place(str(node.target), reads(node.all_input_nodes[0]), macs[str(node.target)])
        for node in graph.graph.nodes
        if node.op == "call_module" and isinstance(modules[str(node.target)], nn.Conv2d | nn.Linear)
    )

"""What a float network does, read from the network itself: the operations that the graph knows, in order.

Any module is read, through ``torch.export``: Thin U-Net, those of segmentation-models-pytorch, a user's own. A
convolution, the batch norm behind it and the ReLU behind that become one `Affine`; pooling, upsampling and
concatenation stay as they are. Whatever else a network does is refused by name.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from taran_eo.errors import LoweringError
from taran_eo.graph import Concat, MaxPool, Upsample

INPUT = "pixels"
OUTPUT = "logits"
EXAMPLE = 128
"""Rows and columns of the example that a network is read with: a multiple of the alignment of any U-Net here."""


@dataclass(frozen=True, eq=False)
class Affine:
    """A convolution of stride 1 that keeps the size, with its batch norm folded in, and its ReLU.

    Attributes:
        source: Name of the input.
        target: Name of the output: that of the convolution's module, or ``logits``.
        weight: ``float32[outputs, inputs, k, k]``, k odd.
        bias: ``float32[outputs]``.
        relu: Whether a ReLU follows.
    """

    source: str
    target: str
    weight: Tensor
    bias: Tensor
    relu: bool


Step = Affine | MaxPool | Upsample | Concat


@dataclass(frozen=True, eq=False)
class Program:
    """The operations of a network, from its pixels to its logits.

    Attributes:
        steps: In the order in which they run.
        pixel_scale: What a pixel is multiplied by before anything else.
        bands: Input bands.
    """

    steps: tuple[Step, ...]
    pixel_scale: float
    bands: int


def read(network: nn.Module, bands: int = 3) -> Program:
    """Read what a network does.

    Args:
        network: In evaluation mode; maps pixels ``[n, bands, rows, cols]`` to logits ``[n, classes, rows, cols]``.
        bands: Input bands.

    Raises:
        LoweringError: It does something that the graph does not know, or holds a weight that is no finite number;
            says where and what.
    """
    example = torch.zeros(1, bands, EXAMPLE, EXAMPLE)
    try:
        exported = torch.export.export(network, (example,), strict=False)
    except RuntimeError as error:
        raise LoweringError(
            f"{type(network).__name__} has no fixed list of operations ({type(error).__name__}: {error})",
            remedy="Take an architecture whose path does not depend on the pixels",
        ) from error
    return _Reader(exported, bands).run()


class _Reader:
    def __init__(self, exported: torch.export.ExportedProgram, bands: int) -> None:
        self.nodes = [node for node in exported.graph.nodes if node.op == "call_function"]
        signature = exported.graph_signature
        (self.pixels,) = signature.user_inputs
        (self.logits,) = signature.user_outputs
        kept = {**exported.state_dict, **exported.constants}
        places = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
        self.values: dict[str, Tensor] = {name: kept[place].detach() for name, place in places.items()}
        self.bands = bands
        self.scales = {str(self.pixels): 1.0}  # what the pixels are multiplied by, wherever they are known by a name
        self.scale: float | None = None  # that of all who read them
        # What a node of the export is called here; what leaves its input as it is has its input's name.
        self.names = {str(self.pixels): INPUT}
        self.steps: list[Step] = []
        self.read: set[str] = set()

    def run(self) -> Program:
        kinds: dict[str, Callable[[fx.Node], None]] = {
            "conv2d": self.convolution,
            "max_pool2d": self.pooling,
            "upsample_nearest2d": self.upsampling,
            "cat": self.concatenation,
            "mul": self.scaling,
            "div": self.scaling,
            "dropout": self.nothing,
            "dropout2d": self.nothing,
            "clone": self.nothing,
            "contiguous": self.nothing,
        }
        for node in self.nodes:
            if node.name in self.read:
                continue
            kind = _kind(node)
            if kind not in kinds:
                raise _unknown(node, f"{kind} is no operation of the graph")
            kinds[kind](node)
        if self.names.get(str(self.logits)) != OUTPUT:
            raise LoweringError(
                "The network does not end in a convolution", remedy="Leave out what follows the last convolution"
            )
        assert self.scale is not None  # noqa: S101 - the first convolution reads the pixels
        return Program(tuple(self.steps), self.scale, self.bands)

    def source(self, node: Any, reader: fx.Node) -> str:  # noqa: ANN401 - what fx holds
        scale = self.scales.get(str(node), self.scale)
        if self.scale is None:
            self.scale = scale
        if scale != self.scale:
            raise _unknown(reader, f"pixels times {scale:g} are read here, and times {self.scale:g} before")
        return self.names[str(node)]

    def tensor(self, node: Any) -> Tensor:  # noqa: ANN401
        return self.values[str(node)]

    def follower(self, node: fx.Node, *kinds: str) -> fx.Node | None:
        """The node behind, if it is the only one and of such a kind."""
        users = list(node.users)
        if len(users) == 1 and _kind(users[0]) in kinds:
            self.read.add(users[0].name)
            return users[0]
        return None

    def number(self, kind: str) -> str:
        return f"{kind}{sum(step.target.startswith(kind) for step in self.steps)}"

    def convolution(self, node: fx.Node) -> None:
        source, weight, bias, stride, padding, dilation, groups = _arguments(node, 7, (None, 1, 0, 1, 1))
        kernel = self.tensor(weight).shape[-2:]
        same = [length // 2 for length in kernel]
        padding = same if padding == "same" else _pair(padding)
        shape = [_pair(stride), _pair(dilation), groups, padding]
        if shape != [[1, 1], [1, 1], 1, same] or kernel[0] != kernel[1] or kernel[0] % 2 == 0:
            raise _unknown(
                node,
                f"a convolution of kernel {list(kernel)}, stride {_pair(stride)}, padding {padding}, dilation "
                f"{_pair(dilation)} and {groups} groups is none of the graph's, which keep the size",
            )
        folded = self.tensor(weight)
        shift = torch.zeros(len(folded)) if bias is None else self.tensor(bias)
        last: fx.Node = node
        if norm := self.follower(last, "batch_norm"):
            _, gamma, beta, mean, variance, training, _, epsilon, *_ = norm.args
            if training:
                raise _unknown(norm, "its batch norm is in training mode")
            gain = torch.rsqrt(self.tensor(variance) + float(epsilon))  # type: ignore[arg-type]
            gain = gain if gamma is None else gain * self.tensor(gamma)
            folded = folded * gain[:, None, None, None]
            shift = (shift - self.tensor(mean)) * gain + (0 if beta is None else self.tensor(beta))
            last = norm
        rectified = self.follower(last, "relu", "relu_")
        last = rectified or last
        name = OUTPUT if last.name == str(self.logits) else _module(node)
        if (rectified is None) != (name == OUTPUT):
            raise _unknown(node, "every convolution but the last needs a ReLU behind it, and the last has none")
        for what, values in (("weights", folded), ("biases", shift)):
            if not torch.isfinite(values).all():
                raise LoweringError(
                    f"{_module(node)} has {what} that are no finite numbers", remedy="Train again; this run diverged"
                )
        self.steps.append(Affine(self.source(source, node), name, folded, shift, rectified is not None))
        self.names[last.name] = name

    def pooling(self, node: fx.Node) -> None:
        source, kernel, stride, padding, dilation, ceil = _arguments(node, 6, (None, 0, 1, False))
        shape = [_pair(kernel), _pair(stride or kernel), _pair(padding), _pair(dilation), ceil]
        if shape != [[2, 2], [2, 2], [0, 0], [1, 1], False]:
            raise _unknown(
                node,
                f"max pooling of kernel {_pair(kernel)}, stride {_pair(stride or kernel)}, padding {_pair(padding)}, "
                f"dilation {_pair(dilation)} and ceil_mode={ceil} is not that of whole 2 x 2 blocks",
            )
        self.names[node.name] = self.number("pool")
        self.steps.append(MaxPool(self.source(source, node), self.names[node.name]))

    def upsampling(self, node: fx.Node) -> None:
        source = node.args[0]
        before, after = (each.meta["val"].shape[-2:] for each in (source, node))  # type: ignore[union-attr]
        if [2 * length for length in before] != list(after):
            raise _unknown(node, f"upsampling from {list(before)} to {list(after)} is not that to twice the size")
        self.names[node.name] = self.number("upsample")
        self.steps.append(Upsample(self.source(source, node), self.names[node.name]))

    def concatenation(self, node: fx.Node) -> None:
        sources, axis = _arguments(node, 2, (0,))
        if axis != 1:
            raise _unknown(node, f"a concatenation along axis {axis} is not one of channels")
        self.names[node.name] = self.number("concat")
        self.steps.append(Concat(tuple(self.source(source, node) for source in sources), self.names[node.name]))

    def scaling(self, node: fx.Node) -> None:
        source, factor = node.args
        scale = self.scales.get(str(source))
        if scale is None or node.kwargs or not isinstance(factor, float | int):
            raise _unknown(node, f"{_kind(node)} is only known of the pixels, by a number, without rounding")
        self.scales[node.name] = scale / factor if _kind(node) == "div" else scale * factor
        self.names[node.name] = INPUT

    def nothing(self, node: fx.Node) -> None:
        source = str(node.args[0])
        self.names[node.name] = self.names[source]
        if source in self.scales:
            self.scales[node.name] = self.scales[source]


def _kind(node: fx.Node) -> str:
    return str(node.target).removeprefix("aten.").partition(".")[0]


def _module(node: fx.Node) -> str:
    """The path of the module that a node belongs to."""
    stack = list(node.meta.get("nn_module_stack", {}).values())
    return str(stack[-1][0]) if stack and stack[-1][0] else node.name


def _arguments(node: fx.Node, count: int, defaults: tuple[Any, ...]) -> list[Any]:
    """Positional arguments, with defaults for the last ones."""
    given = list(node.args)
    return given + list(defaults[len(given) - (count - len(defaults)) :])


def _pair(value: Any) -> list[int]:  # noqa: ANN401
    return [value, value] if isinstance(value, int) else list(value) * (2 // len(value))


def _unknown(node: fx.Node, what: str) -> LoweringError:
    return LoweringError(
        f"{_module(node)}: {what}",
        remedy="Take an architecture of 3x3 and 1x1 convolutions with ReLU, 2x2 max pooling, nearest upsampling and "
        "concatenation, e.g. thin_unet, or unet with the encoder vgg11_bn",
    )

"""A recipe carried out: from its file to trained weights and to the graph of integers or floats."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from taran_eo.errors import ConfigError, DivergedError, LoweringError
from taran_eo.formats import BlockFormat, Format, Integer, parse_any_format, parse_format, spend_sign
from taran_eo.graph import Graph
from taran_eo.nn.lowering import lower, lower_float
from taran_eo.nn.program import read
from taran_eo.nn.quantized import QuantizedNetwork, calibrate, quantize
from taran_eo.nn.quantized_modules import ModuleFormats, QuantizedModules, calibrate_modules
from taran_eo.nn.scales import AnyFormat
from taran_eo.nn.scales import Quantization as Formats
from taran_eo.provenance import Environment, Provenance
from taran_eo.train.allotment import choose_bits
from taran_eo.train.data import pools
from taran_eo.train.loop import CHECKPOINT, LEARNED, Progress, Teacher, train
from taran_eo.train.pictures import CALIBRATION_STEP, Pictures
from taran_eo.train.recipe import Quantization, Recipe
from taran_eo.train.ships import Ships
from taran_eo.train.task import Task

WEIGHTS = "weights.safetensors"
EXACT_EXPONENT_BITS = 3
"""Floats of more exponent bits have sums beyond int32."""

UNKNOWN_HALO = 128
"""A margin in pixels for networks whose reach is not known."""


@dataclass(frozen=True, eq=False)
class Trained:
    """What a run leaves.

    Attributes:
        network: The trained network, in evaluation mode.
        graph: Its graph; None for a network that does more than the graph's operations, as a residual one, and for a
            quantized one whose formats are only emulated.
        recipe: What it was trained by.
        environments: Where it was trained.
    """

    network: nn.Module
    graph: Graph | None
    recipe: Recipe
    environments: tuple[Environment, ...]

    def margins(self) -> tuple[int, int]:
        """Halo and alignment of a tile, in pixels."""
        graph = self.graph
        if graph is None and isinstance(self.network, QuantizedNetwork):
            graph = lower_float(self.network.program, self.recipe.name)  # formats do not change what a pixel reaches
        return (UNKNOWN_HALO, self.recipe.network.alignment) if graph is None else (graph.halo, graph.alignment)

    def logits(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Logits ``float32[rows, cols]`` of a tile ``uint8[bands, rows, cols]``, by the network in torch."""
        with torch.no_grad():
            logits = self.network(torch.from_numpy(pixels)[None].float().contiguous(memory_format=torch.channels_last))
        plane: NDArray[np.float32] = logits[0, 0].numpy()
        return plane

    def weights(self) -> dict[str, NDArray[np.float32]]:
        """All parameters and statistics by name, as float32."""
        state = self.network.state_dict()
        tensors = {name: value for name, value in state.items() if isinstance(value, torch.Tensor)}
        # Channels-last tensors are written in the usual order.
        return {name: np.ascontiguousarray(value.float().numpy()) for name, value in tensors.items()}

    def provenance(self) -> Provenance:
        """How the network came to be."""
        recipe = self.recipe
        inputs = recipe.inputs() | recipe.pixels()
        return Provenance(self.environments, config_sha256=recipe.digest(), seed=recipe.seed, inputs=inputs)


def carry_out(recipe: Recipe, folder: Path, report: Callable[[Progress], None], *, resume: bool) -> Trained:
    """Train as a recipe says, leaving checkpoint, log and weights in a folder.

    Args:
        recipe: The run.
        folder: Where everything goes.
        report: Called after each step.
        resume: Go on from the checkpoint in `folder`, if there is one.

    Raises:
        ConfigError: A file of the recipe is missing or does not fit, or formats that are only emulated cannot be
            published.
        LoweringError: A network that does more than the graph's operations is to be published.
        GraphError: An accumulator of a quantized network could leave int32.
        DivergedError: The loss, its gradient, or what was trained is no longer finite.
        WidthError: Bit-widths cannot be learned or chosen as the recipe says.
    """
    torch.manual_seed(recipe.seed)
    task: Task[Any] = Ships(recipe, pools(recipe)) if recipe.images is None else Pictures(recipe, recipe.images)
    classes = len(task.found.classes) if isinstance(task, Pictures) else 1
    network = recipe.network.build(classes)
    if recipe.start is not None:
        load_float(network, recipe.start)
    if recipe.network.gate and not (recipe.quantization is None or lowers(formats(recipe.quantization))):
        raise ConfigError(
            f"The formats of the gate {recipe.name!r} are only emulated, and a gate is scored by its integers",
            remedy=f"Take formats of up to {EXACT_EXPONENT_BITS} exponent bits for all layers",
        )
    if recipe.publication is not None:
        _check_publication(network, recipe)
    teacher = _teacher(network, recipe, classes)
    if recipe.quantization is not None:
        goes_on = resume and (folder / CHECKPOINT).exists()
        # Quantizing replaces the modules of a residual network, and those in the checkpoint have their widths.
        plain = copy.deepcopy(network)
        network = _quantized(network, task, recipe, calibrated=goes_on)
        if recipe.bits is not None and recipe.bits.method not in LEARNED and not goes_on:
            choose_bits(network, plain, task, recipe, recipe.bits, folder, teacher)
        if recipe.start is not None and recipe.images is None and not goes_on:
            _graph(network, recipe.name)  # an accumulator that is too wide is told before the training
    if not resume:
        (folder / WEIGHTS).unlink(missing_ok=True)  # nobody must take the old ones for those of the new run
    kept, environments = train(network, task, recipe, folder, report, resume=resume, teacher=teacher)
    if broken := _not_finite(kept):
        raise DivergedError(
            f"{broken} of the trained network holds values that are no finite numbers",
            remedy="Lower schedule.learning_rate, or look for broken pixels in the sources",
        )
    trained = Trained(kept, None, recipe, environments)
    unfinished = folder / (WEIGHTS + ".part")
    unfinished.write_bytes(safetensors.numpy.save(trained.weights()))
    unfinished.replace(folder / WEIGHTS)
    return replace(trained, graph=_graph(kept, recipe.name) if recipe.images is None else None)


def _check_publication(network: nn.Module, recipe: Recipe) -> None:
    """Refuse before the training what could not be published after it."""
    how = recipe.quantization
    notes = None if recipe.publication is None else recipe.publication.notes
    if notes is not None and not notes.is_file():
        raise ConfigError(f"There is no file {notes} with the notes of the card", remedy="Write it", path=notes)
    if recipe.network.gate and not recipe.held_out:
        raise ConfigError(
            f"The card of the gate {recipe.name!r} would say nothing of what it loses",
            remedy="Name labelled images that it is not trained on in [[held_out]]",
        )
    if how is None:
        lower_float(read(network.eval()), recipe.name)
    elif not lowers(formats(how)):
        raise ConfigError(
            f"The formats of {recipe.name!r} are only emulated, so there is no graph to publish",
            remedy=f"Take formats of up to {EXACT_EXPONENT_BITS} exponent bits for all layers and no `skips`, or leave "
            "out [publication]",
        )


def _graph(network: nn.Module, name: str) -> Graph | None:
    if isinstance(network, QuantizedNetwork):
        return lower(network, name) if lowers(network.how) else None
    try:
        return lower_float(read(network), name)
    except LoweringError:
        return None


def _not_finite(network: nn.Module) -> str | None:
    """The name of a tensor that holds infinity or NaN."""
    tensors = ((name, value) for name, value in network.state_dict().items() if isinstance(value, torch.Tensor))
    return next((name for name, value in tensors if not torch.isfinite(value).all()), None)


def load_float(network: nn.Module, path: Path) -> nn.Module:
    """Fill a float network with the weights of a file.

    Raises:
        ConfigError: The file is missing, or holds another network or values that are no finite numbers.
    """
    try:
        network.load_state_dict(load_file(path))
    except (OSError, RuntimeError, SafetensorError) as error:
        raise ConfigError(
            f"{path} cannot be loaded into {type(network).__name__} ({type(error).__name__}: {error})",
            remedy="Train these weights first, with the same [network] table",
            path=path,
        ) from error
    if broken := _not_finite(network):
        raise ConfigError(
            f"{broken} of {path} holds values that are no finite numbers",
            remedy="Train these weights again; that run diverged",
            path=path,
        )
    return network.eval()


def _teacher(network: nn.Module, recipe: Recipe, classes: int) -> Teacher | None:
    how = recipe.distillation
    if how is None:
        return None
    if how.teacher is None:
        return Teacher(copy.deepcopy(network).eval(), how.weight)
    return Teacher(load_float((how.network or recipe.network).build(classes), how.teacher), how.weight)


def formats(how: Quantization) -> Formats:
    """The formats and scales that a table asks for.

    Raises:
        FormatError: A name that is no format.
    """
    weights = parse_any_format(how.weights)

    def named(name: str | None) -> AnyFormat | None:
        return None if name is None else parse_any_format(name)

    if how.activations is not None:
        activations = parse_any_format(how.activations)
    else:
        activations = weights if isinstance(weights, BlockFormat) else spend_sign(weights)
    return Formats(
        weights,
        activations,
        named(how.first_weights),
        named(how.head_weights),
        named(how.skips),
        power_of_two=how.power_of_two,
        per_channel=how.per_channel,
        learned=how.learned,
        scale_by=how.scale_by,
    )


def module_formats(how: Quantization) -> ModuleFormats:
    """The formats that a table asks for in a residual network.

    Raises:
        FormatError: A name that is no format of one number.
    """
    weights = parse_format(how.weights)

    def named(name: str | None) -> Format | None:
        return None if name is None else parse_format(name)

    assert how.way is not None  # noqa: S101 - asked by the recipe
    return ModuleFormats(
        weights,
        named(how.activations) or spend_sign(weights),
        named(how.first_weights),
        named(how.head_weights),
        named(how.head_activations),
        how.way,
    )


def lowers(how: Formats) -> bool:
    """Whether networks of these formats have an integer graph: of integers, and floats of up to 3 exponent bits.

    Others are emulated in float32, whose sums are rounded.
    """
    each = (how.weights, how.activations, how.first_weights, how.head_weights)
    return how.skips is None and all(
        not isinstance(fmt, BlockFormat) and (isinstance(fmt, Integer) or fmt.exponent_bits <= EXACT_EXPONENT_BITS)
        for fmt in each
        if fmt is not None
    )


def _quantized(
    network: nn.Module, task: Task[Any], recipe: Recipe, *, calibrated: bool
) -> QuantizedNetwork | QuantizedModules:
    """The network, quantized; its scales are left open where a checkpoint has them."""
    how = recipe.quantization
    assert how is not None  # noqa: S101 - asked before
    if recipe.images is not None:
        modules = QuantizedModules(network, module_formats(how), recipe.images.side)
        if not calibrated:
            calibrate_modules(
                modules, [task.batch(CALIBRATION_STEP + number).pixels for number in range(how.calibration)]
            )
        return modules
    if calibrated:
        return quantize(network.eval(), formats(how))
    batches = [task.batch(CALIBRATION_STEP + number).pixels for number in range(how.calibration)]
    if recipe.start is None:
        _settle(network, batches)
    quantized = quantize(network.eval(), formats(how))
    calibrate(quantized, batches)
    return quantized


def _settle(network: nn.Module, batches: Sequence[torch.Tensor]) -> None:
    """Set the statistics of the batch norms of random weights, so that folding them leaves activations of scale one."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    usual = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = None  # the average over all batches
    network.train()
    with torch.no_grad():
        for pixels in batches:
            network(pixels)
    for norm, momentum in zip(norms, usual, strict=True):
        norm.momentum = momentum

"""A recipe carried out: from its file to trained weights and, for a quantized recipe, to the integer graph."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.numpy
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file

from taran_eo.errors import ConfigError
from taran_eo.formats import parse_format
from taran_eo.graph import Graph
from taran_eo.nn.lower import lower
from taran_eo.nn.quantized import Formats, calibrate, quantize
from taran_eo.nn.thin_unet import ThinUNet
from taran_eo.provenance import Environment, Provenance
from taran_eo.train.data import pools
from taran_eo.train.loop import Progress, Sampler, tensors, train
from taran_eo.train.recipe import Quantization, Recipe

WEIGHTS = "weights.safetensors"
CALIBRATION_STEP = 1 << 40
"""Calibration batches are drawn at steps that no training run reaches."""


@dataclass(frozen=True, eq=False)
class Trained:
    """What a run leaves.

    Attributes:
        network: The trained network, in evaluation mode.
        graph: Its integer graph, or None for a float network.
        recipe: What it was trained by.
        environments: Where it was trained.
    """

    network: ThinUNet
    graph: Graph | None
    recipe: Recipe
    environments: tuple[Environment, ...]

    def margins(self) -> tuple[int, int]:
        """Halo and alignment of a tile, in pixels."""
        depth = self.network.shape.depth
        if self.graph is not None:
            return self.graph.halo, self.graph.alignment
        # Two 3x3 convolutions a level, down and up, reach this far; the test holds it against the graph's own reach.
        reach, alignment = (7 << depth) - 5, 1 << depth
        return -(-reach // alignment) * alignment, alignment

    def predict(self, pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Ship or not ``bool[rows, cols]`` of a tile ``uint8[bands, rows, cols]``, by the float32 network."""
        with torch.no_grad():
            logits = self.network(torch.from_numpy(pixels)[None].float().contiguous(memory_format=torch.channels_last))
        found: NDArray[np.bool_] = (logits[0, 0] >= 0).numpy()
        return found

    def weights(self) -> dict[str, NDArray[np.float32]]:
        """All parameters and statistics by name, as float32."""
        state = self.network.state_dict()
        tensors = {name: value for name, value in state.items() if isinstance(value, torch.Tensor)}
        # Channels-last tensors are written in the usual order.
        return {name: np.ascontiguousarray(value.float().numpy()) for name, value in tensors.items()}

    def provenance(self) -> Provenance:
        """How the network came to be."""
        recipe = self.recipe
        return Provenance(self.environments, config_sha256=recipe.digest(), seed=recipe.seed, inputs=recipe.inputs())


def carry_out(recipe: Recipe, folder: Path, report: Callable[[Progress], None], *, resume: bool) -> Trained:
    """Train as a recipe says, leaving checkpoint, log and weights in a folder.

    Args:
        recipe: The run.
        folder: Where everything goes.
        report: Called after each step.
        resume: Go on from the checkpoint in `folder`, if there is one.

    Raises:
        ConfigError: A file of the recipe is missing or does not fit.
    """
    torch.manual_seed(recipe.seed)
    network = ThinUNet(recipe.network.shape())
    if recipe.start is not None:
        load_float(network, recipe.start)
    sampler = Sampler(recipe, pools(recipe))
    if recipe.quantization is not None:
        network = _quantized(network, sampler, recipe.quantization)
    if not resume:
        (folder / WEIGHTS).unlink(missing_ok=True)  # nobody must take the old ones for those of the new run
    kept, environments = train(network, sampler, folder, report, resume=resume)
    assert isinstance(kept, ThinUNet)  # noqa: S101 - quantization keeps the class
    graph = None if recipe.quantization is None else lower(kept, recipe.name)
    trained = Trained(kept, graph, recipe, environments)
    unfinished = folder / (WEIGHTS + ".part")
    unfinished.write_bytes(safetensors.numpy.save(trained.weights()))
    unfinished.replace(folder / WEIGHTS)
    return trained


def load_float(network: ThinUNet, path: Path) -> ThinUNet:
    """Fill a float network with the weights of a file.

    Raises:
        ConfigError: The file is missing or holds another network.
    """
    try:
        network.load_state_dict(load_file(path))
    except (OSError, RuntimeError, SafetensorError) as error:
        raise ConfigError(
            f"{path} cannot be loaded into a Thin U-Net {network.shape.width} ({type(error).__name__}: {error})",
            remedy="Train the weights of `start` first, with the same [network] table",
            path=path,
        ) from error
    return network.eval()


def _quantized(network: ThinUNet, sampler: Sampler, how: Quantization) -> ThinUNet:
    formats = Formats(*map(parse_format, (how.weights, how.activations, how.first_weights, how.head_weights)))
    quantized = quantize(network.eval(), formats)
    batches = (sampler.batch(CALIBRATION_STEP + number) for number in range(how.calibration))
    calibrate(quantized, (tensors(batch, torch.device("cpu"))[0] for batch in batches))
    return quantized

"""One training run of a study: carried out, scored on the images that it did not see, and remembered."""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from taran_eo.engines import open_engine
from taran_eo.errors import ConfigError, DivergedError, WidthError
from taran_eo.evaluation import Predict, Prediction, answers
from taran_eo.graph import Graph
from taran_eo.imagery import LabelledImage
from taran_eo.metrics import TileScore, agreement, score_tile
from taran_eo.nn.quantized import QuantizedNetwork
from taran_eo.nn.sites import bit_operations, mean_bits, weight_bytes
from taran_eo.provenance import Provenance, cores
from taran_eo.studies.publish import CONTRACT
from taran_eo.train import WEIGHTS, Progress, Recipe, Trained, carry_out

SCORES = "tiles.json"
"""The scores of a network's held-out tiles, beside its weights: while it is missing, the part is not done."""

LOGITS: Final = "logits.npz"
"""The logits of its held-out tiles by name, where quantized networks are compared with it."""

PROBABILITIES = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995)
"""From which a pixel may be called ship: every held-out tile is scored at each of them."""

Report = Callable[[Progress], None]


@dataclass(frozen=True)
class TileScores:
    """What is remembered of a tile, as in `taran_eo.studies.answer.Scored`."""

    curve: tuple[TileScore, ...]
    agreement: tuple[TileScore, ...]


@dataclass(frozen=True)
class Costs:
    """What the widths of a quantized network come to.

    Attributes:
        weight_bits: Mean over the weights.
        activation_bits: Mean over the multiplications, of what they read; pixels are not among it.
        weight_bytes: Of the packed weights.
        bit_operations: A pixel: multiplications, each times the bits of its weight and of its activation.
    """

    weight_bits: float
    activation_bits: float
    weight_bytes: float
    bit_operations: float


@dataclass(frozen=True)
class Done:
    """A part of a study that was trained and scored.

    Attributes:
        identity: Of the recipe and its inputs.
        made: How the network came to be; None where the run diverged, or its widths missed their target.
        tiles: The scores of its held-out images by name; none where the run diverged.
        costs: Of its widths; None for a float network, and of blocks.
    """

    identity: str
    made: Provenance | None
    tiles: Mapping[str, TileScores]
    costs: Costs | None = None


_DONE = TypeAdapter(Done)


def carry_out_part(
    recipe: Recipe,
    folder: Path,
    held: Sequence[LabelledImage],
    report: Callable[[str], Report],
    *,
    wanted: bool,
    anew: bool = False,
    keep: bool,
    beside: Path | None,
) -> Done:
    """Train a network and score it on the images held out, unless that was done already.

    Args:
        recipe: The run.
        folder: Its own.
        held: The images.
        report: As for `run`.
        wanted: Whether to train again what was scored but has lost its weights or logits.
        anew: Whether to begin anew, whatever is there.
        keep: Whether to leave its logits.
        beside: The logits of the network that it should say the same as; without such a file there is no agreement.
    """
    if recipe.network.gate:
        raise ConfigError(
            f"{recipe.name} is a gate, and a study scores pixels", remedy="Train it by itself: `taran-eo train`"
        )
    path = folder / SCORES
    if anew:
        path.unlink(missing_ok=True)  # killed now, it must not be taken for that of the new run
    told = _read(path) if path.exists() else None
    left = [folder / WEIGHTS, *([folder / LOGITS] if keep else [])]
    if told is None or (wanted and told.made is not None and not all(each.exists() for each in left)):
        made, tiles, costs = None, {}, None
        try:
            trained = carry_out(recipe, folder, report(recipe.name), resume=not anew)
        except (DivergedError, WidthError):  # told as a run that failed; the others go on
            pass
        else:
            made, costs = trained.provenance().to_dict(), _costs(trained)
            kept: dict[str, NDArray[np.float32]] = {}
            others = np.load(beside) if beside is not None and beside.exists() else {}
            for answer in predictions(trained, held):
                name = answer.image.path.name
                curve = [asdict(each) for each in scores_of(answer, PROBABILITIES)]
                other = others.get(name)
                tiles[name] = {"curve": curve, "agreement": [] if other is None else _agreement(answer, other)}
                if keep:
                    kept[name] = answer.said.astype(np.float32)
            if keep:
                np.savez(folder / LOGITS, **kept)  # type: ignore[arg-type]
        folder.mkdir(parents=True, exist_ok=True)  # a run may diverge before it leaves anything
        unfinished = path.with_suffix(".part")
        content = {"identity": recipe.identity(), "made": made, "tiles": tiles, "costs": costs}
        unfinished.write_text(json.dumps(content, indent=1))
        unfinished.replace(path)
        told = _read(path)
    if told.identity != recipe.identity():
        raise ConfigError(
            f"{folder} holds the run of another recipe, or from other masks or weights, than {recipe.name!r} as it "
            "stands now",
            remedy="Give another folder with -o, or remove this one",
            path=folder,
        )
    return told


def _costs(trained: Trained) -> dict[str, float] | None:
    if not isinstance(trained.network, QuantizedNetwork) or trained.graph is None:
        return None
    layers = trained.network.layers()
    bits = mean_bits(layers, "weights"), mean_bits(layers, "activations")
    return asdict(Costs(*bits, weight_bytes(layers), bit_operations(layers)))


def _agreement(answer: Prediction, other: NDArray[np.float32]) -> list[dict[str, object]]:
    limits = [math.log(each / (1 - each)) for each in PROBABILITIES]
    return [asdict(agreement(answer.said >= limit, other >= limit, answer.valid)) for limit in limits]


def _read(path: Path) -> Done:
    try:
        return _DONE.validate_json(path.read_bytes())
    except ValidationError as error:
        raise ConfigError(
            f"{path} is damaged, or of another version", remedy="Remove it: the run is then scored again", path=path
        ) from error


def predictions(trained: Trained, images: Sequence[LabelledImage]) -> Iterator[Prediction]:
    """Run a trained network over labelled images, read and tiled as on board; by its graph, if it has one.

    Yields:
        The logits of each image.
    """
    predict = trained.logits if trained.graph is None else logits_of(trained.graph)
    halo, alignment = trained.margins()
    return answers(images, predict, CONTRACT, halo=halo, alignment=alignment)


def scores_of(answer: Prediction, probabilities: Iterable[float]) -> tuple[TileScore, ...]:
    """The scores of an image at each of several probabilities from which a pixel is called ship."""
    ships, limits = list(answer.image.parts()), [math.log(each / (1 - each)) for each in probabilities]
    return tuple(score_tile(ships, answer.said >= each, answer.valid, gsd_m=answer.gsd_m) for each in limits)


def logits_of(graph: Graph) -> Predict:
    """A graph as a predictor of logits, on the best engine."""
    engine = open_engine("auto", graph, threads=cores())
    # In float64 every logit is exact, so that a pixel is ship here if and only if it is on board.
    return lambda pixels: engine.run(pixels)[0] * graph.logit_scale

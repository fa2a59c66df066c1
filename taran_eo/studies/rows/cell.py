"""One training run of a row: carried out, scored picture by picture, and remembered."""

import fcntl
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from taran_eo.errors import ConfigError, DivergedError, WidthError
from taran_eo.formats import Integer
from taran_eo.metrics import Accuracy
from taran_eo.nn.quantized_modules import ModuleFormats, QuantizedModules
from taran_eo.nn.sites import Layer, bit_operations, mean_bits, weight_bytes
from taran_eo.provenance import Provenance
from taran_eo.studies.part import Report
from taran_eo.studies.pictures import RIGHT, score_pictures, scored_digest, scored_set
from taran_eo.train import WEIGHTS, Recipe, Trained, carry_out

FOUND: Final = "found.json"
"""What was found of a run, beside its weights: while it is missing, the run is not done."""

LOCK: Final = "lock"
FLOAT_BITS = 32


@dataclass(frozen=True)
class LayerFormats:
    """The formats of a layer of a trained network.

    Attributes:
        name: The layer.
        weights: Format of its weights.
        activations: Format of what it reads; ``pixels`` are integers of 8 bits.
    """

    name: str
    weights: str
    activations: str


@dataclass(frozen=True)
class Outcome:
    """A trained network, scored.

    Attributes:
        made: How it came to be.
        set: Which pictures it was scored on.
        scored: SHA-256 of the file or folder that holds them, by path.
        accuracy: How many of them are given their class.
        steps: Of its training.
        layers: Its formats.
        weight_bits: Mean width of its weights.
        activation_bits: Mean width of what they are multiplied with.
        bit_operations: Of a picture; of float32, 32 times 32 a multiplication.
        weight_bytes: Of the packed weights.
        compression: Bytes of the same weights in float32 over these.
    """

    made: Provenance
    set: str
    scored: Mapping[str, str]
    accuracy: Accuracy
    steps: int
    layers: tuple[LayerFormats, ...]
    weight_bits: float
    activation_bits: float
    bit_operations: float
    weight_bytes: float
    compression: float


@dataclass(frozen=True)
class Found:
    """What is remembered of a run.

    Attributes:
        identity: Of the recipe and its inputs.
        failed: Why there is no network: it diverged, or its widths cannot be learned; None where there is one.
        outcome: The network; None where the run failed.
    """

    identity: str
    failed: str | None
    outcome: Outcome | None


_FOUND = TypeAdapter(Found)


def carry_out_cell(recipe: Recipe, folder: Path, report: Callable[[str], Report], *, anew: bool, waits: bool) -> None:
    """Train a network and score it, unless that was done already, or another process is at it.

    Args:
        recipe: The run.
        folder: Its own.
        report: As for `taran_eo.studies.rows.run.run`.
        anew: Whether to begin anew, whatever is there.
        waits: Whether to wait for another process that is at it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder / LOCK, waits=waits) as free:
        if not free:
            return
        if anew:
            (folder / FOUND).unlink(missing_ok=True)  # killed now, it must not be taken for that of the new run
        elif (found := read_found(recipe, folder)) is not None and (found.failed is not None or _is_whole(folder)):
            return
        failed = outcome = None
        try:
            trained = carry_out(recipe, folder, report(recipe.name), resume=not anew)
        except (DivergedError, WidthError) as error:
            failed = str(error)
        else:
            outcome = asdict(_outcome(trained, folder))
        _write(
            folder / FOUND, json.dumps({"identity": recipe.identity(), "failed": failed, "outcome": outcome}).encode()
        )


def read_found(recipe: Recipe, folder: Path) -> Found | None:
    """What was found of a run; None where it is not done.

    Raises:
        ConfigError: The file is damaged, or tells of another recipe.
    """
    path = folder / FOUND
    if not path.exists():
        return None
    try:
        found = _FOUND.validate_json(path.read_bytes())
    except ValidationError as error:
        raise ConfigError(
            f"{path} is damaged, or of another version", remedy="Remove it: the run is then scored again", path=path
        ) from error
    if recipe.start is not None and not recipe.start.exists():
        raise ConfigError(
            f"{recipe.start} is missing, which {recipe.name!r} began with",
            remedy="Restore it, or carry out that run again",
            path=recipe.start,
        )
    if found.identity != recipe.identity():
        raise ConfigError(
            f"{folder} holds the run of another recipe, or from other weights, than {recipe.name!r} as it stands now",
            remedy="Begin it anew with --restart --only, give another folder with -o, or remove this one",
            path=folder,
        )
    return found


def _is_whole(folder: Path) -> bool:
    return all((folder / name).exists() for name in (WEIGHTS, RIGHT))


@contextmanager
def _alone(path: Path, *, waits: bool) -> Iterator[bool]:
    """Hold a file until done, so that of several processes one works in its folder; gives whether it is held."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True


def _write(path: Path, content: bytes) -> None:
    unfinished = path.with_name(path.name + ".part")
    unfinished.write_bytes(content)
    unfinished.replace(path)


def _outcome(trained: Trained, folder: Path) -> Outcome:
    """Score a network, leaving the answers in its folder."""
    images, network = trained.recipe.images, trained.network
    assert images is not None  # noqa: S101 - asked by the study
    quantized = isinstance(network, QuantizedModules)
    layers = layers_of(trained)
    whole = sum(layer.count for layer in layers) * FLOAT_BITS / 8
    size = weight_bytes(layers) if quantized else whole
    return Outcome(
        made=trained.provenance(),
        set=scored_set(images),
        scored=scored_digest(images),
        accuracy=score_pictures(trained, images, folder),
        steps=trained.recipe.schedule.steps,
        layers=tuple(
            _formats(layer) if quantized else LayerFormats(layer.name, "float32", "float32") for layer in layers
        ),
        weight_bits=mean_bits(layers, "weights") if quantized else FLOAT_BITS,
        activation_bits=mean_bits(layers, "activations") if quantized else FLOAT_BITS,
        bit_operations=bit_operations(layers) if quantized else sum(layer.macs for layer in layers) * FLOAT_BITS**2,
        weight_bytes=size,
        compression=whole / size,
    )


def layers_of(trained: Trained) -> tuple[Layer, ...]:
    """The layers of a network that classifies pictures; of a float one, with formats that mean nothing."""
    network, images = trained.network, trained.recipe.images
    if not isinstance(network, QuantizedModules):
        assert images is not None  # noqa: S101 - asked by the study
        any_format = ModuleFormats(Integer(8), Integer(8, signed=False))
        network = QuantizedModules(deepcopy(network), any_format, images.side)
    return network.layers()


def _formats(layer: Layer) -> LayerFormats:
    activations = "pixels" if layer.activations is None else str(layer.activations.format)
    return LayerFormats(layer.name, str(layer.weights.format), activations)

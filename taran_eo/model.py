"""A model: a folder that is opened and checked as a whole, or saved as a whole.

The folder holds

===================== ==========================================================================
model.toml            name, version, task, version of this file format, input contract, output
flight.safetensors    the program that flies (`taran_eo.graph`): of integers, or of float32
golden.npz            ``pixels`` uint8[n, bands, rows, cols] and the ``logits`` that they must give: a program
                      of integers bit for bit, one of float32 within `taran_eo.graph.tolerance`
CARD.md               data, measured scores, known failures
weights.safetensors   the float master; not needed to run, and may be left out on board
SHA256SUMS            a line for each of these, as ``sha256sum -c`` reads it
===================== ==========================================================================

Nothing of a folder is used before every byte of it has been checked.
"""

import json
import tempfile
import zlib
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from zipfile import BadZipFile

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from pydantic import Field

from taran_eo import graph as graphs
from taran_eo.checksums import check_sums, write_sums
from taran_eo.config import Settings, load_toml
from taran_eo.errors import CorruptDataError, ModelError, OutputError, TaranError
from taran_eo.graph import Graph
from taran_eo.imagery import Contract

FORMAT = 1
"""Version of the folder's layout; raised when an older program would misread a newer folder."""

DEFAULT_NAME = "thin_unet32_e2m3"
DEFAULT_GATE = "ship_gate_e2m3"

_MANIFEST, _FLIGHT, _GOLDEN, _CARD = "model.toml", "flight.safetensors", "golden.npz", "CARD.md"
_WEIGHTS = "weights.safetensors"
_REQUIRED = (_MANIFEST, _FLIGHT, _GOLDEN, _CARD)
_COPY_AGAIN = "Copy the model folder again from where it came, or name another with --model"


class Runs(Protocol):
    """What `replay` needs of an engine."""

    @property
    def name(self) -> str:
        """Name of the engine."""
        ...

    def run(self, pixels: NDArray[np.uint8], /) -> NDArray[np.int32]:
        """Logits int32[classes, rows, cols] of uint8[bands, rows, cols]."""
        ...


@dataclass(frozen=True)
class Finding:
    """A golden tile on which an engine differs from the model's golden logits by more than the graph's tolerance.

    Attributes:
        engine: Name of the engine.
        tile: Index of the golden tile.
        differing: Logits that differ by more.
        logits: Logits compared.
        largest: Largest absolute difference.
    """

    engine: str
    tile: int
    differing: int
    logits: int
    largest: int

    def __str__(self) -> str:
        """The finding as a sentence."""
        return (
            f"engine {self.engine}, golden tile {self.tile}: "
            f"{self.differing} of {self.logits} logits differ, by up to {self.largest}"
        )


class _Output(Settings):
    classes: tuple[str, ...] = Field(min_length=2)
    threshold: float = Field(gt=0, lt=1)


class _Manifest(Settings):
    format: int
    name: str = Field(pattern=r"^[A-Za-z0-9._-]+$")
    version: str
    task: str
    contract: Contract
    output: _Output


class _FormatOnly(Settings, extra="ignore"):
    format: int


@dataclass(frozen=True)
class Model:
    """A checked model, ready to run.

    Attributes:
        path: The folder.
        name: Name of the model.
        version: Version of the model.
        task: What it is for, in words.
        graph: The program.
        contract: What pixels it takes.
        classes: Names of the labels, in order.
        threshold: Probability from which a pixel is a ship.
    """

    path: Path
    name: str
    version: str
    task: str
    graph: Graph
    contract: Contract
    classes: tuple[str, ...]
    threshold: float

    @classmethod
    def open(cls, path: Path | None = None) -> "Model":
        """Open a model folder, after checking every byte of it.

        Args:
            path: The folder; None for the default model, which comes with the package.

        Raises:
            ModelError: A file is missing or altered, of an unknown version, or contradicts another; the
                message names the file.
        """
        folder = shipped(DEFAULT_NAME) if path is None else path
        _check_sums(folder)
        try:
            _check_format(load_toml(folder / _MANIFEST, _FormatOnly).format, folder)
            manifest = load_toml(folder / _MANIFEST, _Manifest)
            graph = graphs.load(folder / _FLIGHT)
        except ModelError:
            raise
        except TaranError as error:
            raise ModelError(
                f"The model in {folder} cannot be used: {error.what}", remedy=error.remedy, path=folder
            ) from error
        _check_fit(folder, graph, manifest.contract, manifest.output.classes)
        return cls(
            path=folder,
            name=manifest.name,
            version=manifest.version,
            task=manifest.task,
            graph=graph,
            contract=manifest.contract,
            classes=manifest.output.classes,
            threshold=manifest.output.threshold,
        )

    def golden(self) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
        """Golden pixels uint8[n, bands, rows, cols] and the logits int32[n, classes, rows, cols] they give.

        Raises:
            ModelError: The file holds something else.
        """
        path = self.path / _GOLDEN
        try:
            with np.load(path, allow_pickle=False) as file:
                pixels, logits = file["pixels"], file["logits"]
        except (OSError, ValueError, KeyError, EOFError, BadZipFile, zlib.error) as error:
            raise ModelError(f"{path} is not a file of golden vectors", remedy=_COPY_AGAIN, path=path) from error
        fits = (
            pixels.dtype == np.uint8
            and logits.dtype == np.int32
            and pixels.ndim == logits.ndim == 4
            and len(pixels) == len(logits) > 0
            and pixels.shape[1] == self.graph.bands
        )
        if not fits:
            raise ModelError(
                f"{path} holds pixels {pixels.dtype}{list(pixels.shape)} and logits "
                f"{logits.dtype}{list(logits.shape)}, which are no golden vectors of this graph",
                remedy=_COPY_AGAIN,
                path=path,
            )
        return pixels, logits


def save(
    folder: Path,
    *,
    name: str,
    version: str,
    task: str,
    graph: Graph,
    contract: Contract,
    classes: tuple[str, ...],
    threshold: float,
    golden_pixels: NDArray[np.uint8],
    card: str,
    weights: Mapping[str, NDArray[Any]] | None = None,
    overwrite: bool = False,
) -> Model:
    """Write a model folder and open it again; the folder appears complete or not at all, an older one stays until then.

    The golden logits are computed here, by the reference interpreter.

    Args:
        folder: Where to; its parent is made if missing.
        name: Name of the model, of letters, digits, dots, dashes and underscores.
        version: Version of the model.
        task: What it is for, in words.
        graph: The program.
        contract: What pixels it takes.
        classes: Names of the labels, in order.
        threshold: Probability from which a pixel is a ship, between 0 and 1.
        golden_pixels: uint8[n, bands, rows, cols] with n of at least 1, rows and cols multiples of
            ``graph.alignment``.
        card: Text of the card, Markdown.
        weights: The float master, arrays by name; None to leave it out.
        overwrite: Whether a model folder that is there already may be replaced.

    Raises:
        OutputError: The folder exists and may not be replaced, or cannot be written.
        ModelError: The values contradict each other.
    """
    if folder.exists() and not (overwrite and (folder / _MANIFEST).is_file()):
        raise OutputError(
            f"{folder} exists already",
            remedy="Choose another folder; only a model folder is replaced, and only with overwrite",
            path=folder,
        )
    manifest = {
        "format": FORMAT,
        "name": name,
        "version": version,
        "task": task,
        "contract": contract.model_dump(mode="json"),
        "output": {"classes": classes, "threshold": threshold},
    }
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Beside the target, so that the rename stays within one file system.
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as scratch:
            fresh = Path(scratch) / "new"
            fresh.mkdir()
            (fresh / _MANIFEST).write_text(_toml(manifest), encoding="utf-8")
            (fresh / _CARD).write_text(card, encoding="utf-8")
            graphs.save(graph, fresh / _FLIGHT)
            logits = np.stack([graphs.run(graph, pixels) for pixels in golden_pixels])
            np.savez_compressed(fresh / _GOLDEN, pixels=golden_pixels, logits=logits)
            if weights is not None:
                arrays = {key: np.ascontiguousarray(value) for key, value in weights.items()}
                (fresh / _WEIGHTS).write_bytes(safetensors.numpy.save(arrays))
            write_sums(fresh)
            Model.open(fresh).golden()  # what cannot be read back is not put in place
            with ExitStack() as undo:
                if folder.exists():
                    undo.callback(folder.rename(Path(scratch) / "old").rename, folder)
                fresh.rename(folder)
                undo.pop_all()
    except OSError as error:
        raise OutputError(
            f"The model folder {folder} cannot be written: {error}",
            remedy="Check permissions and free space, or choose another folder",
            path=folder,
        ) from error
    return Model.open(folder)


def replay(model: Model, engine: Runs) -> list[Finding]:
    """Run the golden tiles on an engine; what does not come out bit for bit, or in float32 nearly so, is a finding.

    Raises:
        ModelError: The model's golden vectors cannot be read.
    """
    findings = []
    for tile, (pixels, expected) in enumerate(zip(*model.golden(), strict=True)):
        logits = engine.run(pixels)
        if logits.shape != expected.shape:
            findings.append(Finding(engine.name, tile, expected.size, expected.size, int(np.abs(expected).max())))
            continue
        gap = np.abs(logits.astype(np.int64) - expected)
        if differing := int(np.count_nonzero(gap > graphs.tolerance(model.graph, expected))):
            findings.append(Finding(engine.name, tile, differing, gap.size, int(gap.max())))
    return findings


def shipped(name: str) -> Path:
    """The folder of a model that comes with taran_eo: inside the installed package, else that of the checkout."""
    package = Path(__file__).resolve().parent
    inside, beside = (folder / "models" / name for folder in (package, package.parent))
    return inside if inside.is_dir() else beside


def _check_format(version: int, folder: Path) -> None:
    if version != FORMAT:
        raise ModelError(
            f"{folder / _MANIFEST} has format version {version}, this program reads {FORMAT}",
            remedy="Install the taran_eo that wrote the model, or name another with --model",
            path=folder,
        )


def _check_fit(folder: Path, graph: Graph, contract: Contract, classes: tuple[str, ...]) -> None:
    """Refuse files that are each in order but do not belong together."""
    remedy = "Export the model again; its files do not belong together"
    if graph.bands != len(contract.bands):
        raise ModelError(
            f"{folder / _FLIGHT} takes {graph.bands} bands, the contract in {_MANIFEST} names "
            f"{len(contract.bands)}: {', '.join(contract.bands)}",
            remedy=remedy,
            path=folder,
        )
    # Of two classes, one plane of logits tells both.
    if graph.classes != len(classes) and (graph.classes, len(classes)) != (1, 2):
        raise ModelError(
            f"{folder / _FLIGHT} gives {graph.classes} planes of logits for the classes {', '.join(classes)}",
            remedy=remedy,
            path=folder,
        )


def _check_sums(folder: Path) -> None:
    if not folder.is_dir():
        raise ModelError(
            f"There is no model folder {folder}",
            remedy="Name a folder that holds model.toml with --model, or leave --model out for the default",
            path=folder,
        )
    try:
        check_sums(folder, required=_REQUIRED, spared=(_WEIGHTS,))
    except CorruptDataError as error:
        raise ModelError(error.what, remedy=_COPY_AGAIN, **error.facts) from error


def _toml(table: Mapping[str, Any], prefix: str = "") -> str:
    """TOML of a table of plain values: JSON writes strings, numbers, truth values and lists alike."""
    plain = [
        f"{key} = {json.dumps(value, ensure_ascii=False)}\n"
        for key, value in table.items()
        if not isinstance(value, Mapping)
    ]
    below = [
        f"\n[{prefix}{key}]\n{_toml(value, f'{prefix}{key}.')}"
        for key, value in table.items()
        if isinstance(value, Mapping)
    ]
    return "".join(plain + below)

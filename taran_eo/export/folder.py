"""An export: a folder that is complete for who receives it, and that proves itself.

=============== ====================================================================================
manifest.json   which model in which form, its input and output, and how near it comes to the model
README.md       the same for people
golden/         ``pixels.u8`` uint8[n, bands, rows, cols] and the ``logits.i32`` that the model makes of them,
                little-endian int32[n, classes, rows, cols]
SHA256SUMS      a line for each file, as ``sha256sum -c`` reads it
=============== ====================================================================================

and the files of its form, with what it takes to replay the golden vectors away from taran_eo: ``replay.py`` or a
Makefile. `replay` runs just these, so what is verified here is what the receiver can run.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from taran_eo import __version__
from taran_eo import graph as graphs
from taran_eo.checksums import check_sums, write_sums
from taran_eo.config import load_json
from taran_eo.errors import ConfigError, CorruptDataError, MissingExtraError, OutputError, TaranError
from taran_eo.export.forms import FORMS, Form, Order, form_named
from taran_eo.export.manifest import Difference, Golden, Identity, Input, Manifest, Output
from taran_eo.export.readme import readme
from taran_eo.graph import check_size, logit_at
from taran_eo.model import Model
from taran_eo.target import Target, open_target

FORMAT = 1
"""Version of the folder's layout."""

MANIFEST = "manifest.json"
_PIXELS, _LOGITS = "golden/pixels.u8", "golden/logits.i32"
MOST_PIXELS = 256 * 256
"""Golden tiles stay below this in all, or are one: they are text where C is."""


@dataclass(frozen=True)
class Replayed:
    """What a replay said: whether the golden vectors came out as the manifest promises, and its lines."""

    passed: bool
    said: tuple[str, ...]


def export(
    model: Model,
    form: Form,
    folder: Path,
    *,
    target: Target,
    tile: tuple[int, int] | None = None,
    memory: int | None = None,
    python: str = sys.executable,
) -> tuple[Manifest, Replayed | None]:
    """Write a model in a form; the folder appears complete or not at all.

    Args:
        model: The model.
        form: Of `FORMS`.
        folder: Where to; must not exist, or be empty.
        target: Where C runs.
        tile: Rows and columns of a tile, for forms of a fixed size, and of the golden vectors.
        memory: Most bytes that the tensors of C may take.
        python: The interpreter that replays the forms which need one.

    Returns:
        What the folder tells of itself, and what the replay said; None where that takes a tool that is missing here.

    Raises:
        OutputError: The folder holds something, or cannot be written.
        ConfigError: A memory that is too small; tells what would do.
        GraphError: A size of tile that the graph does not take, or an operation or a format, by name, that the form
            cannot say.
        MissingExtraError: A form that is not exact cannot be measured here.
        CorruptDataError: An exact form is not: a defect of taran_eo or of the tools here.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(
            f"{folder} is there already and not empty", remedy="Name another folder, or empty this one", path=folder
        )
    graph = model.graph
    if tile is None and form.tile is not None:
        tile = form.tile, form.tile
    pixels, logits = golden_vectors(model, tile)
    limit = logit_at(model.threshold, graph.logit_scale)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Beside the target, so that the rename stays within one file system.
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as scratch:
            fresh = Path(scratch) / folder.name
            (fresh / "golden").mkdir(parents=True)
            taken = form.write(Order(graph, limit, pixels, logits, memory, target), fresh)
            (fresh / _PIXELS).write_bytes(pixels.tobytes())
            (fresh / _LOGITS).write_bytes(logits.astype("<i4").tobytes())
            manifest = Manifest(
                format=FORMAT,
                made_by=f"taran_eo {__version__}",
                form=form.name,
                program=form.program,
                model=Identity(name=model.name, version=model.version, digest=graph.digest),
                input=Input(
                    bands=model.contract.bands,
                    bit_depth=model.contract.bit_depth,
                    gsd_m=model.contract.gsd_m,
                    alignment=graph.alignment,
                    halo=graph.halo,
                ),
                output=Output(
                    classes=model.classes,
                    dtype="int32" if form.exact else "float32",
                    scale=graph.logit_scale,
                    threshold=model.threshold,
                    limit=limit,
                ),
                golden=Golden(vectors=len(pixels), pixels=pixels.shape[1:], logits=logits.shape[1:]),
                exact=form.exact,
                memory=taken,
                target=target.name if taken else None,
            )
            _write_manifest(fresh, manifest)
            try:
                said = _run_replay(fresh, manifest, python, measure=not form.exact)
            except MissingExtraError:
                if not form.exact:
                    raise
                said = None
            if said is not None and not said.passed:
                raise CorruptDataError(
                    f"The {form.name} of {model.name} does not replay: {'; '.join(said.said)}",
                    remedy="Do not use it; report this with the versions of the tools",
                )
            if said is not None and not form.exact:
                manifest = manifest.model_copy(update={"difference": Difference(**json.loads(said.said[-1]))})
                _write_manifest(fresh, manifest)
            (fresh / "README.md").write_text(
                readme(manifest, form, target, replayed=said is not None), encoding="utf-8"
            )
            write_sums(fresh)
            if folder.exists():
                folder.rmdir()
            fresh.rename(folder)
    except OSError as error:
        if isinstance(error, TaranError):
            raise
        raise OutputError(
            f"{folder} cannot be written: {error}",
            remedy="Check permissions and free space, or choose another folder",
            path=folder,
        ) from error
    return manifest, said


def open_export(folder: Path) -> Manifest:
    """Read what an export tells of itself, after checking every byte of it.

    Raises:
        CorruptDataError: A file is missing or altered, the manifest makes no sense or is of another version, or the
            program is not of the model that it names.
    """
    check_sums(folder, required=(MANIFEST, "README.md", _PIXELS, _LOGITS))
    try:
        manifest = load_json(folder / MANIFEST, Manifest)
    except ConfigError as error:
        raise _corrupt(folder, f"makes no sense: {error.what}") from error
    if manifest.format != FORMAT:
        raise _corrupt(folder, f"is of format {manifest.format}, and this program reads {FORMAT}")
    if manifest.form not in {form.name for form in FORMS}:
        raise _corrupt(folder, f"is of the unknown form {manifest.form!r}")
    form = form_named(manifest.form)
    if not form.names((folder / form.program).read_bytes(), manifest.model.digest):
        raise _corrupt(folder, f"names the graph {manifest.model.digest}, which {form.program} is not")
    return manifest


def replay(folder: Path, *, python: str = sys.executable) -> Replayed:
    """Check an export, and run its golden vectors by what lies in it.

    Args:
        folder: The export.
        python: The interpreter for those that need one.

    Raises:
        CorruptDataError: See `open_export`.
        MissingExtraError: A tool that it takes is missing.
    """
    return _run_replay(folder, open_export(folder), python, measure=False)


def golden_vectors(model: Model, tile: tuple[int, int] | None) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """The golden tiles of a model, or others of a size: cut out of them, or laid side by side.

    Raises:
        GraphError: A size that the graph does not take.
    """
    pixels, logits = model.golden()
    if tile is None or tile == pixels.shape[2:]:
        return pixels, logits
    rows, cols = tile
    check_size(model.graph, rows, cols)
    _, _, height, width = pixels.shape
    count = max(1, min(len(pixels), MOST_PIXELS // (rows * cols)))
    down, across = -(-rows // height), -(-cols // width)
    tiles = [
        np.block([[pixels[(first + row * across + col) % len(pixels)] for col in range(across)] for row in range(down)])
        for first in range(count)
    ]
    fitted = np.ascontiguousarray(np.stack(tiles)[:, :, :rows, :cols])
    return fitted, np.stack([graphs.run(model.graph, each) for each in fitted])


def _write_manifest(folder: Path, manifest: Manifest) -> None:
    text = json.dumps(manifest.model_dump(mode="json", exclude_none=True), indent=2)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def _run_replay(folder: Path, manifest: Manifest, python: str, *, measure: bool) -> Replayed:
    """Run what lies in a folder, in a copy of it: building leaves files behind."""
    made = not (folder / "replay.py").exists()
    tools = open_target(manifest.target or "host").tools if made else (python,)
    for tool in tools:
        if shutil.which(tool) is None:
            raise MissingExtraError(
                f"The replay of a {manifest.form} needs {tool}, which is not here", remedy="Install it", tool=tool
            )
    command = ["make", "--silent", "replay"] if made else [python, "replay.py", *(["--measure"] if measure else [])]
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch) / "export"
        shutil.copytree(folder, place)
        done = subprocess.run(command, cwd=place, capture_output=True, text=True, errors="replace")
    if "ModuleNotFoundError" in done.stderr:
        raise MissingExtraError(
            f"The replay of a {manifest.form} fails in {python}: {done.stderr.splitlines()[-1]}",
            remedy="Install it there, or name with --python an interpreter that has it; see the README of the export",
        )
    said = done.stdout.splitlines() + (done.stderr.splitlines() if done.returncode else [])
    return Replayed(done.returncode == 0, tuple(said))


def _corrupt(folder: Path, what: str) -> CorruptDataError:
    return CorruptDataError(f"{folder / MANIFEST} {what}", remedy="Export the model again", path=folder / MANIFEST)

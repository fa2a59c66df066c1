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
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
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
from taran_eo.export.manifest import Difference, Golden, Identity, Input, Manifest, Memory, Output
from taran_eo.export.readme import readme
from taran_eo.graph import check_size, logit_at
from taran_eo.model import Model
from taran_eo.target import Target, open_target

FORMAT = 1
"""Version of the folder's layout."""

MANIFEST = "manifest.json"
_PIXELS, _LOGITS = "golden/pixels.u8", "golden/logits.i32"
MOST_SECONDS = 3600
MOST_PIXELS = 256 * 256
"""Golden tiles stay below this in all, or are one: they are text where C is."""


@dataclass(frozen=True)
class Replayed:
    """What a replay said.

    Attributes:
        passed: Whether the golden vectors came out as the manifest promises.
        said: Its lines.
        found: What it measured; None of C, which tells of each vector.
    """

    passed: bool
    said: tuple[str, ...]
    found: Difference | None


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
        ConfigError: A memory that is too small, with what would do; or a memory or a target for a form without them.
        GraphError: A size of tile that the graph does not take, or an operation or a format, by name, that the form
            cannot say.
        MissingExtraError: A form that is not exact cannot be measured here.
        CorruptDataError: An exact form is not: a defect of taran_eo or of the tools here.
    """
    folder = Path(os.path.abspath(folder))  # noqa: PTH100 - "." has no name
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(
            f"{folder} is there already and not empty", remedy="Name another folder, or empty this one", path=folder
        )
    if form.tile is None and (memory is not None or target.name != "host"):
        raise ConfigError(
            f"The form {form.name} is for any processor and takes the memory that it needs",
            remedy="Leave --target and --memory out, or export as c99",
        )
    if tile is None and form.tile is not None:
        tile = form.tile, form.tile
    pixels, logits = golden_vectors(model, tile)
    limit = logit_at(model.threshold, model.graph.logit_scale)
    order = Order(model.graph, limit, pixels, logits, memory, target)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Beside the target, so that the rename stays within one file system.
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as scratch:
            fresh = Path(scratch) / folder.name
            (fresh / "golden").mkdir(parents=True)
            (fresh / _PIXELS).write_bytes(pixels.tobytes())
            (fresh / _LOGITS).write_bytes(logits.astype("<i4").tobytes())
            manifest, said = _proved(fresh, _manifest(model, form, order, form.write(order, fresh)), python)
            page = readme(manifest, form, target, replayed=said is not None)
            (fresh / "README.md").write_text(page, encoding="utf-8")
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


def _manifest(model: Model, form: Form, order: Order, memory: Memory | None) -> Manifest:
    """What an export tells before it was replayed."""
    graph = model.graph
    return Manifest(
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
            reduction=1 << graph.level,
            threshold=model.threshold,
            limit=order.limit * (1 if form.exact else graph.logit_scale),
        ),
        golden=Golden(vectors=len(order.pixels), pixels=order.pixels.shape[1:], logits=order.logits.shape[1:]),
        exact=form.exact,
        memory=memory,
        target=order.target.name if memory else None,
    )


def _proved(folder: Path, manifest: Manifest, python: str) -> tuple[Manifest, Replayed | None]:
    """The manifest, written, with the difference that a replay measures; and what the replay says."""
    _write_manifest(folder, manifest)
    try:
        files = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
        said = _run_replay(folder, files, manifest, python, measure=not manifest.exact)
    except MissingExtraError:
        if not manifest.exact:
            raise
        return manifest, None
    if not said.passed:
        raise CorruptDataError(
            f"The {manifest.form} of {manifest.model.name} does not replay: {'; '.join(said.said)}",
            remedy="Do not use it; report this with the versions of the tools",
        )
    if not manifest.exact:
        manifest = manifest.model_copy(update={"difference": said.found})
        _write_manifest(folder, manifest)
    return manifest, said


def open_export(folder: Path) -> Manifest:
    """Read what an export tells of itself, after checking every byte of it.

    Raises:
        CorruptDataError: A file is missing or altered, the manifest makes no sense or is of another version, or the
            program is not of the model that it names.
    """
    return _opened(folder)[0]


def _opened(folder: Path) -> tuple[Manifest, tuple[str, ...]]:
    """The manifest, and the files that have a sum."""
    files = check_sums(folder, required=(MANIFEST, "README.md", _PIXELS, _LOGITS))
    try:
        manifest = load_json(folder / MANIFEST, Manifest)
    except ConfigError as error:
        raise _corrupt(folder, f"makes no sense: {error.what}") from error
    if manifest.format != FORMAT:
        raise _corrupt(folder, f"is of format {manifest.format}, and this program reads {FORMAT}")
    if manifest.form not in {form.name for form in FORMS}:
        raise _corrupt(folder, f"is of the unknown form {manifest.form!r}")
    form = form_named(manifest.form)
    if manifest.program != form.program or manifest.exact != form.exact or manifest.golden.vectors < 1:
        raise _corrupt(folder, f"is none that taran_eo writes for {form.name}")
    for name in (form.program, form.prover):
        if name not in files:
            raise _corrupt(folder, f"is of {name}, which has no sum")
    if not form.names((folder / form.program).read_bytes(), manifest.model.digest):
        raise _corrupt(folder, f"names the graph {manifest.model.digest}, which {form.program} is not")
    return manifest, files


def replay(folder: Path, *, python: str = sys.executable) -> Replayed:
    """Check an export, and run its golden vectors by what lies in it.

    Args:
        folder: The export.
        python: The interpreter for those that need one.

    Raises:
        CorruptDataError: See `open_export`.
        MissingExtraError: A tool that it takes is missing.
    """
    manifest, files = _opened(folder)
    return _run_replay(folder, files, manifest, python, measure=False)


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


def _run_replay(folder: Path, files: Iterable[str], manifest: Manifest, python: str, *, measure: bool) -> Replayed:
    """Run what lies in a folder, in a copy of the files that were checked: building leaves others behind."""
    form = form_named(manifest.form)
    made = form.prover == "Makefile"
    tools = (python,) if not made else ("make", "cc") if manifest.target is None else open_target(manifest.target).tools
    for tool in tools:
        if shutil.which(tool) is None:
            raise MissingExtraError(
                f"The replay of a {manifest.form} needs {tool}, which is not here", remedy="Install it", tool=tool
            )
    # Of the folder where it is called, and not where it runs; links stay, as they make an environment.
    interpreter = os.path.abspath(shutil.which(python) or python)  # noqa: PTH100
    command = (
        ["make", "--silent", "replay"] if made else [interpreter, form.prover, *(["--measure"] if measure else [])]
    )
    with tempfile.TemporaryDirectory() as scratch:
        for name in files:
            copy = Path(scratch) / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / name, copy)
        try:
            done = subprocess.run(
                command, cwd=scratch, capture_output=True, text=True, errors="replace", timeout=MOST_SECONDS
            )
        except subprocess.TimeoutExpired:
            return Replayed(False, (f"the replay had not ended after {MOST_SECONDS} s",), None)
    if "ModuleNotFoundError" in done.stderr:
        raise MissingExtraError(
            f"The replay of a {manifest.form} fails in {python}: {done.stderr.splitlines()[-1]}",
            remedy="Install it there, or name with --python an interpreter that has it; see the README of the export",
        )
    said = tuple(done.stdout.splitlines() + (done.stderr.splitlines() if done.returncode else []))
    said = said or (f"the replay ended with status {done.returncode} and said nothing",)
    if made:
        vectors = sum(line.startswith("vector ") for line in said)
        return Replayed(said[-1] == "replay: passed" and vectors >= manifest.golden.vectors, said, None)
    try:
        found = Difference.model_validate_json(said[-1])
    except ValueError:
        return Replayed(False, said, None)
    return Replayed(done.returncode == 0 and found.vectors == manifest.golden.vectors, said, found)


def _corrupt(folder: Path, what: str) -> CorruptDataError:
    return CorruptDataError(f"{folder / MANIFEST} {what}", remedy="Export the model again", path=folder / MANIFEST)

"""``taran-eo export``: a model in the form that others run."""

import re
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from taran_eo.cli.console import complain, parse_size, print_json, tell
from taran_eo.cli.options import folder

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30}


def _bytes(text: str) -> int:
    """A number of bytes, as ``2M`` or ``300000``.

    Raises:
        typer.BadParameter: It is something else.
    """
    found = re.fullmatch(r"([0-9]{1,12})([KMG]?)", text.strip().upper())
    if found is None:
        raise typer.BadParameter(f"{text[:40]!r} is no number of bytes, e.g. 2M, 512K or 300000")
    return int(found[1]) * _UNITS[found[2]]


def command(
    form: Annotated[
        Literal["onnx-integer", "onnx-qdq", "onnx-qdq-s8", "onnx-float", "onnx-fp6", "qonnx", "archive", "c99"],
        typer.Option("--to", help="The form; the README tells what each is for."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", parser=folder, help="Folder to write; not there yet, or empty.")],
    model: Annotated[
        Path | None,
        typer.Argument(
            exists=True, file_okay=False, help="Model folder; the one that comes with taran_eo if left out."
        ),
    ] = None,
    target: Annotated[str, typer.Option(help="Where c99 runs: the name of a folder of deploy/.")] = "host",
    tile: Annotated[
        str | None,
        typer.Option(metavar="ROWSxCOLS", help="Size of a tile, for c99 and QONNX, and of the golden vectors."),
    ] = None,
    memory: Annotated[
        int | None, typer.Option(parser=_bytes, metavar="BYTES", help="Most memory for the tensors of c99, e.g. 2M.")
    ] = None,
    python: Annotated[
        str,
        typer.Option(show_default="this one", help="Interpreter that replays ONNX and QONNX, if they are elsewhere."),
    ] = sys.executable,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest as JSON.")] = False,
) -> None:
    """Write a model as ONNX, QONNX, a packed archive or C, with golden vectors that are replayed at once."""
    from taran_eo.export import exactness, export, form_named
    from taran_eo.model import Model
    from taran_eo.target import open_target

    manifest, said = export(
        Model.open(model),
        form_named(form),
        out,
        target=open_target(target),
        tile=None if tile is None else parse_size(tile, "--tile"),
        memory=memory,
        python=python,
    )
    if as_json:
        print_json(manifest.model_dump(mode="json", exclude_none=True))
        return
    if said is not None and manifest.exact:
        for line in said.said:
            tell(line)
    if manifest.memory is not None and manifest.memory.lacking:
        complain(f"{target} lacks {manifest.memory.lacking:,} bytes for this; `taran-eo inspect --target` tells more")
    tell(f"{out}: {manifest.model.name} as {form}; {exactness(manifest, replayed=said is not None)}")

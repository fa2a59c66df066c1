"""``taran-eo verify``: check the results of a run, a model folder, or an export."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from taran_eo.cli.console import complain, print_json, tell


def command(
    folder: Annotated[
        Path,
        typer.Argument(
            exists=True, file_okay=False, help="An output folder of `taran-eo run`, a model folder, or an export."
        ),
    ],
    python: Annotated[
        str,
        typer.Option(show_default="this one", help="Interpreter that replays an export of ONNX or QONNX."),
    ] = sys.executable,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Check that every file is as it was written, and that masks, ship lists and products agree.

    For a model folder: check its sums, and replay its golden vectors on every engine. For an export: check its sums,
    and replay its golden vectors by what lies in it.
    """
    if (folder / "model.toml").exists():
        checked, findings = _model(folder)
    elif (folder / "manifest.json").exists():
        checked, findings = _export(folder, python)
    else:
        checked, findings = _run(folder)
    if as_json:
        print_json({"folder": folder, "checked": checked, "findings": findings})
    else:
        for finding in findings:
            complain(finding)
        tell(f"{folder}: {checked}, {len(findings)} findings")
    if findings:
        raise typer.Exit(1)


def _run(folder: Path) -> tuple[str, list[str]]:
    from taran_eo.onboard import verify

    result = verify(folder)
    return f"{result.files} files of {result.scenes} scenes", [str(finding) for finding in result.findings]


def _model(folder: Path) -> tuple[str, list[str]]:
    from taran_eo.engines import engines_for, open_engine
    from taran_eo.model import Model, replay

    model = Model.open(folder)
    engines = engines_for(model.graph)
    findings = [
        str(finding) for name in engines for finding in replay(model, open_engine(name, model.graph, threads=1))
    ]
    return f"sums, and golden vectors on {', '.join(engines)}", findings


def _export(folder: Path, python: str) -> tuple[str, list[str]]:
    from taran_eo.export import replay

    replayed = replay(folder, python=python)
    if replayed.passed:
        return f"sums, and golden vectors: {replayed.said[-1]}", []
    return "sums, and golden vectors", [f"the golden vectors do not come out: {'; '.join(replayed.said)}"]

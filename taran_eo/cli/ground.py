"""``taran-eo ground``: frames in; masks, ships and previews out, and what is missing by name."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from taran_eo.cli.console import complain, print_json, print_table
from taran_eo.cli.options import WireFile, folder, open_wire

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from taran_eo.ground import Landing
    from taran_eo.wire import Reception, Transfer


_SHOWN = 8


def command(
    frames: Annotated[
        list[Path], typer.Argument(exists=True, dir_okay=False, help="Files of frames as a receiver recorded them.")
    ],
    output: Annotated[
        Path,
        typer.Option("-o", "--output", parser=folder, metavar="FOLDER", help="Folder for masks, ships and previews."),
    ],
    wire: WireFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what arrived as JSON.")] = False,
) -> None:
    """Turn received frames into masks, ships and previews; whatever is missing or wrong is told by name."""
    from dataclasses import asdict

    from taran_eo.ground import land
    from taran_eo.wire import receive

    opened = open_wire(wire)
    receptions = [receive(path.read_bytes(), opened.framing, opened.cfdp) for path in frames]
    findings = [line for reception in receptions for line in told(reception)]
    landing = land((file.data for reception in receptions for file in reception.files), output, findings=findings)
    counts = {
        name: sum(asdict(reception.counts)[name] for reception in receptions) for name in asdict(receptions[0].counts)
    }
    if as_json:
        print_json(asdict(landing) | {"counts": counts})
    else:
        tell_missing(landing)
        print_table(counts | table(landing, output))
    if not landing.scenes:
        complain("There is no product in what was received")
    if (
        not landing.scenes
        or not landing.whole
        or any(not file.complete for reception in receptions for file in reception.files)
    ):
        raise typer.Exit(1)


def told(reception: "Reception | Transfer") -> "Iterator[str]":
    """What was wrong with files and frames, a line each."""
    for file in reception.files:
        if not file.complete:
            name = file.name or "of unknown name"
            yield f"file {file.transaction} ({name}) is not complete: {file.why}; {len(file.gaps)} gaps"
    for finding in reception.findings:
        yield f"{finding.kind} at {finding.where}: {finding.what}"


def tell_missing(landing: "Landing") -> None:
    """Tell on standard error what was wrong and what is not there: all is in the report, a screen has room for some."""
    for line in [*landing.findings[:_SHOWN], *_more(landing.findings, "findings")]:
        complain(line)
    missing = [f"missing: {line}" for line in landing.lost]
    missing += [f"missing of {scene.scene}: {line}" for scene in landing.scenes for line in scene.missing]
    for line in [*missing[:_SHOWN], *_more(missing, "that miss something")]:
        complain(line)


def _more(lines: "Sequence[str]", what: str) -> list[str]:
    hidden = len(lines) - _SHOWN
    return [f"and {hidden} more {what}, all in reception.json"] if hidden > 0 else []


def table(landing: "Landing", output: Path) -> dict[str, object]:
    """What landed, for people."""
    whole = sum(not scene.missing for scene in landing.scenes)
    return {
        "scenes": f"{len(landing.scenes)}, {whole} of them whole",
        "ships": sum(scene.ships for scene in landing.scenes),
        "results": output,
    }

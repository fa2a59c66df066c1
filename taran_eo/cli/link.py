"""``taran-eo link``: a run's products over a lossy link, both ends simulated, down to masks on the ground."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from taran_eo.cli.console import complain, print_json, print_table
from taran_eo.cli.ground import table, tell_missing, told
from taran_eo.cli.options import WireFile, folder, open_wire

if TYPE_CHECKING:
    from taran_eo.wire import Account

RECORD = "link.json"


def command(
    sent: Annotated[
        Path, typer.Argument(exists=True, file_okay=False, metavar="OUT", help="Output folder of taran-eo run.")
    ],
    output: Annotated[
        Path,
        typer.Option("-o", "--output", parser=folder, metavar="FOLDER", help="Folder for what the ground then has."),
    ],
    frame_loss: Annotated[float, typer.Option(min=0.0, max=1.0, help="Share of frames that are lost.")] = 0.0,
    bit_errors: Annotated[float, typer.Option(min=0.0, max=1.0, help="Share of bits that are wrong.")] = 0.0,
    uplink_loss: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="Share of frames lost on the way up; as on the way down.")
    ] = None,
    uplink: Annotated[
        bool, typer.Option("--uplink/--no-uplink", help="Ask again for what is missing (CFDP class 2), or cannot.")
    ] = True,
    rate: Annotated[float, typer.Option(help="Mbit/s of the downlink, coding included.")] = 10.0,
    seed: Annotated[int, typer.Option(min=0, help="What is lost depends on this alone.")] = 0,
    wire: WireFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the account as JSON.")] = False,
) -> None:
    """Send what a run has made over a lossy link, receive it, and hold the masks on the ground against those sent."""
    import json
    from dataclasses import asdict

    import numpy as np

    from taran_eo.ground import compare, land
    from taran_eo.onboard import files
    from taran_eo.outputs import writing
    from taran_eo.wire import Channel, exchange, receive, send, transmit

    if not 0 < rate < math.inf:
        raise typer.BadParameter(f"{rate} Mbit/s carries nothing; give a number above 0", param_hint="--rate")
    opened = open_wire(wire)
    rng = np.random.default_rng(seed)
    down = Channel(frame_loss=frame_loss, bit_error_rate=bit_errors)
    record: dict[str, Any] = {"channel": down.model_dump(), "seed": seed, "wire": opened.model_dump(mode="json")}
    if uplink:
        up = Channel(frame_loss=frame_loss if uplink_loss is None else uplink_loss, bit_error_rate=bit_errors)
        transfer = exchange(
            list(files(sent, twice=False)),
            opened.framing,
            down,
            up,
            rng=rng,
            rate_bit_s=rate * 1e6,
            settings=opened.cfdp,
        )
        arrived, findings = transfer.files, list(told(transfer))
        record |= _account(transfer.down) | {"duration_s": transfer.duration_s, "rounds": transfer.rounds}
    else:
        stream = b"".join(send(files(sent, twice=True), opened.framing, opened.cfdp))
        reception = receive(transmit(stream, opened.framing.cadu_bytes, down, rng), opened.framing, opened.cfdp)
        arrived, findings = reception.files, list(told(reception))
        record |= {"wire_bytes": len(stream), "duration_s": 8 * len(stream) / rate / 1e6, "rounds": 0}
    landing = land((file.data for file in arrived), output, findings=findings)
    masks = list(compare(sent, output, landing))
    record |= {"masks": {mask.name: asdict(mask) | {"identical": mask.identical} for mask in masks}}
    with writing(output / RECORD):
        (output / RECORD).write_text(json.dumps(record, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    identical = sum(mask.identical for mask in masks)
    if as_json:
        print_json(record | {"scenes": len(landing.scenes), "missing": {s.scene: s.missing for s in landing.scenes}})
    else:
        tell_missing(landing)
        shown = {name: value for name, value in record.items() if name not in ("channel", "wire", "masks")}
        told_of = f"{identical} of {len(masks)} identical to those sent, by SHA-256" if masks else "none was sent"
        masks_told = {"masks": told_of}
        print_table(shown | table(landing, output) | masks_told)
    if identical < len(masks):
        complain(f"{len(masks) - identical} of {len(masks)} masks on the ground are not those that were sent")
        raise typer.Exit(1)


def _account(down: "Account") -> dict[str, object]:
    from dataclasses import asdict

    share = down.uncoded_bytes / down.file_bytes - 1 if down.file_bytes else 0.0
    return asdict(down) | {"wire_bytes": down.total_bytes, "overhead_before_coding": round(share, 4)}

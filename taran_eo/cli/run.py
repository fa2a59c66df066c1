"""``taran-eo run``: an imagery folder in; masks, ships and downlink products out."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from signal import SIGTERM, default_int_handler, signal
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from taran_eo.cli.console import complain, on_terminal, parse_bands, print_json, print_table
from taran_eo.cli.options import (
    Bands,
    EngineChoice,
    GateFolder,
    Level,
    ModelFolder,
    Threshold,
    WireFile,
    folder,
    open_gate,
    open_wire,
)

if TYPE_CHECKING:
    from taran_eo.onboard import Progress, Sent, Summary


def command(
    imagery: Annotated[
        list[Path], typer.Argument(exists=True, help="Image files, or folders that are searched for them.")
    ],
    output: Annotated[
        Path,
        typer.Option("-o", "--output", parser=folder, metavar="FOLDER", help="Folder for masks, ships and products."),
    ],
    model: ModelFolder = None,
    gate: GateFolder = None,
    engine: EngineChoice = "auto",
    threshold: Threshold = None,
    tile: Annotated[
        int | None,
        typer.Option(
            help="Side of a tile in pixels, what suits the engine if left out; changes memory and speed, and no result "
            "of an integer model."
        ),
    ] = None,
    bands: Bands = None,
    gsd: Annotated[
        float | None, typer.Option(help="Metres a pixel of scenes that do not tell, such as plain JPEGs.")
    ] = None,
    resample: Annotated[
        bool, typer.Option("--resample", help="Bring scenes of another resolution to that of the model.")
    ] = False,
    min_ship_pixels: Annotated[int, typer.Option(min=1, help="Leave smaller ships out of the list.")] = 1,
    level: Annotated[
        Level,
        typer.Option(
            help="How much of a scene goes down: its counts, ships too, the mask too; and of the pixels chips of "
            "ships, ships and surroundings above a coarse sea, or all."
        ),
    ] = "mask",
    codec: Annotated[
        str, typer.Option(help="How pixels that go down are compressed, e.g. jpeg-ls-near-2.")
    ] = "jpeg-ls",
    downlink: Annotated[
        bool, typer.Option("--downlink", help="Put what goes down into frames as well: FOLDER/downlink/frames.bin.")
    ] = False,
    wire: WireFile = None,
    jobs: Annotated[int, typer.Option(min=1, help="Scenes done at the same time.")] = 1,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where an earlier run ended, however it did.")] = False,
    on_error: Annotated[
        Literal["skip", "fail"], typer.Option(help="Skip a scene that cannot be read, or end the run.")
    ] = "skip",
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print nothing but faults and --json.")] = False,
) -> None:
    """Find the ships in a folder of imagery, and pack masks and metadata for the downlink."""
    from taran_eo import onboard
    from taran_eo.model import Model

    opened, settings = Model.open(model), open_wire(wire)
    options = onboard.Options(
        threshold=threshold,
        tile_size=tile,
        bands=parse_bands(bands),
        gsd_m=gsd,
        resample=resample,
        min_ship_pixels=min_ship_pixels,
        level=level,
        codec=codec,
    )
    signal(SIGTERM, default_int_handler)  # whoever stops a service gets the same orderly end as with Ctrl-C
    try:
        with _watch(shown=on_terminal() and not quiet) as progress:
            summary = onboard.run(
                imagery,
                output,
                opened,
                gate=open_gate(gate, opened, quiet=quiet),
                engine=engine,
                options=options,
                jobs=jobs,
                resume=resume,
                on_error=on_error,
                progress=progress,
            )
    except KeyboardInterrupt:
        complain("Interrupted. What was finished is kept; --resume goes on from there")
        raise typer.Exit(130) from None
    sent = onboard.write_frames(output, settings) if downlink and summary.scenes else None
    if as_json:
        print_json(summary.to_dict() | ({} if sent is None else {"downlink": asdict(sent)}))
    else:
        for warning in () if quiet else summary.warnings:
            complain(warning)
        for skipped in summary.skipped:
            complain(f"skipped {skipped.reason}")
        if not quiet:
            print_table(_told(summary, output) | ({} if sent is None else _sent(sent)))
    if summary.skipped:
        raise typer.Exit(1)


@contextmanager
def _watch(*, shown: bool) -> Iterator["Callable[[Progress], None] | None"]:
    """A progress bar for a person, nothing for a log file."""
    if not shown:
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("scenes", total=None)

        def advance(progress: "Progress") -> None:
            name = Path(progress.file).name
            told = f"{name}, {progress.tiles_done} tiles" if progress.tiles_done is not None else name
            bar.update(task, completed=progress.scenes_done, total=progress.scenes, description=told)

        yield advance


def _sent(sent: "Sent") -> dict[str, object]:
    return {"frames": f"{sent.wire_bytes:,} bytes for {sent.file_bytes:,} of products, in {sent.path}"}


def _told(summary: "Summary", output: Path) -> dict[str, object]:
    ratio = "-" if summary.ratio is None else f"{summary.ratio:,.0f} times less"
    resumed = f" ({summary.resumed} from an earlier run)" if summary.resumed else ""
    memory = "-" if summary.peak_rss_mib is None else f"{summary.peak_rss_mib:,.0f} MiB"
    return {
        "scenes": f"{summary.scenes}{resumed}, {len(summary.skipped)} skipped",
        "tiles": summary.tiles,
        "ships": summary.ships,
        "pixels in": f"{summary.bytes_in:,} bytes",
        "products out": f"{summary.bytes_out:,} bytes, {ratio}",
        "time": f"{summary.seconds:.1f} s, {summary.tiles_per_s:.2f} tiles a second",
        "memory": memory,
        "results": output,
    }

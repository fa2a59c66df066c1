"""``taran-eo bench``: how fast a model runs on this machine."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from taran_eo.cli.console import complain, on_terminal, parse_size, print_json, tell

if TYPE_CHECKING:
    from taran_eo.bench import Bench


def command(
    model: Annotated[
        Path | None, typer.Argument(exists=True, file_okay=False, help="Model folder; the default model if left out.")
    ] = None,
    size: Annotated[str, typer.Option(metavar="ROWSxCOLS", help="Size of the tile.")] = "768x768",
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of each; all cores if left out.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="How often each runs, in turns.")] = 7,
    engines: Annotated[
        str | None, typer.Option(metavar="NAMES", help="Which, e.g. native,openvino_int8; all that are installed.")
    ] = None,
    watts: Annotated[
        float | None, typer.Option(min=0.0, help="Power of this machine under load; energies follow from it.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Time a model on this machine: our engines, and other runtimes that are installed, in turns.

    Beside them stand the peak of this processor, measured in the same run, and the share of it that each reaches. Only
    ours compute the model's very integers; the others run the network behind it.
    """
    from taran_eo.bench import CONTENDERS, measure
    from taran_eo.model import Model
    from taran_eo.provenance import cores

    result = measure(
        Model.open(model),
        size=parse_size(size),
        threads=cores() if threads is None else threads,
        rounds=rounds,
        names=None if engines is None else engines.split(","),
        watts=watts,
        tell=(lambda what: typer.echo(f"\r{what:<40}", nl=False, err=True)) if on_terminal() else None,
    )
    if on_terminal():
        typer.echo("\r", nl=False, err=True)
    if as_json:
        print_json(result.to_dict())
    else:
        for line in table(result):
            tell(line)
    wrong = [each.name for each in CONTENDERS if each.ours and each.name in result.engines]
    wrong = [name for name in wrong if not result.engines[name].exact]
    if wrong:
        complain(f"{', '.join(wrong)} gave other logits than the model's. Report it with the model")
        raise typer.Exit(1)


def table(result: "Bench") -> list[str]:
    """The comparison as lines of text."""
    from taran_eo.bench import SWATH_KM

    name, first = next(iter(result.engines.items()))
    peak = "" if result.peak_gmac_s is None else f", peak {result.peak_gmac_s:.0f} GMAC/s a core ({result.kernels})"
    lines = [
        f"{result.model}, {result.rows} x {result.cols}, {result.gmac:.2f} GMAC, threads: {result.threads}",
        f"{result.cpu}{peak}",
        f"{'':20} {'computes':12}  tiles/s  GMAC/s  of peak    time  start s    MiB exact",
    ]
    for each, row in result.engines.items():
        share = "" if row.peak_share is None else f"{row.peak_share:.0%}"
        memory = "" if row.peak_rss_mib is None else f"{row.peak_rss_mib:.0f}"
        lines.append(
            f"{each:20} {row.what:12} {row.tiles_per_s:8.2f} {row.gmac_s:7.1f} {share:>8} "
            f"{first.tiles_per_s / row.tiles_per_s:7.2f} {row.start_s:8.1f} {memory:>6} {'yes' if row.exact else '-'}"
        )
    reached = result.coverage(first)
    energy = "" if result.watts is None else f", {reached['joule_per_km2']:.2f} J a km2 at the {result.watts:g} W told"
    return [
        *lines,
        f"{name}: {reached['km2_per_s']:.1f} km2 a second at {result.gsd_m:g} m{energy}; keeps up with a pushbroom of "
        f"{SWATH_KM:.0f} km that images {reached['pushbroom_duty']:.1%} of the time",
    ]

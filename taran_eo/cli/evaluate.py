"""``taran-eo evaluate``: scores on labelled imagery, each with its interval."""

from pathlib import Path
from typing import Annotated, Any

import typer

from taran_eo.cli.console import complain, on_terminal, parse_bands, print_json, print_table
from taran_eo.cli.options import Bands, EngineChoice, ModelFolder, Threshold


def command(
    images: Annotated[Path, typer.Option(exists=True, file_okay=False, help="Folder of images.")],
    masks: Annotated[
        Path,
        typer.Option(exists=True, dir_okay=False, help="CSV with ImageId, EncodedPixels and optionally width, height."),
    ],
    model: ModelFolder = None,
    engine: EngineChoice = "auto",
    threshold: Threshold = None,
    bands: Bands = None,
    gsd: Annotated[float | None, typer.Option(help="Metres a pixel of images that do not tell; the model's.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the bootstrap.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Score a model on images with known ships: overlap, Kaggle F2, recall by length, false alarms.

    Beside each score stands its 95 % bootstrap interval over the images, and beside F2 what an answer without any
    ship would score.
    """
    import numpy as np

    from taran_eo.engines import open_engine
    from taran_eo.evaluation import answers, evaluate
    from taran_eo.imagery import read_labels
    from taran_eo.metrics import aggregate
    from taran_eo.model import Model
    from taran_eo.onboard import Decision
    from taran_eo.provenance import cores

    opened = Model.open(model)
    graph = opened.graph
    decision = Decision.of(opened.threshold if threshold is None else threshold, graph.logit_scale)
    runner = open_engine(engine, graph, threads=cores())
    labelled = read_labels(images, masks)
    warnings: list[str] = []
    found = answers(
        labelled,
        lambda pixels: runner.run(pixels)[0] >= decision.threshold,
        opened.contract,
        halo=graph.halo,
        alignment=graph.alignment,
        bands=parse_bands(bands),
        gsd_m=gsd,
        warn=warnings.append,
    )
    tiles = evaluate(
        found,
        (lambda done: typer.echo(f"\r{done} of {len(labelled)}", nl=False, err=True)) if on_terminal() else None,
    )
    scores = aggregate(tiles, rng=np.random.default_rng(seed)).to_dict()
    if on_terminal():
        typer.echo("\r", nl=False, err=True)
    for warning in dict.fromkeys(warnings):
        complain(warning)
    if as_json:
        print_json({"model": opened.name, "digest": graph.digest, **scores})
    else:
        print_table(_told(scores))


def _told(scores: dict[str, Any]) -> dict[str, object]:
    """The scores for a reader: four digits, each with its interval, a line for each length of ship."""
    by_length = scores.pop("ship_recall_by_length_m")
    rows: dict[str, object] = {name: _rounded(value) for name, value in scores.items() if not name.endswith("_ci")}
    for name in rows:
        if interval := scores.get(f"{name}_ci"):
            rows[name] = f"{rows[name]}  ({' to '.join(map(_rounded, interval))})"
    return rows | {f"ships {name} m": f"{each['found']} of {each['ships']} found" for name, each in by_length.items()}


def _rounded(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)

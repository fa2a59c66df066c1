"""``taran-eo evaluate``: scores on labelled imagery, each with its interval."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from taran_eo.cli.console import complain, on_terminal, parse_bands, print_json, print_table
from taran_eo.cli.options import Bands, EngineChoice, GateFolder, ModelFolder, Threshold, open_gate

if TYPE_CHECKING:
    from taran_eo.metrics import TileScore

T = TypeVar("T")


def command(
    images: Annotated[Path, typer.Option(exists=True, file_okay=False, help="Folder of images.")],
    masks: Annotated[
        Path,
        typer.Option(exists=True, dir_okay=False, help="CSV with ImageId, EncodedPixels and optionally width, height."),
    ],
    model: ModelFolder = None,
    gate: GateFolder = None,
    engine: EngineChoice = "auto",
    threshold: Threshold = None,
    bands: Bands = None,
    gsd: Annotated[float | None, typer.Option(help="Metres a pixel of images that do not tell; the model's.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the bootstrap.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Score a model on images with known ships: overlap, Kaggle F2, recall by length, false alarms.

    Beside each score stands its 95 % bootstrap interval over the images, and beside F2 what an answer without any
    ship would score. The scores are those of the model by itself; what a gate loses and spares is told below them.
    """
    import numpy as np

    from taran_eo.engines import open_engine
    from taran_eo.evaluation import answers, evaluate_gate, score, ships_by
    from taran_eo.gate import Gate, check_model
    from taran_eo.imagery import read_labels
    from taran_eo.metrics import aggregate, aggregate_gate
    from taran_eo.model import Model
    from taran_eo.onboard import Decision
    from taran_eo.provenance import cores

    opened = Model.open(model)
    check_model(opened)
    graph = opened.graph
    decision = Decision.of(opened.threshold if threshold is None else threshold, graph.logit_scale)
    predict = ships_by(open_engine(engine, graph, threads=cores()), decision.threshold)
    labelled = read_labels(images, masks)
    warnings: list[str] = []
    read: dict[str, Any] = {"bands": parse_bands(bands), "gsd_m": gsd, "warn": warnings.append}

    def scored(tiles: "Iterable[TileScore]") -> dict[str, Any]:
        return aggregate(list(tiles), rng=np.random.default_rng(seed)).to_dict()

    opened_gate, behind = open_gate(gate, opened), None
    if opened_gate is None:
        found = answers(labelled, predict, opened.contract, halo=graph.halo, alignment=graph.alignment, **read)
        scores = scored(map(score, _watched(found, len(labelled))))
    else:
        guard = Gate(opened_gate.graph, opened_gate.threshold, open_engine(engine, opened_gate.graph, threads=cores()))
        left = evaluate_gate(labelled, predict, graph, guard, opened.contract, **read)
        tiles = list(_watched(left, len(labelled)))
        scores = scored(tile.dense for tile in tiles)
        behind = {
            "name": opened_gate.name,
            "digest": guard.graph.digest,
            "threshold": opened_gate.threshold,
            **aggregate_gate([tile.gate for tile in tiles]).to_dict(),
            "scores": scored(tile.gated for tile in tiles),
        }
    if on_terminal():
        typer.echo("\r", nl=False, err=True)
    for warning in dict.fromkeys(warnings):
        complain(warning)
    if as_json:
        print_json({"model": opened.name, "digest": graph.digest, **scores, "gate": behind})
    else:
        print_table(_told(scores) | ({} if behind is None else _gate_told(behind)))


def _watched(items: Iterable[T], count: int) -> Iterator[T]:
    """The same items, counted before the eyes of whoever sits at a terminal."""
    for done, item in enumerate(items, start=1):
        if on_terminal():
            typer.echo(f"\r{done} of {count}", nl=False, err=True)
        yield item


def _told(scores: dict[str, Any]) -> dict[str, object]:
    """The scores for a reader: four digits, each with its interval, a line for each length of ship."""
    by_length = scores.pop("ship_recall_by_length_m")
    rows: dict[str, object] = {name: _rounded(value) for name, value in scores.items() if not name.endswith("_ci")}
    for name in rows:
        if interval := scores.get(f"{name}_ci"):
            rows[name] = f"{rows[name]}  ({' to '.join(map(_rounded, interval))})"
    return rows | {f"ships {name} m": f"{each['found']} of {each['ships']} found" for name, each in by_length.items()}


def _gate_told(behind: dict[str, Any]) -> dict[str, object]:
    """What a gate loses and spares, for a reader."""
    scores, at_most = behind["scores"], behind["large_ships_unseen_at_most"]
    bound = "" if at_most is None else f"  (with a confidence of 95 % at most {at_most:.1%})"
    return {
        "gate": behind["name"],
        "gate: multiplications": f"{behind['work']:.1%} of those without it",
        "gate: area that passes": f"{behind['passed_area']:.1%}",
        "gate: empty tiles that pass": f"{behind['passed_empty_tiles']} of {behind['empty_tiles']}",
        "gate: ships unseen": f"{behind['ships_unseen']} of {behind['ships']}",
        "gate: ships above 100 pixels unseen": f"{behind['large_ships_unseen']} of {behind['large_ships']}{bound}",
        **{f"gate: {name}": _rounded(scores[name]) for name in ("iou", "f2", "ship_recall", "large_ship_recall")},
    }


def _rounded(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)

"""What the card of a model says: figures from its graph and its scores, none by hand."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from taran_eo.graph import Graph
from taran_eo.metrics import LENGTH_BIN_NAMES, GateScores, Scores


@dataclass(frozen=True)
class GateReport:
    """What a gate does to a set of tiles.

    Attributes:
        model: Name of the model behind it.
        gate: What it lets pass.
        without: Scores of the model by itself.
        behind: Those of what is left of its answer behind the gate.
    """

    model: str
    gate: GateScores
    without: Scores
    behind: Scores

    def __str__(self) -> str:
        return (
            f"work {self.gate.work:.3f}, {self.gate.large_ships_unseen} of {self.gate.large_ships} large ships unseen, "
            f"IoU {self.without.iou} without and {self.behind.iou} behind the gate"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        scores = {"without": self.without.to_dict(), "behind": self.behind.to_dict()}
        return {"model": self.model, **self.gate.to_dict(), **scores}


def _facts(graph: Graph) -> list[str]:
    return [
        "| | |",
        "| --- | --- |",
        f"| weights | {', '.join(graph.weight_formats)} |",
        f"| activations | {', '.join(graph.activation_formats)} |",
        f"| parameters | {graph.parameters:,} |",
        f"| multiplications a 768 x 768 tile | {graph.macs(768, 768) / 1e9:{'.1f' if graph.level == 0 else '.2f'}} G |",
        f"| radius of the receptive field, halo of a tile | {graph.reach}, {graph.halo} pixels |",
        f"| digest | `{graph.digest}` |",
    ]


def model_card(graph: Graph, threshold: float, scores: Mapping[str, Scores]) -> list[str]:
    """What the card of a model says of it; every figure in its tables comes from `scores` and `graph`."""
    return [
        "Segments ships in optical satellite imagery: 8-bit red, green, blue of 1.5 m in, one logit a pixel out.",
        "",
        *_facts(graph),
        "",
        "## Scores",
        "",
        f"At a threshold of {threshold:g}, with 95 % bootstrap intervals over the tiles, none of which was trained on.",
        "A ship is found by a component with an IoU above 0.3; a large one has more than 100 pixels; f2 is the",
        "Kaggle score, and baseline_empty that of an answer without any ship.",
        "",
        *_table(scores),
    ]


def gate_card(graph: Graph, threshold: float, reports: Mapping[str, GateReport]) -> list[str]:
    """What the card of a gate says of it; every figure in its tables comes from `reports` and `graph`."""
    model = next(iter(reports.values())).model
    side = 1 << graph.level
    return [
        f"Says of each cell of {side} x {side} pixels whether a ship may be there, so that a model runs nowhere else:",
        "8-bit red, green, blue of 1.5 m in, one logit a cell out.",
        "",
        *_facts(graph),
        "",
        "## What it loses and what it spares",
        "",
        f"At a threshold of {threshold:g}, with {model} behind it. A ship is unseen where less than half of",
        'its pixels pass; "at most" is the share that is not exceeded with a confidence of 95 %, as far as so few',
        "ships can tell (of none in n it is about 3 / n). Work is the multiplications of gate and model as a share of",
        "those of the model alone. None of the tiles was trained on. The worst case is a scene of which everything",
        "passes, as a harbour may: then nothing is spared, and the gate's own multiplications come on top.",
        "",
        *_gate_table(reports),
    ]


def _gate_table(reports: Mapping[str, GateReport]) -> list[str]:
    def row(name: str, tell: Callable[[GateReport], object]) -> str:
        return f"| {name} | {' | '.join(str(tell(each)) for each in reports.values())} |"

    def share(value: float | None) -> str:
        return "-" if value is None else f"{value:.3f}"

    return [
        f"| | {' | '.join(reports)} |",
        f"| --- |{' --- |' * len(reports)}",
        row("tiles, of them empty", lambda each: f"{each.gate.tiles}, {each.gate.empty_tiles}"),
        row("ships above 100 pixels unseen", lambda each: f"{each.gate.large_ships_unseen} of {each.gate.large_ships}"),
        row("at most", lambda each: share(each.gate.large_ships_unseen_at_most)),
        row("ships unseen", lambda each: f"{each.gate.ships_unseen} of {each.gate.ships}"),
        row("work", lambda each: share(each.gate.work)),
        row("work, empty tiles", lambda each: share(each.gate.work_empty)),
        row("work, tiles with ships", lambda each: share(each.gate.work_with_ships)),
        row(
            "empty tiles of which anything passes",
            lambda each: f"{each.gate.passed_empty_tiles} of {each.gate.empty_tiles}",
        ),
        *(
            row(f"{name}, {how}", lambda each, name=name, how=how: getattr(getattr(each, how), name))  # type: ignore[misc]
            for name in ("iou", "f2", "ship_recall", "large_ship_recall", "false_alarms_per_km2")
            for how in ("without", "behind")
        ),
    ]


def _table(scores: Mapping[str, Scores]) -> list[str]:
    names = ["iou", "dice", "precision", "recall", "f2", "baseline_empty", "ship_recall"]
    names += ["large_ship_recall", "false_alarms_per_km2"]
    rows = {name: [str(getattr(each, name)) for each in scores.values()] for name in names}
    rows["tiles, ships"] = [f"{each.tiles}, {sum(each.ships)}" for each in scores.values()]
    for place, length in enumerate(LENGTH_BIN_NAMES):
        rows[f"ships found, {length} m"] = [f"{each.found[place]} of {each.ships[place]}" for each in scores.values()]
    head = [f"| | {' | '.join(scores)} |", f"| --- |{' --- |' * len(scores)}"]
    return head + [f"| {name} | {' | '.join(cells)} |" for name, cells in rows.items()]

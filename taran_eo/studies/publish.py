"""From a trained graph to the model folder that people fly: card, golden vectors, checksums."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taran_eo.graph import Graph
from taran_eo.imagery import Contract, synthesize
from taran_eo.metrics import LENGTH_BIN_NAMES, Scores
from taran_eo.model import Model, save

CONTRACT = Contract(bands=("red", "green", "blue"))
GOLDEN_SIZE = 128
GOLDEN_TILES = 4


def golden_pixels(seed: int) -> NDArray[np.uint8]:
    """Tiles that exercise a graph: three of a synthetic scene, and one of noise that reaches every saturation.

    Returns:
        ``uint8[4, 3, 128, 128]``.
    """
    rng = np.random.default_rng(seed)
    scene = synthesize(GOLDEN_SIZE, GOLDEN_SIZE * (GOLDEN_TILES - 1), rng=rng, ships=12, swath_edge=False)
    tiles = np.split(scene.image.transpose(2, 0, 1), GOLDEN_TILES - 1, axis=2)
    noise = rng.integers(0, 256, (3, GOLDEN_SIZE, GOLDEN_SIZE), dtype=np.uint8)
    return np.stack([*tiles, noise])


def publish(
    folder: Path,
    graph: Graph,
    weights: Mapping[str, NDArray[Any]] | None,
    *,
    version: str,
    threshold: float,
    golden_seed: int,
    scores: Mapping[str, Scores],
    facts: Mapping[str, object],
    notes: str,
) -> Model:
    """Write a model folder for a graph of one ship class.

    Args:
        folder: Where to; a model that is there is replaced.
        graph: The program.
        weights: The float master, for those who quantize it; None leaves it out.
        version: Version of the model.
        threshold: Probability from which a pixel is a ship.
        golden_seed: Seed of the golden tiles.
        scores: Scores on sets that the model was not trained on, by name of the set.
        facts: Provenance, for the end of the card.
        notes: Markdown between the tables and the provenance: data, known failures.
    """
    return save(
        folder,
        name=graph.name,
        version=version,
        task="ship segmentation",
        graph=graph,
        contract=CONTRACT,
        classes=("sea", "ship"),
        threshold=threshold,
        golden_pixels=golden_pixels(golden_seed),
        card=card(graph, version, threshold, scores, facts, notes),
        weights=weights,
        overwrite=True,
    )


def card(
    graph: Graph, version: str, threshold: float, scores: Mapping[str, Scores], facts: Mapping[str, object], notes: str
) -> str:
    """The model card in Markdown; every figure in its tables comes from `scores` and `graph`."""
    lines = [
        f"# {graph.name} {version}",
        "",
        "Segments ships in optical satellite imagery: 8-bit red, green, blue of 1.5 m in, one logit a pixel out.",
        "",
        "| | |",
        "| --- | --- |",
        f"| weights | {', '.join(graph.weight_formats)} |",
        f"| activations | {', '.join(graph.activation_formats)} |",
        f"| parameters | {graph.parameters:,} |",
        f"| multiplications a 768 x 768 tile | {graph.macs(768, 768) / 1e9:.1f} G |",
        f"| radius of the receptive field, halo of a tile | {graph.reach}, {graph.halo} pixels |",
        f"| digest | `{graph.digest}` |",
        "",
        "## Scores",
        "",
        f"At a threshold of {threshold:g}, with 95 % bootstrap intervals over the tiles, none of which was trained on.",
        "A ship is found by a component with an IoU above 0.3; a large one has more than 100 pixels; f2 is the",
        "Kaggle score, and baseline_empty that of an answer without any ship.",
        "",
        *_table(scores),
        "",
        notes.strip(),
        "",
        "## Provenance",
        "",
        "```json",
        json.dumps(facts, indent=1, default=str),
        "```",
    ]
    return "\n".join(lines) + "\n"


def _table(scores: Mapping[str, Scores]) -> list[str]:
    names = ["iou", "dice", "precision", "recall", "f2", "baseline_empty", "ship_recall"]
    names += ["large_ship_recall", "false_alarms_per_km2"]
    rows = {name: [str(getattr(each, name)) for each in scores.values()] for name in names}
    rows["tiles, ships"] = [f"{each.tiles}, {sum(each.ships)}" for each in scores.values()]
    for place, length in enumerate(LENGTH_BIN_NAMES):
        rows[f"ships found, {length} m"] = [f"{each.found[place]} of {each.ships[place]}" for each in scores.values()]
    head = [f"| | {' | '.join(scores)} |", f"| --- |{' --- |' * len(scores)}"]
    return head + [f"| {name} | {' | '.join(cells)} |" for name, cells in rows.items()]

"""From a trained graph to the model folder that people fly: card, golden vectors, checksums."""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from taran_eo.engines import open_engine
from taran_eo.evaluation import evaluate_gate, ships_by
from taran_eo.gate import Gate
from taran_eo.graph import Graph, logit_at
from taran_eo.imagery import Contract, LabelledImage
from taran_eo.imagery.synthetic import synthesize
from taran_eo.metrics import Scores, aggregate, aggregate_gate
from taran_eo.model import Model, save
from taran_eo.provenance import cores
from taran_eo.studies.card import GateReport, gate_card, model_card

if TYPE_CHECKING:
    from taran_eo.train import Publication

CONTRACT = Contract(bands=("red", "green", "blue"))
GOLDEN_SIZE = 128
GOLDEN_TILES = 4


def report_gate(graph: Graph, threshold: float, images: Sequence[LabelledImage]) -> GateReport:
    """What a gate does to labelled images, with the default model behind it.

    Args:
        graph: The gate.
        threshold: Probability from which a cell passes.
        images: None that it was trained on.
    """
    model = Model.open()
    engine = open_engine("auto", model.graph, threads=cores())
    predict = ships_by(engine, logit_at(model.threshold, model.graph.logit_scale))
    gate = Gate(graph, threshold, open_engine("auto", graph, threads=cores()))
    tiles = list(evaluate_gate(images, predict, model.graph, gate, model.contract))
    without, behind = (
        aggregate(each, rng=np.random.default_rng(0))
        for each in ([tile.dense for tile in tiles], [tile.gated for tile in tiles])
    )
    return GateReport(model.name, aggregate_gate([tile.gate for tile in tiles]), without, behind)


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
    publication: "Publication",
    graph: Graph,
    weights: Mapping[str, NDArray[Any]] | None,
    *,
    scores: Mapping[str, Scores] | Mapping[str, GateReport],
    facts: Mapping[str, object],
) -> Model:
    """Write a model folder for a graph of one ship class, or for a gate.

    Args:
        publication: What the recipe says; a model that is in its folder is replaced.
        graph: The program.
        weights: The float master, for those who quantize it; None leaves it out.
        scores: Scores on sets that the model was not trained on, by name of the set; of a gate, what it does there, on
            at least one.
        facts: Provenance, for the end of the card.
    """
    notes = "" if publication.notes is None else publication.notes.read_text(encoding="utf-8")
    gates = {name: each for name, each in scores.items() if isinstance(each, GateReport)}
    models = {name: each for name, each in scores.items() if isinstance(each, Scores)}
    threshold = publication.threshold
    body = gate_card(graph, threshold, gates) if graph.level else model_card(graph, threshold, models)
    lines = [f"# {graph.name} {publication.version}", "", *body, "", notes.strip(), "", "## Provenance", ""]
    lines += ["```json", json.dumps(facts, indent=1, default=str), "```"]
    return save(
        publication.folder,
        name=graph.name,
        version=publication.version,
        task="ship segmentation" if graph.level == 0 else "ship gate",
        graph=graph,
        contract=CONTRACT,
        classes=("sea", "ship"),
        threshold=publication.threshold,
        golden_pixels=golden_pixels(publication.golden),
        card="\n".join(lines) + "\n",
        weights=weights,
        overwrite=True,
    )

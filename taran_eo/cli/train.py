"""``taran-eo train``: a recipe in; weights, scores and, where it asks for one, a model folder out."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from taran_eo.cli.options import folder
from taran_eo.cli.training import need_torch, watch

if TYPE_CHECKING:
    from taran_eo.metrics import Accuracy, Scores
    from taran_eo.studies.card import GateReport
    from taran_eo.train import Recipe, Trained

RESULT = "result.json"


def command(
    file: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="The recipe, e.g. pipelines/train_thin_unet32.toml.")
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", parser=folder, metavar="FOLDER", help="For what it leaves; runs/NAME if left out."
        ),
    ] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="Change the file, e.g. --set schedule.steps=100.")
    ] = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="Begin anew instead of going on from a checkpoint.")
    ] = False,
) -> None:
    """Train a network as a recipe says; killed and called again, it goes on where it was.

    Leaves the log (CSV and TensorBoard), a checkpoint, the weights and result.json in the folder of the run; of classes
    of pictures also right.npz, which tells of each scored picture whether it was given its class.
    """
    from taran_eo.config import load_toml

    need_torch()
    from taran_eo.studies.pictures import RIGHT, score_pictures, scored_set
    from taran_eo.train import Recipe, carry_out

    recipe = load_toml(file, Recipe, changes or ())
    place = Path("runs") / recipe.name if output is None else output
    if restart:
        for name in (RESULT, RIGHT):
            (place / name).unlink(missing_ok=True)  # it is of other weights than those to come
    with watch() as begun:
        trained = carry_out(recipe, place, begun(recipe.name), resume=not restart)
    facts = {"recipe": file.name, **trained.provenance().to_dict(), "held_out": _held_out(recipe)}
    if recipe.images is not None:
        _write(place, recipe, {scored_set(recipe.images): score_pictures(trained, recipe.images, place)}, facts)
        return
    scores = _scores(trained, recipe)
    _write(place, recipe, scores, facts)
    if recipe.publication is not None and trained.graph is not None:
        from taran_eo.studies.publish import publish

        # The master is what others are quantized from; of a quantized network, the graph holds everything.
        weights = trained.weights() if recipe.quantization is None else None
        model = publish(recipe.publication, trained.graph, weights, scores=scores, facts=facts)
        typer.echo(f"{model.path}: {model.name} {model.version}")


def _held_out(recipe: "Recipe") -> dict[str, str]:
    """SHA-256 of what a network is scored on, by path."""
    from taran_eo.provenance import sha256_file
    from taran_eo.studies.pictures import scored_digest

    if recipe.images is not None:
        return scored_digest(recipe.images)
    return {str(held.masks): sha256_file(held.masks) for held in recipe.held_out}


def _write(
    place: Path,
    recipe: "Recipe",
    scores: "Mapping[str, Accuracy] | Mapping[str, Scores] | Mapping[str, GateReport]",
    facts: Mapping[str, object],
) -> None:
    result = {
        "recipe": recipe.model_dump(mode="json", exclude_none=True, exclude={"publication"}),
        "scores": {name: score.to_dict() for name, score in scores.items()},
        "provenance": facts,
    }
    (place / RESULT).write_text(json.dumps(result, indent=1) + "\n")
    for name, score in scores.items():
        typer.echo(f"{name}: {score}")


def _scores(trained: "Trained", recipe: "Recipe") -> "dict[str, Scores] | dict[str, GateReport]":
    import numpy as np

    from taran_eo.imagery import read_labels
    from taran_eo.metrics import aggregate
    from taran_eo.studies.part import predictions, scores_of
    from taran_eo.studies.publish import report_gate

    threshold = 0.5 if recipe.publication is None else recipe.publication.threshold
    sets = {
        held.name: [
            image
            for image in read_labels(held.images, held.masks)
            if not held.only or any(image.path.match(pattern) for pattern in held.only)
        ]
        for held in recipe.held_out
    }
    if recipe.network.gate and trained.graph is not None:
        return {name: report_gate(trained.graph, threshold, images) for name, images in sets.items()}
    return {
        name: aggregate(
            [one for answer in predictions(trained, images) for one in scores_of(answer, (threshold,))],
            rng=np.random.default_rng(0),
        )
        for name, images in sets.items()
    }

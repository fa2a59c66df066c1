"""``taran-eo train``: a recipe in; weights, scores and, for a quantized recipe, a model folder out."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from taran_eo.cli.console import on_terminal

if TYPE_CHECKING:
    from taran_eo.metrics import Scores
    from taran_eo.train import Progress, Recipe, Trained

EVERY = 200
"""Without a terminal, a line is printed every so many steps."""


def command(
    file: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="The recipe, e.g. pipelines/train_thin_unet32.toml.")
    ],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder of the run; runs/NAME if left out.")
    ] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="Change the recipe, e.g. --set schedule.steps=100.")
    ] = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="Begin anew instead of going on from a checkpoint.")
    ] = False,
) -> None:
    """Train a network as a recipe says; killed and called again, it goes on where it was.

    Leaves the log (CSV and TensorBoard), a checkpoint, the weights and result.json in the folder of the run.
    """
    from importlib.util import find_spec

    from taran_eo.config import load_toml
    from taran_eo.errors import MissingExtraError

    if find_spec("torch") is None:
        raise MissingExtraError.of("train,smp", "torch")
    from taran_eo.train import Recipe, carry_out

    recipe = load_toml(file, Recipe, changes or ())
    folder = Path("runs") / recipe.name if output is None else output
    with _watch(recipe.name) as report:
        trained = carry_out(recipe, folder, report, resume=not restart)
    scores = _scores(trained, recipe)
    facts = _facts(recipe, file)
    result = {"scores": {name: score.to_dict() for name, score in scores.items()}, "provenance": facts}
    (folder / "result.json").write_text(json.dumps(result, indent=1, default=str) + "\n")
    for name, score in scores.items():
        typer.echo(f"{name}: IoU {score.iou.value:.4f} {score.iou.ci}")
    if trained.graph is not None and recipe.quantization is not None and recipe.publication is not None:
        from safetensors.numpy import load_file

        from taran_eo.studies.publish import publish

        model = publish(
            recipe.publication.folder,
            trained.graph,
            load_file(recipe.quantization.start),
            version=recipe.publication.version,
            golden_seed=recipe.publication.golden,
            scores=scores,
            facts=facts,
            notes=recipe.publication.notes,
        )
        typer.echo(f"{model.path}: {model.name} {model.version}")


def _scores(trained: "Trained", recipe: "Recipe") -> "dict[str, Scores]":
    import numpy as np

    from taran_eo.evaluation import evaluate
    from taran_eo.imagery import read_labels
    from taran_eo.studies.publish import CONTRACT

    halo, alignment = trained.margins()
    return {
        held.name: evaluate(
            read_labels(held.images, held.masks),
            trained.predict,
            CONTRACT,
            halo=halo,
            alignment=alignment,
            rng=np.random.default_rng(0),
        )
        for held in recipe.held_out
    }


def _facts(recipe: "Recipe", file: Path) -> dict[str, object]:
    from taran_eo.provenance import Provenance, environment, sha256_file

    files = {source.masks for source in recipe.source}
    if recipe.quantization is not None:
        files.add(recipe.quantization.start)
    made = Provenance(
        environment(),
        config_sha256=recipe.digest(),
        seed=recipe.seed,
        inputs={str(path): sha256_file(path) for path in sorted(files)},
    )
    return {"recipe": file.name, **made.to_dict()}


@contextmanager
def _watch(name: str) -> Iterator["Callable[[Progress], None]"]:
    """A progress bar on a terminal, now and then a line otherwise."""
    if not on_terminal():

        def line(done: "Progress") -> None:
            if done.step % EVERY == 0 or done.step == done.steps:
                typer.echo(f"{name}: step {done.step} of {done.steps}, loss {done.loss:.4f}", err=True)

        yield line
        return
    from rich.console import Console
    from rich.progress import Progress as Bar

    with Bar(console=Console(stderr=True)) as bar:
        task = bar.add_task(name, total=None)

        def advance(done: "Progress") -> None:
            bar.update(task, completed=done.step, total=done.steps, description=f"{name} loss {done.loss:.3f}")

        yield advance

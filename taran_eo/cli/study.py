"""``taran-eo study``: a question over many training runs in; scores with intervals out."""

from pathlib import Path
from typing import Annotated

import typer

from taran_eo.cli.console import tell
from taran_eo.cli.options import folder
from taran_eo.cli.training import need_torch, watch
from taran_eo.errors import ConfigError


def command(
    file: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="The study, e.g. pipelines/study_formats.toml.")
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            parser=folder,
            metavar="FOLDER",
            help="For runs and tables; if left out, where the study says.",
        ),
    ] = None,
    changes: Annotated[list[str] | None, typer.Option("--set", help="Change the file, e.g. --set seeds=[0].")] = None,
    only: Annotated[
        str,
        typer.Option(
            metavar="PATTERN",
            help="Carry out these cells, e.g. 'fold_0/seed_0/e2m1_qat', and what they build on; tell what is there.",
        ),
    ] = "*",
    only_tell: Annotated[
        bool, typer.Option("--tell", help="Train nothing; write the tables of what is there so far.")
    ] = False,
) -> None:
    """Cross-validate: each labelled tile is scored by networks that were trained without it.

    Killed and called again, it goes on where it was. Leaves every run in its folder, and tables (JSON, CSV, Markdown),
    the scores of each tile and plots.
    """
    from taran_eo.config import load_toml

    need_torch()
    from taran_eo.studies.plots import plot_curve, plot_losses
    from taran_eo.studies.result import save
    from taran_eo.studies.run import run
    from taran_eo.studies.study import FoldStudy
    from taran_eo.studies.tables import write

    study = load_toml(file, FoldStudy, changes or ())
    runs = output or study.runs or Path("runs") / study.name
    with watch() as begun:
        answer = run(study, runs, begun, only="" if only_tell else only)
    if not any(row.scores is not None or row.diverged for row in answer.rows):
        raise ConfigError(
            f"No network of {file} is in {runs} yet", remedy="Leave out --tell, or widen --only", path=runs
        )
    prefix = runs / "result" if output is not None or study.results is None else study.results
    save(answer, study, prefix)
    table, points = write(answer, study, prefix)
    plot_losses(study, table, prefix.with_suffix(".png"))
    plot_curve(points, prefix.with_name(prefix.name + "_curve.png"))
    for row in answer.rows:
        if row.scores is not None or row.diverged:
            tell(f"{row.name}: IoU {'diverged' if row.scores is None else row.scores.iou}")
        if row.comparison is not None:
            tell(f"  less {row.control}: {row.comparison.differences['iou']}")

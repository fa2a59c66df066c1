"""``taran-eo study``: a question over many training runs in; scores with intervals out."""

from pathlib import Path
from typing import Annotated

import typer

from taran_eo.cli.console import tell
from taran_eo.cli.training import Changes, RunFolder, need_torch, watch


def command(
    file: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="The study, e.g. pipelines/study_formats.toml.")
    ],
    output: RunFolder = None,
    changes: Changes = None,
    only_tell: Annotated[
        bool, typer.Option("--tell", help="Train nothing; write the tables of what is there so far.")
    ] = False,
) -> None:
    """Cross-validate: each labelled tile is scored by networks that were trained without it.

    Killed and called again, it goes on where it was. Leaves every run and the scores of each tile in its folder, and
    tables (JSON, CSV, Markdown) and plots where the study says.
    """
    from taran_eo.config import load_toml

    need_torch()
    from taran_eo.studies.plots import plot_curve, plot_losses
    from taran_eo.studies.result import save
    from taran_eo.studies.run import run
    from taran_eo.studies.study import FoldStudy
    from taran_eo.studies.tables import write

    study = load_toml(file, FoldStudy, changes or ())
    folder = Path("runs") / study.name if output is None else output
    with watch() as begun:
        answer = run(study, folder, begun, train=not only_tell)
    prefix = folder / "result" if study.results is None else study.results
    save(answer, study, folder, prefix.with_suffix(".json"))
    table, points = write(answer, study, prefix)
    plot_losses(study, table, prefix.with_suffix(".png"))
    plot_curve(points, prefix.with_name(prefix.name + "_curve.png"))
    for row in answer.rows:
        if row.scores is not None or row.diverged:
            tell(f"{row.name}: IoU {'diverged' if row.scores is None else row.scores.iou}")
        if row.comparison is not None:
            tell(f"  less {row.control}: {row.comparison.differences['iou']}")

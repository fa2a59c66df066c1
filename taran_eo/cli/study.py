"""``taran-eo study``: a question over many training runs in; scores with intervals out."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from taran_eo.cli.console import tell
from taran_eo.cli.options import folder
from taran_eo.cli.training import need_torch, watch
from taran_eo.errors import ConfigError

if TYPE_CHECKING:
    from taran_eo.studies.rows.study import RowStudy
    from taran_eo.studies.study import FoldStudy


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
            help="Carry out these cells, e.g. 'fold_0/seed_0/e2m1_qat' or 'seed_0/*', and what they build on; "
            "tell what is there.",
        ),
    ] = "*",
    only_tell: Annotated[
        bool, typer.Option("--tell", help="Train nothing; write the tables of what is there so far.")
    ] = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="Begin the cells of --only anew, whatever is there of them.")
    ] = False,
) -> None:
    """Compare many training runs: of ships by cross-validation, of classified pictures row by row.

    Where the study names labelled tiles, each of them is scored by networks that were trained without it. Else each row
    is trained with every seed, and scored on the same pictures; then several processes may work on it side by side.

    Killed and called again, it goes on where it was. Leaves every run in its folder, tables (JSON, CSV, Markdown) and
    plots.
    """
    need_torch()
    from taran_eo.studies.kinds import load_study
    from taran_eo.studies.study import FoldStudy

    if restart and (only == "*" or only_tell):
        raise ConfigError(
            "--restart throws away what was trained, and needs to be told of which cells",
            remedy="Add --only PATTERN, and leave out --tell",
        )
    study = load_study(file, changes or ())
    runs = output or study.runs or Path("runs") / study.name
    prefix = runs / "result" if output is not None or study.results is None else study.results
    wanted = "" if only_tell else only
    if isinstance(study, FoldStudy):
        there = _folds(study, runs, prefix, wanted, restart)
    else:
        there = _rows(study, runs, prefix, wanted, restart)
    if not there:
        raise ConfigError(
            f"No network of {file} is in {runs} yet", remedy="Leave out --tell, or widen --only", path=runs
        )


def _folds(study: "FoldStudy", runs: Path, prefix: Path, only: str, restart: bool) -> bool:
    """Cross-validate; gives whether there is anything to tell."""
    from taran_eo.studies.plots import plot_curve, plot_losses
    from taran_eo.studies.result import save
    from taran_eo.studies.run import run
    from taran_eo.studies.tables import write

    with watch() as begun:
        answer = run(study, runs, begun, only=only, restart=restart)
    if not any(row.scores is not None or row.diverged for row in answer.rows):
        return False
    save(answer, study, prefix)
    table, points = write(answer, study, prefix)
    plot_losses(study, table, prefix.with_suffix(".png"))
    plot_curve(points, prefix.with_name(prefix.name + "_curve.png"))
    for row in answer.rows:
        if row.scores is not None or row.diverged:
            tell(f"{row.name}: IoU {'diverged' if row.scores is None else row.scores.iou}")
        if row.comparison is not None:
            tell(f"  less {row.control}: {row.comparison.differences['iou']}")
    return True


def _rows(study: "RowStudy", runs: Path, prefix: Path, only: str, restart: bool) -> bool:
    """Train row by row; gives whether there is anything to tell."""
    from taran_eo.studies.rows.answer import found
    from taran_eo.studies.rows.plot import plot
    from taran_eo.studies.rows.run import cells, run
    from taran_eo.studies.rows.tables import write

    with watch() as begun:
        seen = run(study, runs, begun, only=only, restart=restart)
    if not seen:
        return False
    answer = found(study, seen, [cell.place for cell in cells(study)])
    write(answer, seen, study, prefix)
    plot(answer, seen, study, runs, prefix.with_suffix(".png"))
    for row in answer.rows:
        tell(f"{row.name}: accuracy {'of no run' if row.accuracy is None else row.accuracy}")
        for seed, why in row.failed.items():
            tell(f"  failed with seed {seed}: {why}")
        if row.less is not None:
            tell(f"  less {row.control}: {row.less.less}")
    if answer.missing:
        tell(f"{len(answer.missing)} runs are not done yet: {', '.join(answer.missing)}")
    return True

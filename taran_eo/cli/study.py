"""``taran-eo study``: a question over many training runs in; scores with intervals out."""

from pathlib import Path
from typing import Annotated

import typer

from taran_eo.cli.console import tell
from taran_eo.cli.training import Changes, RunFolder, need_torch, watch


def command(
    file: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="The study, e.g. pipelines/study_folds.toml.")
    ],
    output: RunFolder = None,
    changes: Changes = None,
) -> None:
    """Cross-validate: each labelled tile is scored by networks that were trained without it.

    Killed and called again, it goes on where it was. Leaves every run, result.json and tiles.csv in its folder.
    """
    from taran_eo.config import load_toml

    need_torch()
    from taran_eo.studies.folds import FoldStudy, run, save

    study = load_toml(file, FoldStudy, changes or ())
    folder = Path("runs") / study.name if output is None else output
    with watch() as begun:
        answer = run(study, folder, begun)
    save(answer, study, folder)
    for row in answer.rows:
        tell(f"{row.name}: IoU {'diverged' if row.scores is None else row.scores.iou}")
        if row.comparison is not None:
            tell(f"  less {row.control}: {row.comparison.differences['iou']}")

"""What a study found, whole and for programs: JSON, and a line for each tile."""

import csv
import json
from dataclasses import asdict
from pathlib import Path

from taran_eo.metrics import Comparison
from taran_eo.provenance import Environment, Provenance, sha256_config, sha256_file
from taran_eo.studies.answer import Answer, Row
from taran_eo.studies.part import PROBABILITIES
from taran_eo.studies.study import FoldStudy


def save(answer: Answer, study: FoldStudy, folder: Path, result_file: Path) -> None:
    """Write what a study found as JSON, and in the folder of its runs ``tiles.csv``, from which it follows."""
    files = {tiles.masks for tiles in study.tiles} | ({study.shared_water} if study.shared_water else set())
    inputs = {str(path): sha256_file(path) for path in sorted(files)}
    environments: list[Environment] = []
    for part in answer.made.values():
        inputs |= part.inputs or {}
        environments += (each for each in part.environments if each not in environments)
    made = Provenance(tuple(environments), config_sha256=sha256_config(study), inputs=inputs)
    result = {
        "name": study.name,
        "question": study.question,
        "rows": {row.name: _told(row) for row in answer.rows},
        "pairs": [
            {"first": pair.networks[0], "second": pair.networks[1], "less": _differences(pair.comparison)}
            | ({} if pair.agreement is None else {"agrees more": asdict(pair.agreement)})
            for pair in answer.pairs
        ],
        "provenance": made.to_dict(),
        "recipes": {place: part.config_sha256 for place, part in answer.made.items()},
    }
    result_file.parent.mkdir(parents=True, exist_ok=True)
    result_file.write_text(json.dumps(result, indent=1) + "\n")
    with (folder / "tiles.csv").open("w", newline="") as file:
        table = csv.writer(file)
        for number, tile in enumerate(answer.tiles):
            values = {
                "image": tile.image,
                "fold": tile.fold,
                "seed": tile.seed,
                "network": tile.network,
                "probability": PROBABILITIES[tile.position],
                **asdict(tile.score),
            }
            if number == 0:
                table.writerow(values)
            table.writerow(
                [" ".join(map(str, value)) if isinstance(value, tuple) else value for value in values.values()]
            )


def _told(row: Row) -> dict[str, object]:
    return {
        "control": row.control,
        "folds and seeds": [list(place) for place in row.iou],
        "iou": list(row.iou.values()),
        "probabilities": list(row.probabilities.values()),
        "diverged": row.diverged,
        "scores": None if row.scores is None else row.scores.to_dict(),
        "less control": None if row.comparison is None else _differences(row.comparison),
        "agreement": None if row.agreement is None else asdict(row.agreement),
    }


def _differences(less: Comparison) -> dict[str, object]:
    differences = {name: {"value": each.value, "ci": each.ci} for name, each in less.differences.items()}
    return {**differences, "equivalence_p": less.equivalence, "margin": less.margin}

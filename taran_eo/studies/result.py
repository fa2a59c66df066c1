"""What a study found, whole and for programs: JSON, and a line for each tile."""

import csv
import gzip
import io
import json
from dataclasses import asdict
from pathlib import Path

from taran_eo.metrics import Comparison
from taran_eo.provenance import Environment, Provenance, sha256_config, sha256_file, sha256_folder
from taran_eo.studies.answer import Answer, Row
from taran_eo.studies.part import PROBABILITIES
from taran_eo.studies.study import FoldStudy


def save(answer: Answer, study: FoldStudy, prefix: Path) -> None:
    """Write ``PREFIX.json``, what a study found, and ``PREFIX_tiles.csv.gz``, the scores that it follows from."""
    lists = {path for path in (study.shared_water, study.near_shore) if path is not None}
    inputs = {str(path): sha256_file(path) for path in sorted({tiles.masks for tiles in study.tiles} | lists)}
    inputs |= {str(tiles.images): sha256_folder(tiles.images) for tiles in study.tiles}
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
            {
                "first": pair.networks[0],
                "second": pair.networks[1],
                "folds and seeds": pair.comparison.cells,
                "less": _differences(pair.comparison),
            }
            | ({} if pair.agreement is None else {"agrees more": asdict(pair.agreement)})
            for pair in answer.pairs
        ],
        "provenance": made.to_dict(),
        "recipes": {place: part.config_sha256 for place, part in answer.made.items()},
    }
    prefix.parent.mkdir(parents=True, exist_ok=True)
    prefix.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")
    # Without a time, so that the same scores are the same file.
    prefix.with_name(prefix.name + "_tiles.csv.gz").write_bytes(gzip.compress(_tiles(answer).encode(), mtime=0))


def _tiles(answer: Answer) -> str:
    """A line for each tile and network: its scores at the chosen probability, and its agreement with the control."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    for number, tile in enumerate(answer.tiles):
        agreed = tile.agreement[tile.position] if tile.agreement else None
        values = {
            "image": tile.image,
            "fold": tile.fold,
            "seed": tile.seed,
            "network": tile.network,
            "probability": PROBABILITIES[tile.position],
            **asdict(tile.score),
            "alike_px": None if agreed is None else agreed.true_positive_px,
            "unlike_px": None if agreed is None else agreed.false_positive_px + agreed.false_negative_px,
        }
        if number == 0:
            table.writerow(values)
        table.writerow([" ".join(map(str, value)) if isinstance(value, tuple) else value for value in values.values()])
    return text.getvalue()


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

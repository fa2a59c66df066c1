"""What a study of rows found, for readers and for programs: CSV, Markdown and JSON."""

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from taran_eo.metrics import Interval
from taran_eo.metrics.paired import RESAMPLES
from taran_eo.provenance import Environment, Provenance, sha256_config, sha256_file
from taran_eo.studies.rows.answer import Answer, Difference, Scored
from taran_eo.studies.rows.cell import Outcome
from taran_eo.studies.rows.run import Seen
from taran_eo.studies.rows.study import RowStudy

DIGITS = 12
"""Of a digest, in Markdown."""

COLUMNS = (
    *("method", "bits, W/A", "accuracy", "spread", "less control", "control"),
    *("BitOPs, G", "size", "time", "seeds", "recipe"),
)


@dataclass(frozen=True)
class Line:
    """A row of the table; accuracies are shares, None where they are not known.

    What others published has a source, and nothing of it was computed here.
    """

    method: str
    weight_bits: float | None = None
    activation_bits: float | None = None
    accuracy: float | None = None
    accuracy_low: float | None = None
    accuracy_high: float | None = None
    spread: float | None = None
    control: str | None = None
    less_control: float | None = None
    less_low: float | None = None
    less_high: float | None = None
    less_seeds: int | None = None
    bit_operations_g: float | None = None
    compression: float | None = None
    time: float | None = None
    seeds: int | None = None
    failed: int | None = None
    steps: int | None = None
    recipe_sha256: str | None = None
    source: str | None = None


def write(answer: Answer, seen: Sequence[Seen], study: RowStudy, prefix: Path) -> None:
    """Write ``PREFIX.csv``, ``PREFIX.md`` and ``PREFIX.json``.

    Args:
        answer: What was found.
        seen: Of which runs.
        study: What was asked.
        prefix: Path of the files without their endings.
    """
    prefix.parent.mkdir(parents=True, exist_ok=True)
    with prefix.with_suffix(".csv").open("w", newline="") as file:
        table = csv.DictWriter(file, [field.name for field in fields(Line)], lineterminator="\n")
        table.writeheader()
        for line in [*map(_line, answer.rows), *_published(study)]:
            values = asdict(line).items()
            table.writerow({name: f"{each:.5f}" if isinstance(each, float) else each for name, each in values})
    prefix.with_suffix(".md").write_text("\n".join(_markdown(answer, study)) + "\n")
    prefix.with_suffix(".json").write_text(json.dumps(_result(answer, seen, study), indent=1) + "\n")


def _line(row: Scored) -> Line:
    unknown = Interval(None, None, None)
    accuracy, less = row.accuracy or unknown, unknown if row.less is None else row.less.less
    operations = row.mean("bit_operations")
    return Line(
        method=row.name,
        weight_bits=row.mean("weight_bits"),
        activation_bits=row.mean("activation_bits"),
        accuracy=accuracy.value,
        accuracy_low=accuracy.low,
        accuracy_high=accuracy.high,
        spread=row.spread,
        control=row.control,
        less_control=less.value,
        less_low=less.low,
        less_high=less.high,
        less_seeds=None if row.less is None else len(row.less.seeds),
        bit_operations_g=None if operations is None else operations / 1e9,
        compression=row.mean("compression"),
        time=None if row.time is None else row.time.whole,
        seeds=len(row.outcomes),
        failed=len(row.failed),
        steps=next((outcome.steps for outcome in row.outcomes.values()), None),
        recipe_sha256=row.recipe,
    )


def _published(study: RowStudy) -> Iterable[Line]:
    for each in study.published:
        yield Line(f"{each.label} {each.bits}", accuracy=each.accuracy_percent / 100, source=each.source)


def _markdown(answer: Answer, study: RowStudy) -> list[str]:
    pictures = sorted({outcome.accuracy.pictures for row in answer.rows for outcome in row.outcomes.values()})
    lines = [
        f"# {study.question}",
        "",
        f"Accuracy in percent, on {' or '.join(f'{each:,}' for each in pictures) or 'no'} pictures:",
        f"the mean over the seeds, with a 95 % interval (bootstrap over seeds and pictures, {RESAMPLES:,} resamples),",
        "and the standard deviation over the seeds. *Less control* is the difference in points, paired by seed and",
        "picture, and resampled alike. Intervals over a few seeds are too narrow where the spread comes from the",
        "training; of one seed they are over pictures alone, and say nothing of another training. *Bits* of weights",
        "are weighted by their number, those of activations by the multiplications that they enter, and averaged",
        "over the seeds; the first and the last layer count. *BitOPs* are multiplications a picture times the bits",
        "of weight and activation, float32 counted as 32 x 32. *Size* is by how much all weights together are",
        "smaller than in float32. *Time* is that of the training against plain quantization-aware training, with its",
        "spread. *Recipe* begins its digest, taken without seed and start.",
        *([study.note] if study.note else []),
        "",
        f"| {' | '.join(COLUMNS)} |",
        f"|{' --- |' * len(COLUMNS)}",
    ]
    lines += [f"| {' | '.join(_cells(row))} |" for row in answer.rows]
    if failed := [(row.name, seed, why) for row in answer.rows for seed, why in row.failed.items()]:
        lines += ["", "These runs failed, and are in no mean:", ""]
        lines += [f"- {name}, seed {seed}: {why}" for name, seed, why in failed]
    if answer.missing:
        lines += ["", f"Not done yet: {', '.join(answer.missing)}."]
    if answer.pairs:
        lines += ["", "Pairs, in points, paired by seed and picture:", ""]
        lines += ["| first | second | seeds | first less second |", "| --- | --- | --- | --- |"]
        lines += [f"| {' | '.join([*pair.rows, str(len(pair.seeds)), _points(pair)])} |" for pair in answer.pairs]
    if study.published:
        lines += [
            "",
            "What others published: theirs, by their training, on the original pictures; compared with nothing here.",
            "",
            *("| theirs | bits, W/A | accuracy | source |", "| --- | --- | --- | --- |"),
            *(
                f"| {each.label} | {each.bits} | {each.accuracy_percent:g} | {each.source} |"
                for each in study.published
            ),
        ]
    return lines


def _cells(row: Scored) -> list[str]:
    line, runs = _line(row), str(len(row.outcomes))
    return [
        row.name,
        "" if line.weight_bits is None else f"{line.weight_bits:.2f}/{line.activation_bits:.2f}",
        "failed" if row.accuracy is None else _percent(row.accuracy),
        "" if row.spread is None else f"{100 * row.spread:.2f}",
        _points(row.less),
        row.control or "",
        "" if line.bit_operations_g is None else f"{line.bit_operations_g:.3f}",
        "" if line.compression is None else f"{line.compression:.2f}",
        "" if row.time is None else f"{row.time.whole:.2f} ({row.time.low:.2f} to {row.time.high:.2f})",
        f"{runs}, {len(row.failed)} failed" if row.failed else runs,
        f"`{row.recipe[:DIGITS]}`",
    ]


def _percent(share: Interval, sign: str = "") -> str:
    each = [f"{100 * value:{sign}.2f}" for value in (share.value, share.low, share.high) if value is not None]
    return f"{each[0]} [{each[1]}, {each[2]}]"


def _points(less: Difference | None) -> str:
    if less is None:
        return ""
    return _percent(less.less, "+") + (", one seed" if len(less.seeds) == 1 else "")


def _result(answer: Answer, seen: Sequence[Seen], study: RowStudy) -> dict[str, object]:
    environments: list[Environment] = []
    inputs = {} if study.times is None or not study.times.exists() else {str(study.times): sha256_file(study.times)}
    made = {one.cell.place: one.found.outcome.made for one in seen if one.found.outcome is not None}
    for one in seen:
        inputs |= {} if one.found.outcome is None else one.found.outcome.scored
    for part in made.values():
        inputs |= part.inputs or {}
        environments += (each for each in part.environments if each not in environments)
    return {
        "name": study.name,
        "question": study.question,
        "rows": {row.name: _told(row) for row in answer.rows},
        "pairs": [_compared(pair) for pair in answer.pairs],
        "missing": answer.missing,
        "published": [each.model_dump() for each in study.published],
        "provenance": Provenance(tuple(environments), config_sha256=sha256_config(study), inputs=inputs).to_dict(),
        "recipes": {place: part.config_sha256 for place, part in made.items()},
    }


def _told(row: Scored) -> dict[str, object]:
    return {
        "kind": row.kind,
        "control": row.control,
        "recipe_sha256": row.recipe,
        "accuracy": None if row.accuracy is None else row.accuracy.value,
        "accuracy_ci": None if row.accuracy is None else row.accuracy.ci,
        "spread": row.spread,
        "less control": None if row.less is None else _compared(row.less),
        "time": None if row.time is None else row.time.model_dump(),
        "seeds": {str(seed): _run(outcome) for seed, outcome in row.outcomes.items()},
        "failed": {str(seed): why for seed, why in row.failed.items()},
    }


def _run(outcome: Outcome) -> dict[str, object]:
    told = asdict(outcome)
    del told["made"]
    layers = {layer.name: [layer.weights, layer.activations] for layer in outcome.layers}
    return told | {**outcome.accuracy.to_dict(), "layers": layers}


def _compared(less: Difference) -> dict[str, object]:
    return {"first": less.rows[0], "second": less.rows[1], "seeds": less.seeds} | {
        "less": less.less.value,
        "less_ci": less.less.ci,
    }

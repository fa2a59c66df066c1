"""What a study of rows found: each row over its seeds, and against its control, and pairs of them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from taran_eo.config import load_json
from taran_eo.errors import ConfigError
from taran_eo.formats import Integer, parse_format
from taran_eo.metrics import Interval, mean_difference, mean_right
from taran_eo.studies.rows.cell import Outcome
from taran_eo.studies.rows.run import Seen
from taran_eo.studies.rows.study import RowStudy
from taran_eo.studies.study import COMMON, RANDOM
from taran_eo.train import Recipe

FLOAT = "float"
FROM_SCRATCH = "from scratch"


class Ratio(BaseModel):
    """What a training takes as a multiple of plain quantization-aware training, with its spread over the rounds."""

    whole: float
    low: float
    high: float


class Times(BaseModel):
    """What is read of the file of times."""

    ratios: dict[str, Ratio]


@dataclass(frozen=True)
class Difference:
    """Two rows compared, with the seeds that both have.

    Attributes:
        rows: Their names.
        seeds: With which they were compared.
        less: By which share more pictures the first is right on; over a single seed, given the training.
    """

    rows: tuple[str, str]
    seeds: tuple[int, ...]
    less: Interval


@dataclass(frozen=True)
class Scored:
    """What was found of a row.

    Attributes:
        name: Its name.
        kind: What is trained, apart from its widths: rows of one kind are drawn alike.
        uniform: Whether its widths are given, and are what sets it apart from others of its kind.
        recipe: Digest of its recipe, without the seed and what it starts from.
        control: What it is compared with.
        outcomes: Of each seed; those that failed are not among them, nor in any mean.
        failed: Why there is none, by seed.
        accuracy: Share of the pictures that are right, over seeds; None where all failed.
        spread: Standard deviation of the accuracies of the seeds; None of fewer than two.
        less: The comparison with its control; None where there is none.
        time: What its training takes against plain quantization-aware training; None where it is not known.
    """

    name: str
    kind: str
    uniform: bool
    recipe: str
    control: str | None
    outcomes: Mapping[int, Outcome]
    failed: Mapping[int, str]
    accuracy: Interval | None
    spread: float | None
    less: Difference | None
    time: Ratio | None

    def mean(self, name: str) -> float | None:
        """A figure of its outcomes, averaged over the seeds."""
        values = [float(getattr(outcome, name)) for outcome in self.outcomes.values()]
        return fmean(values) if values else None


@dataclass(frozen=True)
class Answer:
    """What a study found.

    Attributes:
        rows: Those of which a run is done, the common network first.
        pairs: Those that were asked for and have a seed in common.
        missing: Folders of the runs that are not done.
    """

    rows: tuple[Scored, ...]
    pairs: tuple[Difference, ...]
    missing: tuple[str, ...]


def found(study: RowStudy, seen: Sequence[Seen], planned: Iterable[str]) -> Answer:
    """What the runs that are done say.

    Args:
        study: What was asked.
        seen: The runs.
        planned: The folders of all.

    Raises:
        ConfigError: The file of times is damaged, or does not know a method; or runs were scored on different pictures.
    """
    times = _times(study)
    _check_scored(seen)
    right: dict[str, dict[int, NDArray[np.bool_]]] = {}
    for one in seen:
        if one.right is not None:
            right.setdefault(one.cell.row, {})[one.cell.seed] = one.right
    if COMMON in right:  # it is one, whatever the seed of what is compared with it
        right[COMMON] = dict.fromkeys(study.seeds, *right[COMMON].values())
    timed = {row.name: None if row.timed is None or times is None else times[row.timed] for row in study.row}
    rows = []
    for name, control in study.controls.items():
        own = [one for one in seen if one.cell.row == name]
        if not own:
            continue
        outcomes = {one.cell.seed: one.found.outcome for one in own if one.found.outcome is not None}
        shares = [outcome.accuracy.right / outcome.accuracy.pictures for outcome in outcomes.values()]
        answers = np.stack([right[name][seed] for seed in outcomes]) if outcomes else None
        rows.append(
            Scored(
                name=name,
                kind=kind_of(own[0].recipe, random=own[0].cell.start == RANDOM),
                uniform=own[0].recipe.quantization is not None and own[0].recipe.bits is None,
                recipe=own[0].recipe.model_copy(update={"start": None, "seed": 0}).digest(),
                control=control,
                outcomes=outcomes,
                failed={one.cell.seed: one.found.failed for one in own if one.found.failed is not None},
                accuracy=None if answers is None else mean_right(answers, rng=np.random.default_rng(0)),
                spread=stdev(shares) if len(shares) > 1 else None,
                less=None if control is None else _difference((name, control), right),
                time=timed.get(name),
            )
        )
    pairs = (_difference(pair, right) for pair in study.pairs)
    done = {one.cell.place for one in seen}
    missing = tuple(place for place in planned if place not in done)
    return Answer(tuple(rows), tuple(pair for pair in pairs if pair is not None), missing)


def kind_of(recipe: Recipe, *, random: bool) -> str:
    """What a recipe trains, apart from widths and what they cost."""
    how, bits = recipe.quantization, recipe.bits
    words = [FLOAT]
    if how is not None:
        way = "" if how.way is None else how.way.upper()
        words = [f"uniform {way}"]
        if bits is not None:
            groups = {"network": "one pair of widths", "layer": "widths by layer"}
            words = [bits.method, groups.get(str(bits.group), f"widths of {bits.group} parts")]
        if not isinstance(parse_format(how.weights), Integer):
            words.append(
                "minifloats" if bits is None or bits.split == "calibrated" else "minifloats, both parts learned"
            )
    return ", ".join([*words, *([FROM_SCRATCH] if random else [])])


def _difference(rows: tuple[str, str], right: Mapping[str, Mapping[int, NDArray[np.bool_]]]) -> Difference | None:
    """The first row less the second, with the seeds that both have."""
    first, second = (right.get(name, {}) for name in rows)
    seeds = tuple(seed for seed in first if seed in second)
    if not seeds:
        return None
    ones, others = (np.stack([each[seed] for seed in seeds]) for each in (first, second))
    return Difference(rows, seeds, mean_difference(ones, others, rng=np.random.default_rng(0)))


def _check_scored(seen: Sequence[Seen]) -> None:
    scored = {one.cell.place: one.found.outcome.scored for one in seen if one.found.outcome is not None}
    for place, digests in scored.items():
        if digests != (first := next(iter(scored.items())))[1]:
            raise ConfigError(
                f"{place} was scored on other pictures than {first[0]}: {', '.join(digests)} has changed",
                remedy=f"Restore the pictures, and begin {place} anew with --restart --only",
            )


def _times(study: RowStudy) -> Mapping[str, Ratio] | None:
    path: Path | None = study.times
    if path is None or not path.exists():
        return None
    ratios = load_json(path, Times).ratios
    for row in study.row:
        if row.timed is not None and row.timed not in ratios:
            raise ConfigError(
                f"{path} does not tell what {row.timed!r} takes, but {', '.join(map(repr, ratios))}",
                remedy=f"Correct `timed` of {row.name!r}, or measure it: python pipelines/adaqat_times.py",
                path=path,
            )
    return ratios

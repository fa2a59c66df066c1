"""What a study found: each network with its scores and against its control, and pairs of them."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from taran_eo.metrics import Comparison, Interval, Scores, TileScore, aggregate, compare
from taran_eo.provenance import Provenance
from taran_eo.studies.part import PROBABILITIES, Costs
from taran_eo.studies.study import FoldStudy

HALF = PROBABILITIES.index(0.5)
"""Position of the probability that is taken where none can be chosen."""


@dataclass(frozen=True)
class Scored:
    """A held-out tile, scored.

    Attributes:
        image: File name of the tile.
        fold: The fold that it was dealt to, which the network was not trained on.
        seed: What was added to the seeds.
        network: Name of the variant, ``reference`` or ``common``.
        curve: Its scores at each of `PROBABILITIES`.
        agreement: For a quantized network, its pixels against those of its control at each of `PROBABILITIES`.
        position: That of the probability that was chosen without the tiles of this fold.
    """

    image: str
    fold: int
    seed: int
    network: str
    curve: tuple[TileScore, ...]
    agreement: tuple[TileScore, ...] = ()
    position: int = HALF

    @property
    def score(self) -> TileScore:
        """Its score at the chosen probability."""
        return self.curve[self.position]


@dataclass(frozen=True)
class Row:
    """What a study found of one network: the common one, the reference or a variant.

    Attributes:
        name: The network.
        control: What it is compared with; None for the reference itself, and for the common network.
        scores: Over the tiles of all its folds and seeds, with intervals over tiles, given the networks; None where
            every run diverged.
        comparison: With its control in the same folds and with the same seeds; None without a control.
        agreement: IoU of its ship pixels with those of its control; None unless it is quantized.
        iou: IoU by fold and seed; None where it is not defined.
        probabilities: From which a pixel is called ship, by fold and seed.
        diverged: Folds and seeds of the runs that diverged, which are in none of the figures.
        costs: Of its widths, the mean over its folds and seeds; None where they have none.
    """

    name: str
    control: str | None
    scores: Scores | None
    comparison: Comparison | None
    agreement: Interval | None
    iou: Mapping[tuple[int, int], float | None]
    probabilities: Mapping[tuple[int, int], float]
    diverged: tuple[tuple[int, int], ...]
    costs: Costs | None


@dataclass(frozen=True)
class Pair:
    """Two networks compared, in the folds and with the seeds that both have.

    Attributes:
        networks: Their names.
        comparison: The first less the second.
        agreement: By how much more the first agrees with its control; None unless both are quantized.
    """

    networks: tuple[str, str]
    comparison: Comparison
    agreement: Interval | None


@dataclass(frozen=True)
class Answer:
    """What a study found.

    Attributes:
        rows: One a network.
        pairs: Those that were asked for and have something in common.
        tiles: What they were computed from.
        made: How each network came to be, by its place.
        shore: Names of the tiles near a shore.
    """

    rows: tuple[Row, ...]
    pairs: tuple[Pair, ...]
    tiles: tuple[Scored, ...]
    made: Mapping[str, Provenance]
    shore: frozenset[str]


def choose(tiles: Iterable[Scored], judges: Mapping[str, str]) -> Iterator[Scored]:
    """Choose from which probability a pixel is called ship: the one of the highest IoU over all other folds.

    A quantized network is read at that of its float control, so that nothing but its arithmetic tells the two apart.

    Args:
        tiles: Scored tiles.
        judges: For a network, the one whose scores decide, in the same seed, or in its only one; those that are not in
            it decide alone.

    Yields:
        The tiles, in order, each with the position of its fold; that of one half where no other fold was scored.
    """
    tiles = tuple(tiles)
    counts: dict[tuple[str, int], dict[int, NDArray[np.int64]]] = {}
    for tile in tiles:
        one = np.array([(at.true_positive_px, at.false_positive_px + at.false_negative_px) for at in tile.curve])
        folds = counts.setdefault((tile.network, tile.seed), {})
        folds[tile.fold] = folds.get(tile.fold, np.zeros_like(one)) + one
    for tile in tiles:
        judge = judges.get(tile.network, tile.network)
        seeds = {seed for network, seed in counts if network == judge}
        folds = counts.get((judge, seeds.pop() if len(seeds) == 1 else tile.seed), {})
        others = sum(one for fold, one in folds.items() if fold != tile.fold)
        position = HALF if isinstance(others, int) else int(np.argmax(others[:, 0] / np.maximum(1, others.sum(axis=1))))
        yield replace(tile, position=position)


def found(
    study: FoldStudy,
    seen: Sequence[Scored],
    made: Mapping[str, Provenance],
    diverged: Mapping[str, Sequence[tuple[int, int]]],
    shore: frozenset[str],
    costs: Mapping[str, Sequence[Costs]],
) -> Answer:
    """What scored tiles say.

    Args:
        study: What was asked.
        seen: All tiles.
        made: As in `Answer`.
        diverged: Folds and seeds of the runs that diverged, by network.
        shore: As in `Answer`.
        costs: Of the widths of each network, by fold and seed.
    """
    tiles = tuple(choose(seen, study.judges))
    rows = tuple(_row(name, control, tiles, diverged, study.margin, costs) for name, control in study.controls.items())
    pairs = (_pair(networks, tiles, study.margin) for networks in study.compared)
    return Answer(rows, tuple(pair for pair in pairs if pair is not None), tiles, made, shore)


def _row(
    name: str,
    control: str | None,
    tiles: Sequence[Scored],
    diverged: Mapping[str, Sequence[tuple[int, int]]],
    margin: float,
    costs: Mapping[str, Sequence[Costs]],
) -> Row:
    own = [tile for tile in tiles if tile.network == name]
    agreed = [tile.agreement[tile.position] for tile in own if tile.agreement]
    return Row(
        name,
        control,
        aggregate([tile.score for tile in own], rng=np.random.default_rng(0)) if own else None,
        None if control is None else _compare(tiles, name, control, margin, _score),
        aggregate(agreed, rng=np.random.default_rng(0)).iou if agreed else None,
        {place: aggregate(each, rng=np.random.default_rng(0)).iou.value for place, each in _cells(own, _score).items()},
        {(tile.fold, tile.seed): PROBABILITIES[tile.position] for tile in own},
        tuple(diverged.get(name, ())),
        _mean(costs.get(name, ())),
    )


def _mean(costs: Sequence[Costs]) -> Costs | None:
    each = np.array([astuple(one) for one in costs])
    return Costs(*each.mean(axis=0).tolist()) if len(each) else None


def _pair(networks: tuple[str, str], tiles: Sequence[Scored], margin: float) -> Pair | None:
    first, second = networks
    comparison = _compare(tiles, first, second, margin, _score)
    if comparison is None:
        return None
    both = all(tile.agreement for tile in tiles if tile.network in networks)
    agreed = _compare(tiles, first, second, margin, lambda tile: tile.agreement[tile.position]) if both else None
    return Pair(networks, comparison, None if agreed is None else agreed.differences["iou"])


Score = Callable[[Scored], TileScore]


def _score(tile: Scored) -> TileScore:
    return tile.score


def _compare(tiles: Sequence[Scored], first: str, second: str, margin: float, score: Score) -> Comparison | None:
    """The first network less the second, where both were scored."""
    ones, others = (_cells([tile for tile in tiles if tile.network == name], score) for name in (first, second))
    cells = {place: (others[place], ones[place]) for place in ones if place in others}
    return compare(cells, margin=margin, rng=np.random.default_rng(0)) if cells else None


def _cells(tiles: Iterable[Scored], score: Score) -> dict[tuple[int, int], list[TileScore]]:
    """The scores of a network by fold and seed, in the order of the images' names."""
    cells: dict[tuple[int, int], list[TileScore]] = {}
    for tile in sorted(tiles, key=lambda each: each.image):
        cells.setdefault((tile.fold, tile.seed), []).append(score(tile))
    return cells

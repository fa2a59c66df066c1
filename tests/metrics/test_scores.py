"""Sets of tiles: golden ratios, the bootstrap against its slow twin, and whether intervals hold the truth."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from taran_eo.errors import ContractError
from taran_eo.imagery import Window
from taran_eo.metrics import Interval, TileScore, aggregate, compare, score_tile
from taran_eo.nn.segmentation_models import ensure_torchvision

FOUND = TileScore(80, 10, 20, 1_000_000, (1, 1, 0, 0), (1, 0, 0, 0), 3, (1,) * 5 + (0,) * 5, 2, 1)
EMPTY = TileScore(0, 0, 0, 1_000_000, (0,) * 4, (0,) * 4, 0, (0,) * 10, 0, 0)

COUNTS = st.integers(0, 50)


@st.composite
def tiles(draw: st.DrawFn) -> TileScore:
    ships = draw(st.tuples(*[st.integers(0, 3)] * 4))
    found = tuple(draw(st.integers(0, count)) for count in ships)
    hits = tuple(sorted(draw(st.lists(st.integers(0, sum(found)), min_size=10, max_size=10)), reverse=True))
    components = sum(found) + draw(st.integers(0, 3))
    group = draw(st.sampled_from([None, "a", "b"]))
    large = draw(st.integers(0, sum(ships)))
    large_found = draw(st.integers(0, min(large, sum(found))))
    pixels = (draw(COUNTS), draw(COUNTS), draw(COUNTS))
    return TileScore(*pixels, 10_000, ships, found, components, hits, large, large_found, group)


def test_golden_set() -> None:
    scores = aggregate([FOUND, EMPTY], rng=np.random.default_rng(1))
    assert scores.iou.value == 80 / 110
    assert scores.dice.value == 160 / 190
    assert scores.precision.value == 80 / 90
    assert scores.recall.value == 80 / 100
    # The first tile: five thresholds with TP 1, FN 1, FP 2.
    assert scores.f2.value == pytest.approx((0.5 * 5 / 11 + 1) / 2)
    assert scores.baseline_empty.value == 0.5
    assert scores.ship_recall.value == scores.large_ship_recall.value == 0.5
    assert [recall.value for recall in scores.ship_recall_by_length_m] == [1.0, 0.0, None, None]
    assert (scores.false_alarms, scores.area_km2, scores.false_alarms_per_km2.value) == (2, 2.0, 1.0)
    assert scores.baseline_empty.ci == (0.0, 1.0)


def test_pixel_scores_are_those_of_segmentation_models_pytorch() -> None:
    ensure_torchvision()
    from segmentation_models_pytorch import metrics as theirs

    answers, truths = np.random.default_rng(2).random((2, 5, 30, 40)) < 0.1
    truths[:, :, :20] |= answers[:, :, :20]
    tiles = [
        score_tile([(Window(0, 0, 30, 40), truth)], answer, gsd_m=1.5)
        for answer, truth in zip(answers, truths, strict=True)
    ]
    ours = aggregate(tiles, rng=np.random.default_rng(0))
    counts = theirs.get_stats(torch.from_numpy(answers), torch.from_numpy(truths), mode="binary")
    for mine, score in (
        (ours.iou, theirs.iou_score),
        (ours.dice, theirs.f1_score),
        (ours.precision, theirs.precision),
        (ours.recall, theirs.recall),
    ):
        assert mine.value == pytest.approx(score(*counts, reduction="micro").item(), rel=1e-6)


def test_the_dictionary_is_json_with_an_interval_beside_each_score() -> None:
    scores = aggregate([FOUND, FOUND, EMPTY], rng=np.random.default_rng(1))
    told = json.loads(json.dumps(scores.to_dict(), allow_nan=False))
    for name in (
        "iou",
        "dice",
        "precision",
        "recall",
        "f2",
        "ship_recall",
        "large_ship_recall",
        "false_alarms_per_km2",
        "baseline_empty",
    ):
        low, high = told[f"{name}_ci"]
        assert low <= told[name] <= high
    assert told["tiles"] == 3
    assert told["ship_recall_by_length_m"]["30_to_60"] == {
        "ships": 2,
        "found": 0,
        "recall": 0,
        "recall_ci": [0, 0],
    }


def test_undefined_scores_are_none() -> None:
    scores = aggregate([EMPTY, EMPTY], rng=np.random.default_rng(1))
    assert scores.iou == scores.ship_recall == Interval(None, None, None)
    assert scores.f2 == Interval(1.0, 1.0, 1.0)
    # One tile tells no spread, and one tile with ships none of what is told of ships.
    assert aggregate([FOUND], rng=np.random.default_rng(1)).f2.ci is None
    one = aggregate([FOUND, EMPTY, EMPTY], rng=np.random.default_rng(1))
    assert (one.iou.ci, one.ship_recall.ci, one.ship_recall_by_length_m[0].ci) == (None, None, None)
    assert one.f2.ci is not None and one.false_alarms_per_km2.ci is not None


def test_no_tiles_are_refused() -> None:
    with pytest.raises(ContractError, match="no tiles"):
        aggregate([], rng=np.random.default_rng(1))


@given(st.lists(tiles(), min_size=1, max_size=8), st.randoms())
def test_intervals_hold_their_point_and_order_does_not_matter(chosen: list[TileScore], random: object) -> None:
    scores = aggregate(chosen, rng=np.random.default_rng(3), resamples=50)
    for score in (scores.iou, scores.f2, scores.ship_recall, scores.false_alarms_per_km2, scores.precision):
        if score.ci is not None:
            assert score.ci[0] <= score.value <= score.ci[1]
    shuffled = list(chosen)
    random.shuffle(shuffled)
    assert aggregate(shuffled, rng=np.random.default_rng(3), resamples=50) == scores


def test_the_interval_equals_a_bootstrap_over_lists() -> None:
    """A slow twin that draws tiles one by one; other random numbers, so equal up to their spread."""
    rng = np.random.default_rng(5)
    many = [
        TileScore(int(a), int(b), int(c), 100, (1, 0, 0, 0), (0,) * 4, 0, (0,) * 10, 0, 0)
        for a, b, c in rng.integers(0, 100, (40, 3))
    ]
    ratios = []
    for _ in range(4000):
        drawn = [many[k] for k in rng.integers(0, 40, 40)]
        same = sum(tile.true_positive_px for tile in drawn)
        wrong = sum(tile.false_positive_px + tile.false_negative_px for tile in drawn)
        ratios.append(same / (same + wrong))
    iou = aggregate(many, rng=rng, resamples=4000).iou
    np.testing.assert_allclose(iou.ci, np.percentile(ratios, (2.5, 97.5)), atol=0.006)


def test_overlapping_tiles_are_resampled_together() -> None:
    rng = np.random.default_rng(6)
    clusters = rng.integers(0, 2, 30)

    def empty_or_not(group: bool) -> Interval:
        return aggregate(
            [
                TileScore(0, 0, 0, 1, (int(full), 0, 0, 0), (0,) * 4, 0, (0,) * 10, 0, 0, str(index) if group else None)
                for index, full in enumerate(clusters)
                for _ in range(4)
            ],
            rng=np.random.default_rng(7),
        ).baseline_empty

    alone, together = empty_or_not(group=False), empty_or_not(group=True)
    assert alone.value == together.value
    # Four copies of each tile hold no more than one: the honest interval is twice as wide.
    assert (together.high - together.low) / (alone.high - alone.low) == pytest.approx(2, rel=0.15)


def test_intervals_hold_the_truth_about_95_times_in_100() -> None:
    rng = np.random.default_rng(8)
    chance, trials, held = 0.4, 400, 0
    for _ in range(trials):
        drawn = [
            TileScore(0, 0, 0, 1, (int(full), 0, 0, 0), (0,) * 4, 0, (0,) * 10, 0, 0)
            for full in rng.random(100) < 1 - chance
        ]
        low, high = aggregate(drawn, rng=rng, resamples=400).baseline_empty.ci
        held += low <= chance <= high
    # 95 % less the discreteness of a hundred tiles; four standard errors of 400 trials are 4.4 points.
    assert 0.90 <= held / trials <= 0.99


@given(st.lists(st.tuples(tiles(), COUNTS, COUNTS), min_size=4, max_size=12), st.integers(1, 3))
def test_a_comparison_is_the_difference_of_the_sums(answers: list[tuple[TileScore, int, int]], seeds: int) -> None:
    def changed(seed: int) -> list[TileScore]:
        return [replace(tile, true_positive_px=tp + seed, false_positive_px=fp) for tile, tp, fp in answers]

    first = [tile for tile, _, _ in answers]
    half = len(first) // 2
    cells = {
        (fold, seed): (first[part], changed(seed)[part])
        for seed in range(seeds)
        for fold, part in enumerate((slice(None, half), slice(half, None)))
    }
    found = compare(cells, margin=0.003, rng=np.random.default_rng(0), resamples=30)
    rng = np.random.default_rng(1)
    one = aggregate(first * seeds, rng=rng, resamples=2).iou.value
    other = aggregate([tile for seed in range(seeds) for tile in changed(seed)], rng=rng, resamples=2).iou.value
    if one is None or other is None:
        assert found.differences["iou"].value is None
    else:
        assert found.differences["iou"].value == other - one
    assert found.differences["f2"].value == 0  # what is alike has no difference


def test_the_same_answers_are_equivalent_and_one_fold_has_no_interval() -> None:
    same = {(fold, 0): ([FOUND, EMPTY], [FOUND, EMPTY]) for fold in range(2)}
    found = compare(same, margin=0.003, rng=np.random.default_rng(0))
    assert found.differences["iou"] == Interval(0.0, 0.0, 0.0) and found.equivalence == 0.0
    alone = compare({(0, 0): same[0, 0]}, margin=0.003, rng=np.random.default_rng(0))
    assert alone.differences["iou"] == Interval(0.0, None, None) and alone.equivalence is None


SHIP = replace(FOUND, true_positive_px=10_000, false_positive_px=0, false_negative_px=0)


def losing(*losses: float) -> list[TileScore]:
    """Twenty tiles, or one for each loss, of which such a share of the ship's pixels is missed."""
    missed = [round(10_000 * loss) for loss in (losses * 20 if len(losses) == 1 else losses)]
    return [replace(SHIP, true_positive_px=10_000 - each, false_negative_px=each) for each in missed]


@pytest.mark.parametrize(
    ("true_loss", "folds", "by", "least", "most"),
    [
        (0.0, 5, "training", 75, 95),
        (0.01, 5, "training", 75, 95),
        (0.0, 2, "training", 35, 70),
        (0.01, 5, "tiles", 96, 100),
        (0.01, 2, "tiles", 93, 100),
    ],
)
def test_intervals_hold_the_difference_between_ways_to_train(
    true_loss: float, folds: int, by: str, least: int, most: int
) -> None:
    # Two ways to train that differ by `true_loss` of each ship's pixels. Either each training goes its own way, which
    # no number of tiles takes away, so that intervals over tiles alone would be far too narrow; or each tile does.
    rng = np.random.default_rng(4)
    held, apart = 0, 0
    for _ in range(100):
        cells = {}
        for fold in range(folds):
            spread = rng.normal(0, 0.004, size=1 if by == "training" else 20)
            cells[fold, 0] = losing(0.2), losing(*(0.2 + true_loss + spread))
        found = compare(cells, margin=0.003, rng=rng, resamples=300)
        low, high = found.differences["iou"].ci or (0, 0)
        held += low <= -true_loss <= high
        apart += found.equivalence is not None and found.equivalence < 0.05
    assert least <= held <= most  # as its docstring says
    assert true_loss == 0 or apart <= 2


def test_more_seeds_narrow_what_training_spreads() -> None:
    rng = np.random.default_rng(5)

    def width(seeds: int) -> float:
        places = [(fold, seed) for fold in range(5) for seed in range(seeds)]
        cells = {place: (losing(0.2), losing(0.2 + rng.normal(0, 0.004))) for place in places}
        interval = compare(cells, margin=0.003, rng=rng, resamples=300).differences["iou"].ci or (0, 0)
        return interval[1] - interval[0]

    one, nine = (np.mean([width(seeds) for _ in range(20)]) for seeds in (1, 9))
    assert 1 / 3 < nine / one < 0.65  # a third, and the spread of the seeds counted twice


def test_answers_to_different_tiles_have_no_difference() -> None:
    with pytest.raises(ContractError, match="different tiles"):
        compare({(0, 0): ([FOUND, EMPTY], [EMPTY, FOUND])}, margin=0.003, rng=np.random.default_rng(0))
    with pytest.raises(ContractError, match="different tiles"):
        cells = {(0, seed): (tiles, tiles) for seed, tiles in enumerate(([FOUND, EMPTY], [EMPTY, FOUND]))}
        compare(cells, margin=0.003, rng=np.random.default_rng(0))
    with pytest.raises(ContractError, match="nothing to compare"):
        compare({}, margin=0.003, rng=np.random.default_rng(0))

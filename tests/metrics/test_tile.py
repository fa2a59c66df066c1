"""One tile: golden cases counted by hand, and slow twins in plain Python."""

from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from taran_eo.errors import ContractError
from taran_eo.imagery import Window
from taran_eo.metrics import KAGGLE_IOU_PERCENT, TileScore, agreement, score_tile
from taran_eo.ships import label_components, oriented_length_px

MASKS = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=12))


def score(truths: Iterable[np.ndarray], *args: np.ndarray, **options: float) -> TileScore:
    """`score_tile` with the true ships on the grid of the whole tile."""
    return score_tile(((Window(0, 0, *ship.shape), ship) for ship in truths), *args, **options)


def box(rows: slice, cols: slice, shape: tuple[int, int] = (20, 40)) -> np.ndarray:
    mask = np.zeros(shape, np.bool_)
    mask[rows, cols] = True
    return mask


def flood_fill(mask: np.ndarray) -> tuple[np.ndarray, int]:
    labels, number = np.zeros(mask.shape, np.int32), 0
    for row, col in np.argwhere(mask):
        if labels[row, col]:
            continue
        number += 1
        stack = [(row, col)]
        while stack:
            r, c = stack.pop()
            if 0 <= r < mask.shape[0] and 0 <= c < mask.shape[1] and mask[r, c] and not labels[r, c]:
                labels[r, c] = number
                stack += [(r + i, c + j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
    return labels, number


@given(MASKS)
def test_components_equal_a_flood_fill(mask: np.ndarray) -> None:
    labels, number = label_components(mask)
    expected, expected_number = flood_fill(mask)
    np.testing.assert_array_equal(labels, expected)
    assert number == expected_number


def test_a_spiral_is_one_component() -> None:
    size = 41
    mask = np.zeros((size, size), np.bool_)
    row = col = 0
    step, reach = (0, 1), size - 1
    mask[0, 0] = True
    for turn in range(2 * size):
        for _ in range(reach):
            row, col = row + step[0], col + step[1]
            mask[row, col] = True
        step = (step[1], -step[0])
        if turn >= 2 and turn % 2 == 0:
            reach -= 2
        if reach <= 0:
            break
    assert 0 < mask.sum() < mask.size
    np.testing.assert_array_equal(label_components(mask)[0], mask.astype(np.int32))


@pytest.mark.parametrize(("heading_deg", "length", "width"), [(0, 50, 10), (33, 80, 12), (90, 40, 8), (135, 60, 9)])
def test_length_of_a_drawn_rectangle(heading_deg: float, length: float, width: float) -> None:
    row, col = np.mgrid[:120, :120] - 60.25
    sine, cosine = np.sin(np.deg2rad(heading_deg)), np.cos(np.deg2rad(heading_deg))
    inside = (abs(row * sine + col * cosine) <= length / 2) & (abs(row * cosine - col * sine) <= width / 2)
    # Pixels are in or out: a side may be off by the diagonal of half a pixel at either end.
    assert oriented_length_px(inside) == pytest.approx(length, abs=1.5)


def test_golden_tile() -> None:
    """Counted by hand: a ship hit at IoU 0.7, one missed, one found above 0.3, one not at 0.3; two false alarms."""
    truths = [
        box(slice(0, 2), slice(0, 10)),  # 20 px, 10 px long: 15 m
        box(slice(5, 7), slice(0, 30)),  # 60 px, 30 px long: 45 m
        box(slice(10, 12), slice(0, 20)),  # 40 px, 20 px long: 30 m, at the limit of its bin
        box(slice(14, 15), slice(0, 20)),  # 20 px
    ]
    predicted = (
        box(slice(0, 2), slice(0, 7))
        | box(slice(10, 11), slice(0, 13))
        | box(slice(14, 15), slice(0, 6))
        | box(slice(18, 20), slice(30, 33))
    )
    tile = score(truths, predicted, gsd_m=1.5)
    assert (tile.true_positive_px, tile.false_positive_px, tile.false_negative_px) == (33, 6, 107)
    assert tile.area_m2 == 20 * 40 * 2.25
    assert tile.ships == (1, 3, 0, 0)
    assert tile.found == (1, 1, 0, 0)  # IoU 14/20 and 13/40; 6/20 is just 0.3
    assert tile.components == 4
    assert tile.hits == (1, 1, 1, 1, 0, 0, 0, 0, 0, 0)  # 0.7 exceeds 0.65, not 0.70
    # Four thresholds with TP 1, FN 3, FP 3: 5/(5+12+3); six with none.
    assert tile.f2 == pytest.approx(4 * (5 / 20) / 10)


def test_matching_is_one_to_one() -> None:
    halves = box(slice(0, 4), slice(0, 5)) | box(slice(0, 4), slice(6, 11))
    tile = score([box(slice(0, 4), slice(0, 11))], halves, gsd_m=1.5)
    assert (tile.ships, tile.found, tile.components) == ((1, 0, 0, 0), (1, 0, 0, 0), 2)
    blob = box(slice(0, 9), slice(0, 20))
    two = [box(slice(0, 4), slice(0, 20)), box(slice(5, 9), slice(0, 20))]
    tile = score(two, blob, gsd_m=1.5)
    assert (sum(tile.ships), sum(tile.found), tile.components) == (2, 1, 1)


def test_what_is_not_valid_does_not_count() -> None:
    valid = box(slice(0, 20), slice(0, 20))
    hidden, half = box(slice(0, 2), slice(25, 35)), box(slice(5, 7), slice(15, 25))
    tile = score([hidden, half], hidden | half, valid, gsd_m=2.0)
    assert (tile.true_positive_px, tile.false_positive_px, tile.false_negative_px) == (10, 0, 0)
    assert (tile.ships, tile.found, tile.components, tile.f2) == ((1, 0, 0, 0), (1, 0, 0, 0), 1, 1.0)
    assert tile.area_m2 == 400 * 4


def test_an_empty_tile_scores_one_when_left_empty() -> None:
    nothing = np.zeros((4, 4), np.bool_)
    assert score([], nothing, gsd_m=1.5).f2 == 1
    assert score([], ~nothing, gsd_m=1.5).f2 == 0
    assert score([~nothing], nothing, gsd_m=1.5).f2 == 0


def test_masks_of_another_shape_are_refused() -> None:
    tile = np.ones((4, 4), np.bool_)
    for window, ship in ((Window(0, 0, 5, 4), tile), (Window(0, 1, 4, 4), tile), (Window(0, 0, 4, 4), tile[:3])):
        with pytest.raises(ContractError, match=r"\([34], 4\).*\(4, 4\)"):
            score_tile([(window, ship)], tile, gsd_m=1.5)
    with pytest.raises(ContractError, match=r"\(3, 4\).*\(4, 4\)"):
        score([], tile, tile[:3], gsd_m=1.5)


def kaggle_f2(truths: list[np.ndarray], predicted: np.ndarray) -> float:
    """The score as the competition's page tells it, threshold by threshold, ship by ship."""
    labels, number = flood_fill(predicted)
    answers = [labels == k for k in range(1, number + 1)]
    scores = []
    for percent in KAGGLE_IOU_PERCENT:
        free = list(answers)
        hits = 0
        for truth in truths:
            for answer in free:
                if 100 * (truth & answer).sum() > percent * (truth | answer).sum():
                    hits += 1
                    free = [other for other in free if other is not answer]
                    break
        missed, wrong = len(truths) - hits, len(answers) - hits
        everything = 5 * hits + 4 * missed + wrong
        scores.append(5 * hits / everything if everything else 1.0)
    return float(np.mean(scores))


@given(arrays(np.uint8, (8, 8), elements=st.integers(0, 3)), arrays(np.uint8, (8, 8), elements=st.integers(0, 8)))
def test_f2_equals_its_slow_twin(ships: np.ndarray, noise: np.ndarray) -> None:
    truths = [ships == k for k in (1, 2, 3) if (ships == k).any()]
    predicted = (ships > 0) ^ (noise == 0)
    assert score(truths, predicted, gsd_m=1.5).f2 == pytest.approx(kaggle_f2(truths, predicted))


@given(MASKS, MASKS, st.integers(0, 3), st.integers(0, 3))
def test_the_window_of_a_ship_makes_no_difference(ship: np.ndarray, noise: np.ndarray, row: int, col: int) -> None:
    ship[0, 0] = True
    window = Window(row, col, *ship.shape)
    whole = np.zeros((16, 16), np.bool_)
    whole[window.slices] = ship
    predicted = whole ^ np.pad(noise, [(0, 16 - side) for side in noise.shape])
    assert score_tile([(window, ship)], predicted, gsd_m=9.0) == score([whole], predicted, gsd_m=9.0)


@given(MASKS)
def test_a_perfect_answer_finds_everything(mask: np.ndarray) -> None:
    labels, number = flood_fill(mask)
    tile = score((labels == k for k in range(1, number + 1)), mask, gsd_m=1.5)
    assert tile.f2 == 1
    assert tile.found == tile.ships
    assert sum(tile.ships) == tile.components == number
    assert tile.false_positive_px == tile.false_negative_px == 0


def test_large_ships_are_told_apart() -> None:
    large, small = box(np.s_[0:10], np.s_[0:20]), box(np.s_[15:18], np.s_[0:10])
    logits = np.full((20, 40), -5.0, np.float32)
    logits[0:10, 0:8] = 1.0  # IoU 0.4 of the large ship
    logits[0:10, 8:20] = -1.0
    logits[15:18, 0:10] = 0.5
    logits[5, 30] = 2.0  # a false alarm
    ships = [(Window(0, 0, 20, 40), large), (Window(0, 0, 20, 40), small)]
    tiles = [score_tile(ships, logits >= threshold, gsd_m=1.5) for threshold in (-2.0, 0.0, 0.75, 1.5, 3.0)]
    assert [tile.large for tile in tiles] == [1] * 5
    assert [tile.large_found for tile in tiles] == [1, 1, 1, 0, 0]
    assert [sum(tile.found) for tile in tiles] == [2, 2, 1, 0, 0]
    assert [tile.components - sum(tile.found) for tile in tiles] == [1, 1, 1, 1, 0]


@given(st.data())
def test_no_more_ships_are_found_than_there_are(data: st.DataObject) -> None:
    truth, answer = (data.draw(arrays(np.bool_, (12, 12))) for _ in range(2))
    labels, count = label_components(truth)
    ships = [(Window(0, 0, 12, 12), labels == number) for number in range(1, count + 1)]
    tile = score_tile(ships, answer, gsd_m=2.0)
    assert tile.large == sum(part.sum() > 100 for _, part in ships)
    assert tile.large_found <= min(tile.large, sum(tile.found)) and sum(tile.found) <= min(count, tile.components)


@given(st.data())
def test_masks_that_agree_are_one(data: st.DataObject) -> None:
    first, second, valid = (data.draw(arrays(np.bool_, (6, 6))) for _ in range(3))
    tile = agreement(first, second, valid)
    assert tile.true_positive_px == (first & second)[valid].sum()
    assert tile.false_positive_px + tile.false_negative_px == (first != second)[valid].sum()
    assert agreement(second, first, valid).false_positive_px == tile.false_negative_px

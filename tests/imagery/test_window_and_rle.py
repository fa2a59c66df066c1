"""Laws of windows, tile covers and run lengths."""

import math
import re
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from taran_eo.config import parse
from taran_eo.errors import ConfigError, CorruptDataError
from taran_eo.imagery import (
    Contract,
    Mask,
    Stretch,
    Window,
    coco_decode,
    coco_encode,
    cover,
    kaggle_decode,
    kaggle_encode,
)
from taran_eo.imagery.rle import kaggle_decode_part, kaggle_encode_part

MASKS = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=12))


@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 3), st.integers(0, 2))
def test_the_cores_partition_the_scene_and_the_windows_are_aligned(rows, cols, tiles, halos):
    seen = np.zeros((rows, cols), dtype=int)
    order = []
    for core, window in cover(rows, cols, 16 * tiles, 16 * halos, 16):
        seen[core.slices] += 1
        order.append((core.row, core.col))
        assert core.row % (16 * tiles) == core.col % (16 * tiles) == 0
        assert window.rows % 16 == window.cols % 16 == 0
        assert window.row % 16 == window.col % 16 == 0
        # All of the core and its halo that the scene has; and never a whole alignment step past the scene.
        assert window.clipped(rows, cols) == core.grown(16 * halos).clipped(rows, cols) or (
            core.row_stop == rows or core.col_stop == cols
        )
        assert window.row_stop < rows + 16
        assert window.col_stop < cols + 16
        assert window.clipped(rows, cols).row == max(core.row - 16 * halos, 0)
    assert (seen == 1).all()
    assert order == sorted(order)


def test_sizes_that_do_not_fit_the_alignment_are_refused_with_ones_that_do():
    with pytest.raises(ConfigError, match="Choose 96 or 112"):
        list(cover(10, 10, 100, 112, 16))
    with pytest.raises(ConfigError, match="halo"):
        list(cover(10, 10, 96, 107, 16))


@given(MASKS)
def test_run_lengths_round_trip(mask):
    assert (kaggle_decode(kaggle_encode(mask), *mask.shape) == mask).all()
    assert (coco_decode(coco_encode(mask)) == mask).all()


@given(MASKS, st.lists(st.integers(0, 4), min_size=4, max_size=4))
def test_a_part_is_encoded_as_on_the_whole_scene(mask, margins):
    """Also where the window takes the scene from top to bottom, and runs go on in the next column."""
    top, bottom, left, right = margins
    scene = np.pad(mask, ((top, bottom), (left, right)))
    text = kaggle_encode_part((Window(top, left, *mask.shape), mask), len(scene))
    assert text == kaggle_encode(scene)
    window, part = kaggle_decode_part(text, *scene.shape)
    assert part.shape == (window.rows, window.cols)
    assert (np.pad(part, _margins(window, scene.shape)) == scene).all()
    if part.any() and window.rows < len(scene):
        assert all(edge.any() for edge in (part[0], part[-1], part[:, 0], part[:, -1])), "a smaller window would do"


def test_a_part_needs_no_memory_for_its_scene():
    side = 10**7
    window, mask = Window(side - 3, side // 2, 3, 2), np.array([[0, 1], [1, 1], [1, 0]], dtype=bool)
    text = kaggle_encode_part((window, mask), side)
    found, part = kaggle_decode_part(text, side, side)
    assert (found, part.tolist()) == (window, mask.tolist())


def _margins(window, shape):
    return (window.row, shape[0] - window.row_stop), (window.col, shape[1] - window.col_stop)


@given(MASKS)
def test_kaggle_agrees_with_the_definition_of_the_data_set(mask):
    rows, cols = mask.shape
    flat = np.zeros(rows * cols)
    numbers = list(map(int, kaggle_encode(mask).split()))
    for start, length in zip(numbers[::2], numbers[1::2], strict=True):
        flat[start - 1 : start - 1 + length] = 1
    assert (mask == flat.reshape(cols, rows).T).all()


@given(MASKS)
def test_coco_counts_alternate_and_never_rest(mask):
    counts = coco_encode(mask)["counts"]
    assert sum(counts) == mask.size
    assert all(counts[1:])
    values = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    assert (values.reshape(mask.shape, order="F") == mask).all()


@pytest.mark.parametrize("text", ["1", "1 2 x 3", "0 3", "1 0", "20 9", "5 3 2 1", "1 4 3 1", "-1 2", "1.5 2", "1 ²"])
def test_kaggle_garbage_is_refused(text):
    with pytest.raises(CorruptDataError):
        kaggle_decode(text, 5, 5)


@given(st.text())
def test_no_text_does_anything_but_decode_or_be_refused(text):
    with suppress(CorruptDataError):
        assert kaggle_decode(text, 4, 6).shape == (4, 6)


@pytest.mark.parametrize(
    "garbage",
    [{}, {"size": [2, 2], "counts": [3]}, {"size": [2], "counts": [4]}, {"size": [2, 2], "counts": "abcd"},
     {"size": [2, 2], "counts": [-1, 5]}, {"size": [2, 2], "counts": [2.0, 2]}],
)  # fmt: skip
def test_coco_garbage_is_refused(garbage):
    with pytest.raises(CorruptDataError):
        coco_decode(garbage)


def test_adjacent_runs_are_one_run():
    assert kaggle_encode(kaggle_decode("1 2 3 2", 2, 3)) == "1 4"


def test_a_mask_unites_ships_and_keeps_nodata_apart():
    mask = Mask.from_kaggle(["1 2", "", "2 2"], 2, 3)
    assert mask.kaggle() == "1 3"
    assert mask.coco() == {"size": [2, 3], "counts": [0, 3, 3]}
    holed = Mask.of(mask.ship, np.array([[True, True, False], [True, True, True]]))
    assert holed.labels.tolist() == [[1, 1, 255], [1, 0, 0]]
    with pytest.raises(CorruptDataError):
        Mask(np.full((2, 2), 7, dtype=np.uint8))


def test_the_contract_survives_a_file_and_is_a_key():
    contract = Contract(gsd_m=0.75)
    assert parse(contract.model_dump(mode="json"), Contract, source="model.toml") == contract
    assert {contract: 1}[Contract(gsd_m=0.75)] == 1


@pytest.mark.parametrize(
    ("key", "value"),
    [("gsd", 1), ("gsd_m", -1.0), ("gsd_m", "1.5"), ("gsd_m", math.inf), ("bit_depth", 12), ("bit_depth", 8.0),
     ("tone", "radiance"), ("bands", "rgb"), ("bands", []), ("nodata", False), ("gsd_tolerance", 1)],
)  # fmt: skip
def test_a_contract_that_cannot_be_served_is_refused_by_key_and_value(key, value):
    with pytest.raises(ConfigError, match=re.escape(f"model.toml: {key} = {value!r}")) as caught:
        parse({key: value}, Contract, source="model.toml")
    assert caught.value.remedy


@given(arrays(np.float32, (2, 3, 4), elements=st.floats(width=32)))
def test_a_stretch_maps_any_values_to_levels_in_order(values):
    stretch = Stretch.measured(values, np.ones((3, 4), dtype=np.bool_))
    assert stretch.low < stretch.high
    levels = stretch.apply(np.sort(values[np.isfinite(values)]))
    assert (np.diff(levels.astype(int)) >= 0).all()


def test_window_arithmetic():
    window = Window(-3, 5, 10, 4)
    assert window.clipped(6, 7) == Window(0, 5, 6, 2)
    assert window.clipped(6, 2).cols == 0
    assert window.grown(1).relative_to(window) == Window(-1, -1, 12, 6)

"""The C kernels give the integers of the reference: every kind of processor, every width, every size."""

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taran_eo import engines
from taran_eo.c_runtime import binding, to_program
from taran_eo.engines import engines_for, fastest_engine, native, open_engine, open_pool
from taran_eo.engines.native import VARIABLE, NativeEngine, kernels_here, peak_gmac_s
from taran_eo.engines.onnxruntime import OnnxRuntimeEngine
from taran_eo.engines.pool import EnginePool
from taran_eo.engines.reference import ReferenceEngine
from taran_eo.errors import ConfigError, GraphError, MissingExtraError
from taran_eo.formats import Integer, integer_image, parse_format
from taran_eo.graph import Conv, Graph, Requantize, run
from taran_eo.imagery.window import Window
from tests.engines.replaying import build, replay
from tests.graph.networks import chain, every_pair, in_float, one_layer, random_unet

ROUTES = [
    ("e2m3", "ue2m4", True),
    ("e2m3", "e2m3", True),
    ("e3m2", "ue3m3", True),
    ("e3m2", "e3m2", True),
    ("e2m3", "ue2m4", False),
    ("int8n", "uint8", True),
    ("int8", "int8", True),
    ("int8n", "uint8", False),
    ("e2m1", "ue2m2", True),
    ("e3m3", "ue3m3", False),
    ("int4", "uint8", True),
    ("e2m1", "ue3m3", True),
    ("int6", "uint6", True),
]
"""Bytes and words, signed and not, weights and activations of different widths, powers of two and not."""


def forced(monkeypatch, kernels):
    monkeypatch.setenv(VARIABLE, kernels)


@pytest.fixture(params=kernels_here())
def kernels(request, monkeypatch):
    monkeypatch.setenv(VARIABLE, request.param)
    return request.param


def check(graph, pixels, *, threads=1):
    engine = NativeEngine(graph, threads)
    assert np.array_equal(engine.run(pixels), run(graph, pixels))
    return engine


@pytest.mark.parametrize(("weights", "activations", "powers"), ROUTES)
def test_random_networks(kernels, weights, activations, powers):
    rng = np.random.default_rng(11)
    for width in (5, 16, 33):
        graph = random_unet(rng, weights=weights, activations=activations, width=width, depth=2, powers_of_two=powers)
        engine = NativeEngine(graph, 1)
        assert engine.kernels == kernels
        for shape in ((3, 4, 4), (3, 40, 24), (3, 4, 52)):
            pixels = rng.integers(0, 256, shape, dtype=np.uint8)
            assert np.array_equal(engine.run(pixels), run(graph, pixels))


@settings(max_examples=25)
@given(st.integers(0, 2**32), st.sampled_from(ROUTES), st.integers(1, 12), st.integers(1, 30))
def test_any_network_any_size(seed, route, rows, cols):
    weights, activations, powers = route
    rng = np.random.default_rng(seed)
    width = int(rng.integers(1, 40))
    graph = random_unet(rng, weights=weights, activations=activations, width=width, depth=1, powers_of_two=powers)
    for name in kernels_here():
        with pytest.MonkeyPatch.context() as patch:
            forced(patch, name)
            check(graph, rng.integers(0, 256, (3, 2 * rows, 2 * cols), dtype=np.uint8))


def with_extremes(graph, rng):
    """The same network with weights at the ends of their format, and pixels that are black or white."""
    ops = []
    for op in graph.ops:
        if isinstance(op, Conv):
            image = integer_image(op.weight_format)
            ends = rng.choice(np.array([image.low, image.high]), op.weights.shape).astype(op.weights.dtype)
            op = Conv(op.source, op.target, ends, op.weight_format, op.bias, op.requantize)
        ops.append(op)
    return Graph(graph.name, graph.tensors, tuple(ops), graph.input, graph.output)


@pytest.mark.parametrize("weights", ["e2m3", "e3m2", "int8", "int8n"])
def test_weights_and_pixels_at_the_ends(kernels, weights):
    rng = np.random.default_rng(5)
    activations = {"e2m3": "ue2m4", "e3m2": "ue3m3", "int8": "int8", "int8n": "uint8"}[weights]
    graph = with_extremes(random_unet(rng, weights=weights, activations=activations, width=32, depth=1), rng)
    check(graph, rng.choice(np.array([0, 255], np.uint8), (3, 20, 36)))
    check(graph, np.full((3, 8, 8), 255, np.uint8))


@pytest.mark.parametrize("name", ["ue2m4", "ue3m3", "e2m3", "e3m2", "ue2m2", "uint6", "int6n", "ue3m4"])
@pytest.mark.parametrize(("shift", "multiplier"), [(0, 1), (1, 1), (3, 1), (7, 1), (13, 1), (0, 3), (9, 1001)])
def test_every_accumulator_on_every_stair(kernels, name, shift, multiplier):
    # Of all pairs of pixels, so that the coarse grid of large values has all its ties too.
    check(one_layer(name, shift, multiplier, weight=256), every_pair())


def test_sums_beyond_float32_are_rounded_once(kernels):
    # Accumulators of 2**24 and more, whose lowest bits decide ties.
    first, second = np.meshgrid(np.arange(0, 256, 2), np.arange(256))
    graph = one_layer("ue3m3", 17, 1, weight=32767)
    pixels = np.stack([first, second]).astype(np.uint8)
    tensors = graph.tensors
    wide = Conv("pixels", "coarse", np.array([[[[1]], [[32767]]]] * 2, np.int16), Integer(16),
                np.array([2**30 - 1, 2**30 + 2**16], np.int32), graph.ops[0].requantize)  # fmt: skip
    for shift in (17, 18, 21):
        how = Requantize(np.ones(2, np.int32), np.full(2, shift, np.int32))
        conv = Conv("pixels", "coarse", wide.weights, Integer(16), wide.bias, how)
        check(Graph("wide", tensors, (conv, graph.ops[1]), "pixels", "logits"), pixels)
        exact = to_program(Graph("wide", tensors, (conv, graph.ops[1]), "pixels", "logits")).steps[1].weights.exact
        assert exact == 7, "the test does not reach what it is for"


CHAINS = [
    ("conv1",),
    ("conv5", "conv7"),
    ("conv3", "pool", "conv3", "up"),  # the logits read what is upsampled
    ("conv3", "pool", "conv5", "up", "conv5"),
    ("conv3", "pool", "pool", "up", "up", "conv3"),  # twice
    ("conv3", "pool", "up", "pool", "conv3"),  # the largest of four that are the same
    ("conv3", "conv3", "join t0", "join t1", "conv1"),
    ("conv3", "conv3", "join t0", "pool", "conv3", "up"),  # a join that is pooled, and one that is upsampled
    ("conv3", "pool", "conv3", "join t1", "up", "conv3", "join t0", "conv3"),
    ("conv3", "pool", "conv3"),  # logits of half the size
    ("pool", "conv3", "pool", "conv3"),  # as a gate: pixels are pooled, and logits are coarse
]


@pytest.mark.parametrize("ops", CHAINS, ids=" ".join)
@pytest.mark.parametrize("fmt", ["ue2m4", "e2m3", "e3m2"])
def test_every_order_of_operations(kernels, ops, fmt):
    graph = chain(*ops, fmt=fmt)
    rng = np.random.default_rng(3)
    for rows, cols in ((4, 4), (12, 40), (72, 8)):
        check(graph, rng.integers(0, 256, (3, rows, cols), dtype=np.uint8))


def windows(rng, rows, cols, count):
    """Some parts of a plane, the whole and single pixels at its corners among them."""
    yield from (Window(0, 0, rows, cols), Window(0, 0, 1, 1), Window(rows - 1, cols - 1, 1, 1))
    for _ in range(count):
        (top, bottom), (left, right) = (sorted(rng.choice(side + 1, 2, replace=False)) for side in (rows, cols))
        yield Window(int(top), int(left), int(bottom - top), int(right - left))


@pytest.mark.parametrize("ops", CHAINS, ids=" ".join)
def test_what_is_wanted_is_what_it_would_be_among_all(kernels, ops):
    graph = chain(*ops)
    rng = np.random.default_rng(4)
    pixels = rng.integers(0, 256, (3, 72, 216), dtype=np.uint8)
    expected, engine = run(graph, pixels), NativeEngine(graph, 1)
    for wanted in windows(rng, *expected.shape[1:], 12):
        assert np.array_equal(engine.run(pixels, wanted), expected[:, *wanted.slices]), wanted


@settings(max_examples=15)
@given(st.integers(0, 2**32), st.sampled_from(ROUTES), st.integers(1, 3))
def test_any_part_of_any_network_on_every_engine(seed, route, threads):
    weights, activations, powers = route
    rng = np.random.default_rng(seed)
    width = int(rng.integers(1, 40))
    graph = random_unet(rng, weights=weights, activations=activations, width=width, depth=2, powers_of_two=powers)
    pixels = rng.integers(0, 256, (3, 4 * int(rng.integers(1, 16)), 4 * int(rng.integers(1, 60))), dtype=np.uint8)
    expected = run(graph, pixels)
    for engine in (NativeEngine(graph, threads), OnnxRuntimeEngine(graph, 1), ReferenceEngine(graph)):
        for wanted in windows(rng, *pixels.shape[1:], 2):
            assert np.array_equal(engine.run(pixels, wanted), expected[:, *wanted.slices]), (engine.name, wanted)


@pytest.mark.parametrize("wanted", [Window(0, 0, 0, 4), Window(0, 0, 4, 0), Window(-1, 0, 4, 4), Window(0, 5, 8, 4)])
@pytest.mark.parametrize("name", ["native", "onnxruntime", "reference"])
def test_what_a_tile_has_not_cannot_be_wanted(name, wanted):
    engine = open_engine(name, chain("conv3"), threads=1)
    with pytest.raises(GraphError, match="no part of the 8 x 8 logits"):
        engine.run(np.zeros((3, 8, 8), np.uint8), wanted)


def test_more_channels_than_a_block_and_one_band(kernels):
    rng = np.random.default_rng(3)
    check(chain("conv3", "conv3", channels=81, bands=1), rng.integers(0, 256, (1, 6, 50), dtype=np.uint8))


@pytest.mark.parametrize("threads", [2, 3, 8])
def test_threads_share_rows_and_change_nothing(threads):
    rng = np.random.default_rng(1)
    graph = random_unet(rng, width=16, depth=2)
    engine = check(graph, rng.integers(0, 256, (3, 4, 400), dtype=np.uint8), threads=threads)
    for _ in range(20):
        pixels = rng.integers(0, 256, (3, 132, 200), dtype=np.uint8)
        assert np.array_equal(engine.run(pixels), run(graph, pixels))


def test_one_engine_for_several_threads_of_python():
    rng = np.random.default_rng(1)
    graph = random_unet(rng, width=16, depth=2)
    engine = NativeEngine(graph, 2)
    tiles = [rng.integers(0, 256, (3, 4 * int(rows), 64), dtype=np.uint8) for rows in rng.integers(1, 20, 12)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(engine.run, tiles))
    assert all(np.array_equal(logits, run(graph, tile)) for logits, tile in zip(found, tiles, strict=True))


def test_a_pool_computes_tiles_side_by_side_and_makes_no_more_engines_than_it_needs():
    rng = np.random.default_rng(1)
    graph = random_unet(rng, width=16, depth=2)
    tiles = [rng.integers(0, 256, (3, 4 * int(rows), 64), dtype=np.uint8) for rows in rng.integers(1, 20, 24)]
    pool = open_pool("auto", graph, threads=3)
    assert isinstance(pool, EnginePool) and (pool.name, pool.tile_size) == ("native", NativeEngine.tile_size)
    with mock.patch("taran_eo.engines.pool.NativeEngine", wraps=NativeEngine) as made:
        assert np.array_equal(pool.run(tiles[0]), run(graph, tiles[0])) and made.call_count == 0
        with ThreadPoolExecutor(6) as callers:
            found = list(callers.map(pool.run, tiles))
        assert made.call_count <= 2
    assert all(np.array_equal(logits, run(graph, tile)) for logits, tile in zip(found, tiles, strict=True))
    with pytest.raises(GraphError):
        pool.run(np.zeros((3, 5, 5), np.uint8))
    assert np.array_equal(pool.run(tiles[1]), found[1])
    assert isinstance(open_pool("native", graph, threads=1), NativeEngine)
    assert open_pool("onnxruntime", graph, threads=2).name == "onnxruntime"


def test_pixels_may_lie_in_any_order():
    rng = np.random.default_rng(1)
    graph = random_unet(rng, width=8, depth=1)
    engine = NativeEngine(graph, 1)
    scene = rng.integers(0, 256, (63, 131, 3), dtype=np.uint8)
    views = (
        scene.transpose(2, 0, 1)[:, 1:41, 3:51],
        scene.transpose(2, 0, 1)[::-1, 40:0:-1, 100:4:-2],
        np.asfortranarray(scene.transpose(2, 0, 1))[:, :10, :20],
        np.broadcast_to(scene[:, :1, :1].transpose(2, 0, 1)[:, :2], (3, 2, 8)),
    )
    for pixels in views:
        assert np.array_equal(engine.run(pixels), run(graph, np.ascontiguousarray(pixels)))


def test_memory_does_not_grow_with_the_rows():
    graph = random_unet(np.random.default_rng(0), width=16, depth=2)
    engine = NativeEngine(graph, 1)
    sizes = []
    for rows in (256, 1024, 4096):
        engine.run(np.zeros((3, rows, 32), np.uint8))
        sizes.append(engine.arena_bytes)
    assert sizes[0] == sizes[1] == sizes[2]


def test_what_cannot_run_is_refused_by_name(monkeypatch):
    graph = random_unet(np.random.default_rng(0))
    with pytest.raises(ConfigError, match="0 threads"):
        NativeEngine(graph, 0)
    engine = NativeEngine(graph, 1)
    for shape in ((3, 0, 4), (3, 5, 4), (2, 4, 4), (3, 4)):
        with pytest.raises(GraphError, match="does not fit"):
            engine.run(np.zeros(shape, np.uint8))
    with pytest.raises(GraphError, match="float32"):
        NativeEngine(in_float(graph, np.random.default_rng(0)), 1)
    wide = chain("conv3", fmt="ue4m3")
    with pytest.raises(GraphError, match=r"'t0' holds ue4m3.*16"):
        NativeEngine(wide, 1)
    assert fastest_engine(wide) == "onnxruntime" and fastest_engine(graph) == "native"
    forced(monkeypatch, "mmx")
    with pytest.raises(ConfigError, match=r"mmx.*portable"):
        NativeEngine(graph, 1)


def changed(graph, *, ops=None, output=None, **tensors):
    named = dict(graph.tensors) | tensors
    return Graph(graph.name, named, graph.ops if ops is None else ops, graph.input, output or graph.output)


def test_graphs_that_the_kernels_would_misread_are_refused():
    graph = chain("conv3", "pool", "conv3")
    pixels, first = graph.tensors["pixels"], graph.ops[0]
    uint4 = replace(pixels, format=Integer(4, signed=False))
    with pytest.raises(GraphError, match="uint4"):
        to_program(changed(graph, pixels=uint4))
    with pytest.raises(GraphError, match="uint8 at level 0"):
        to_program(changed(graph, pixels=replace(pixels, format=parse_format("int8"))))
    up = chain("conv3", "up", "conv3", "pool")
    assert min(tensor.level for tensor in up.tensors.values()) == -1
    with pytest.raises(GraphError, match="upsampling of the tile itself"):
        to_program(up)
    ends = {name: graph.tensors[name] for name in ("pixels", "t0", "t1")}
    with pytest.raises(GraphError, match="no convolution makes the logits"):
        to_program(Graph("coarse", ends, graph.ops[:2], "pixels", "t1"))
    heavy = Conv("pixels", "t0", first.weights.astype(np.int32) * 0 + 40000, Integer(20), first.bias, first.requantize)
    with pytest.raises(GraphError, match="weights from 40000 to 40000"):
        to_program(changed(graph, ops=(heavy, *graph.ops[1:])))


def test_weights_decide_their_width_by_their_values(kernels):
    rng = np.random.default_rng(2)
    graph = chain("conv3", "conv1")
    for fmt, dtype in ((Integer(8, signed=False), np.uint8), (Integer(12), np.int16), (Integer(6), np.int32)):
        image = integer_image(fmt)
        first = graph.ops[0]
        weights = rng.integers(image.low, image.high + 1, first.weights.shape).astype(dtype)
        ops = (Conv("pixels", "t0", weights, fmt, first.bias, first.requantize), *graph.ops[1:])
        check(changed(graph, ops=ops), rng.integers(0, 256, (3, 8, 20), dtype=np.uint8))


def test_what_nobody_reads_is_not_made():
    graph = chain("conv3", "conv3")
    dead = Conv(
        "t0", "dead", graph.ops[1].weights, graph.ops[1].weight_format, graph.ops[1].bias, graph.ops[1].requantize
    )
    tensors = dict(graph.tensors) | {"dead": replace(graph.tensors["t1"], name="dead")}
    more = Graph("more", tensors, (graph.ops[0], dead, *graph.ops[1:]), "pixels", "logits")
    assert len(to_program(more).steps) == len(to_program(graph).steps)
    check(more, np.full((3, 300, 8), 7, np.uint8))


def test_an_engine_outlives_a_tile_that_there_was_no_memory_for(monkeypatch):
    rng = np.random.default_rng(2)
    graph = random_unet(rng, width=8, depth=1)
    pixels = rng.integers(0, 256, (3, 16, 16), dtype=np.uint8)
    engine = check(graph, pixels)
    with monkeypatch.context() as patch, pytest.raises(MemoryError):
        patch.setattr(native, "aligned", lambda size: (_ for _ in ()).throw(MemoryError(size)))
        engine.run(np.zeros((3, 16, 6400), np.uint8))
    assert np.array_equal(engine.run(pixels), run(graph, pixels))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
def test_a_fork_has_threads_of_its_own():
    code = (
        "import os, numpy as np; from taran_eo.model import Model; from taran_eo.engines.native import NativeEngine;"
        "engine = NativeEngine(Model.open().graph, 2); tile = np.zeros((3, 64, 64), np.uint8);"
        "before = engine.run(tile); child = os.fork();"
        "same = np.array_equal(engine.run(tile), before);"
        "os._exit(not same) if child == 0 else print(same, os.waitpid(child, 0)[1])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["True", "0"]


def test_kernels_that_are_not_here_fall_back_and_say_so(monkeypatch):
    graph = random_unet(np.random.default_rng(0))
    everything = native._all_kernels
    monkeypatch.setattr(
        native, "_all_kernels", lambda library: [(name, name == "portable", at) for name, _, at in everything(library)]
    )
    forced(monkeypatch, native._all_kernels(binding.loaded())[0][0])
    native._told.cache_clear()
    with pytest.warns(UserWarning, match="cannot run the kernels"):
        assert NativeEngine(graph, 1).kernels == "portable"
    check(graph, np.zeros((3, 4, 4), np.uint8))  # a second time it says nothing: warnings are errors here


def test_without_the_library_onnxruntime_runs_and_it_is_said_once(monkeypatch):
    graph = random_unet(np.random.default_rng(0))
    monkeypatch.setattr(binding, "built", lambda: None)
    monkeypatch.setattr(native, "built", lambda: None)
    binding.loaded.cache_clear()
    engines._tell_missing.cache_clear()
    try:
        assert engines_for(graph) == ("reference", "onnxruntime")
        with pytest.warns(UserWarning, match="not built"):
            assert open_engine("auto", graph, threads=1).name == "onnxruntime"
        assert open_engine("auto", graph, threads=1).name == "onnxruntime"
        with pytest.raises(MissingExtraError, match="C compiler"):
            open_engine("native", graph, threads=1)
    finally:
        binding.loaded.cache_clear()


def test_an_engine_that_is_dropped_ends_its_threads():
    code = (
        "import os, numpy as np; from taran_eo.model import Model; from taran_eo.engines.native import NativeEngine;"
        "engine = NativeEngine(Model.open().graph, 4); engine.run(np.zeros((3, 16, 16), np.uint8));"
        "before = len(os.listdir('/proc/self/task')); del engine; print(before - len(os.listdir('/proc/self/task')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "3"


def test_the_peak_is_above_what_a_network_reaches(monkeypatch):
    forced(monkeypatch, "portable")
    assert 0 < peak_gmac_s(seconds=0.01) < 1000


CASES = [(*route, width, shape) for route, width, shape in zip(
    ROUTES, (32, 7, 32, 16, 20, 32, 3, 9, 48, 5, 11, 13, 17), ((20, 36), (4, 4), (36, 28), (8, 52)) * 4, strict=False
)]  # fmt: skip


def tools(name, folder):
    """A build of the kernels, how it is run, and the kernels it has."""
    if name == "arm":
        compiler, emulator = "aarch64-linux-gnu-gcc", "qemu-aarch64"
        missing = [tool for tool in (compiler, emulator) if shutil.which(tool) is None]
        if missing:
            message = (
                f"{' and '.join(missing)} missing: Debian's gcc-aarch64-linux-gnu, libc6-dev-arm64-cross, qemu-user"
            )
            pytest.fail(message) if "CI" in os.environ else pytest.skip(message)
        return [emulator, build(folder / name, compiler, "-O2", "-static")], ("neondot", "neon", "portable")
    checks = "-fsanitize=address,undefined" if name == "memory" else "-fsanitize=thread"
    program = build(folder / name, "cc", "-O1", "-g", checks, "-fno-sanitize-recover=all")
    return [program], kernels_here()


@pytest.fixture(scope="module", params=["arm", "memory", "threads"])
def built(request, tmp_path_factory):
    return tools(request.param, tmp_path_factory.mktemp(request.param))


def test_other_processors_and_sanitizers(built, tmp_path):
    command, kernels = built
    rng = np.random.default_rng(8)
    for weights, activations, powers, width, shape in CASES:
        graph = random_unet(rng, weights=weights, activations=activations, width=width, depth=2, powers_of_two=powers)
        pixels = rng.integers(0, 256, (3, *shape), dtype=np.uint8)
        expected = run(graph, pixels)
        for name in kernels:
            for wanted in (None, *windows(rng, *pixels.shape[1:], 1)):
                found = replay(command, graph, pixels, name, tmp_path, stripe=8, wanted=wanted)
                part = expected if wanted is None else expected[:, *wanted.slices]
                assert np.array_equal(found, part), (name, weights, activations, wanted)

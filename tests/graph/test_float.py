"""A program in float32: its interpreter, its file, its memory, and what it refuses."""

import json
from dataclasses import replace

import numpy as np
import pytest

from taran_eo.engines import engines_for, open_engine
from taran_eo.errors import CorruptDataError, GraphError
from taran_eo.formats import Integer, Scaling
from taran_eo.graph import (
    FLOAT32,
    Concat,
    Conv,
    FloatConv,
    Graph,
    MaxPool,
    Tensor,
    Upsample,
    load,
    plan,
    run,
    save,
    sources_of,
    tolerance,
)
from taran_eo.graph.reference import FLOAT_TOLERANCE
from tests.graph.networks import in_float, random_unet


def float_unet(seed, **shape):
    rng = np.random.default_rng(seed)
    return in_float(random_unet(rng, **shape), rng)


def slow_run(graph, pixels):
    """The interpreter again, by sums over windows."""
    images = {graph.input: pixels.astype(np.float32)}
    for op in graph.ops:
        first = images[sources_of(op)[0]]
        match op:
            case FloatConv():
                padded = np.pad(first, ((0, 0), *[(op.kernel // 2, op.kernel // 2)] * 2)).astype(np.float64)
                windows = np.lib.stride_tricks.sliding_window_view(padded, (op.kernel, op.kernel), axis=(1, 2))
                sums = np.einsum("irckl,oikl->orc", windows, op.weights) + op.bias[:, None, None]
                images[op.target] = (sums.clip(0) if op.relu else sums).astype(np.float32)
            case MaxPool():
                channels, rows, cols = first.shape
                images[op.target] = first.reshape(channels, rows // 2, 2, cols // 2, 2).max(axis=(2, 4))
            case Upsample():
                images[op.target] = np.kron(first, np.ones((1, 2, 2), np.float32))
            case Concat():
                images[op.target] = np.concatenate([images[source] for source in op.sources])
    return np.rint(images[graph.output] * 2.0**16)


@pytest.mark.parametrize(("width", "depth"), [(4, 1), (11, 2), (2, 3)])
def test_the_interpreter_its_slow_twin_and_the_engines_agree(width, depth):
    graph = float_unet(1, width=width, depth=depth)
    pixels = np.random.default_rng(2).integers(0, 256, (3, 40, 24), dtype=np.uint8)
    logits = run(graph, pixels)
    assert logits.dtype == np.int32 and np.abs(logits).max() > 1000 * FLOAT_TOLERANCE
    assert np.abs(logits - slow_run(graph, pixels)).max() <= 1
    for name in engines_for(graph):
        assert np.abs(open_engine(name, graph, threads=1).run(pixels) - logits).max() <= tolerance(graph, logits)


def test_the_tolerance_follows_the_largest_logit():
    graph = float_unet(1, width=2, depth=1)
    logits = np.zeros((1, 4, 4), np.int32)
    assert tolerance(graph, logits) == FLOAT_TOLERANCE
    logits[0, 1, 1] = -(2**31)
    assert tolerance(graph, logits) == 2**15
    assert tolerance(random_unet(np.random.default_rng(1)), logits) == 0


def one_layer(weight, bias, *, relu=False, step=2.0**-16):
    tensors = (
        Tensor("pixels", 1, 0, Integer(8, signed=False), Scaling((1.0,))),
        Tensor("logits", 1, 0, Integer(32), Scaling((step,))),
    )
    conv = FloatConv("pixels", "logits", np.full((1, 1, 1, 1), weight, np.float32), np.float32([bias]), relu)
    return Graph("staircase", {tensor.name: tensor for tensor in tensors}, (conv,), "pixels", "logits")


@pytest.mark.parametrize("engine", ["reference", "onnxruntime"])
def test_logits_are_rounded_to_nearest_even_and_saturate(engine):
    pixels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    numbers = pixels.astype(np.int64)

    def logits(*arguments, **options):
        return open_engine(engine, one_layer(*arguments, **options), threads=1).run(pixels)

    assert logits(2.0**-17, 0).ravel()[:8].tolist() == [0, 0, 1, 2, 2, 2, 3, 4]
    assert np.array_equal(logits(-3, 7, step=0.25), 4 * (7 - 3 * numbers))
    assert np.array_equal(logits(-3, 7, relu=True, step=0.25), 4 * (7 - 3 * numbers).clip(0))
    assert np.array_equal(logits(1e6, -1e8), (65536 * (10**6 * numbers - 10**8)).clip(-(2**31), 2**31 - 1))


@pytest.mark.parametrize("engine", ["reference", "onnxruntime"])
def test_tiles_with_their_halo_give_the_logits_of_the_whole(engine):
    graph = float_unet(3, depth=2)
    runner = open_engine(engine, graph, threads=1)
    scene = np.random.default_rng(3).integers(0, 256, (3, 96, 128), dtype=np.uint8)
    whole = runner.run(scene)
    for top, left in ((0, 0), (32, 64), (64, 96)):
        rows = slice(max(0, top - graph.halo), min(96, top + 32 + graph.halo))
        cols = slice(max(0, left - graph.halo), min(128, left + 32 + graph.halo))
        part = runner.run(np.ascontiguousarray(scene[:, rows, cols]))
        core = np.s_[:, top - rows.start : top - rows.start + 32, left - cols.start : left - cols.start + 32]
        gap = np.abs(part[core] - whole[:, top : top + 32, left : left + 32])
        assert gap.max() <= tolerance(graph, whole)


def test_it_has_the_shape_of_the_same_network_in_integers():
    integers = random_unet(np.random.default_rng(4))
    graph = in_float(integers, np.random.default_rng(4))
    for fact in ("bands", "classes", "alignment", "reach", "halo", "parameters"):
        assert getattr(graph, fact) == getattr(integers, fact)
    assert graph.macs(64, 32) == integers.macs(64, 32)
    assert (graph.weight_formats, graph.activation_formats, graph.logit_scale) == (("float32",), ("float32",), 2.0**-16)
    assert integers.exact and not graph.exact
    floats, bytes_ = plan(graph, 64, 64), plan(integers, 64, 64)
    assert floats.slots["down0a"].size == 4 * bytes_.slots["down0a"].size == 4 * 6 * 64 * 64
    assert floats.slots["pixels"].size == 3 * 64 * 64 and floats.slots["logits"].size == 4 * 64 * 64
    assert floats.weight_bytes == 4 * graph.parameters


def test_a_saved_graph_is_the_same_graph(tmp_path):
    graph, path = float_unet(5), tmp_path / "graph.safetensors"
    save(graph, path)
    again = load(path)
    pixels = np.random.default_rng(5).integers(0, 256, (3, 16, 16), dtype=np.uint8)
    assert again.digest == graph.digest and np.array_equal(run(again, pixels), run(graph, pixels))


def test_only_a_program_with_floats_is_of_the_newer_version():
    integers = random_unet(np.random.default_rng(4))
    graphs = integers, in_float(integers, np.random.default_rng(4))
    assert [json.loads(graph.program()[0])["version"] for graph in graphs] == [1, 2]


def test_a_damaged_or_newer_file_is_refused(tmp_path, monkeypatch):
    graph, path = float_unet(6, width=2, depth=1), tmp_path / "graph.safetensors"
    save(graph, path)
    whole = path.read_bytes()
    for position in range(0, len(whole), 101):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x10]) + whole[position + 1 :])
        try:
            assert load(path).digest == graph.digest  # a byte of padding or of a key that nothing reads
        except CorruptDataError:
            continue
    monkeypatch.setattr("taran_eo.graph.program.FLOAT_VERSION", 3)
    save(graph := float_unet(7), path)
    assert load(path).digest == graph.digest
    monkeypatch.undo()
    with pytest.raises(CorruptDataError, match="of version 3, this program reads 1 and 2"):
        load(path)


def spoil(graph, target, **changes):
    ops = tuple(replace(op, **changes) if op.target == target else op for op in graph.ops)
    return Graph(graph.name, graph.tensors, ops, graph.input, graph.output)


def declare(graph, name, **changes):
    return replace(graph, tensors=graph.tensors | {name: replace(graph.tensors[name], **changes)})


@pytest.mark.parametrize(
    ("spoiled", "said"),
    [
        (lambda g: spoil(g, "down0a", weights=np.full_like(g.ops[0].weights, np.nan)), "no finite float32"),
        (lambda g: spoil(g, "down0a", bias=np.full_like(g.ops[0].bias, np.inf)), "no finite float32"),
        (lambda g: spoil(g, "down0a", bias=g.ops[0].bias.astype(np.float64)), "no finite float32"),
        (lambda g: spoil(g, "down0a", weights=g.ops[0].weights[:, :2]), "has weights"),
        (lambda g: declare(g, "pixels", scaling=Scaling((2.0**-8,))), r"steps of 0\.00390625"),
        (lambda g: declare(g, "down0a", format=Integer(8, signed=False)), "makes uint8"),
        (lambda g: declare(g, "down0a", scaling=Scaling((2.0,))), "makes float32 in steps of 2"),
        (lambda g: declare(g, "join0", scaling=Scaling((2.0,))), "share one"),
    ],
)
def test_a_program_that_is_not_well_formed_is_refused(spoiled, said):
    with pytest.raises(GraphError, match=said):
        spoiled(float_unet(9, depth=1))


def test_an_integer_convolution_behind_floats_is_refused():
    graph = float_unet(9, depth=1)
    last = graph.ops[-1]
    integers = Conv(last.source, last.target, np.ones((1, 6, 1, 1), np.int8), Integer(8), np.zeros(1, np.int32), None)
    with pytest.raises(GraphError, match="'up0b' holds float32, where integers are needed"):
        replace(graph, ops=(*graph.ops[:-1], integers))
    assert graph.tensors["up0b"].format == FLOAT32

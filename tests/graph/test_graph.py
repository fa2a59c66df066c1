"""The integer program: well-formedness, reach, the interpreter's slow twin, storage, memory."""

from dataclasses import replace

import numpy as np
import pytest

from taran_eo.errors import CorruptDataError, GraphError
from taran_eo.formats import Integer, Scaling, integer_image
from taran_eo.graph import (
    Concat,
    Conv,
    Graph,
    MaxPool,
    Upsample,
    load,
    plan,
    requantize,
    run,
    save,
    sources_of,
    traffic,
)
from tests.graph.networks import chain, random_unet

ROUTES = [("e2m3", "ue2m4", True), ("e3m2", "ue3m3", True), ("int8n", "uint8", False), ("e2m3", "ue2m4", False)]


def slow_run(graph, pixels):
    """The interpreter again, in Python integers, pixel by pixel."""
    images = {graph.input: pixels.astype(np.int64)}
    for op in graph.ops:
        first = images[sources_of(op)[0]]
        match op:
            case Conv():
                margin = op.kernel // 2
                padded = np.pad(first, ((0, 0), (margin, margin), (margin, margin)))
                sums = np.zeros((len(op.weights), *first.shape[1:]), dtype=np.int64)
                for row, col in np.ndindex(first.shape[1:]):
                    window = padded[:, row : row + op.kernel, col : col + op.kernel]
                    for output in range(len(op.weights)):
                        sums[output, row, col] = (
                            int((op.weights[output].astype(np.int64) * window).sum()) + op.bias[output]
                        )
                fmt = graph.tensors[op.target].format
                images[op.target] = sums if op.requantize is None else requantize(sums, op.requantize, fmt)
            case MaxPool():
                channels, rows, cols = first.shape
                images[op.target] = first.reshape(channels, rows // 2, 2, cols // 2, 2).max(axis=(2, 4))
            case Upsample():
                images[op.target] = np.kron(first, np.ones((1, 2, 2), dtype=np.int64))
            case Concat():
                images[op.target] = np.concatenate([images[source] for source in op.sources])
    return images[graph.output]


@pytest.mark.parametrize(("weights", "activations", "powers"), ROUTES)
def test_the_interpreter_equals_its_slow_twin(weights, activations, powers):
    rng = np.random.default_rng(1)
    graph = random_unet(rng, weights=weights, activations=activations, width=4, depth=1, powers_of_two=powers)
    pixels = rng.integers(0, 256, (3, 20, 12), dtype=np.uint8)
    assert np.array_equal(run(graph, pixels), slow_run(graph, pixels))


@pytest.mark.parametrize(("depth", "reach", "halo"), [(1, 7, 8), (2, 19, 20), (3, 43, 48)])
def test_reach_is_what_a_changed_pixel_shows(depth, reach, halo):
    # Here the middle has one convolution, so the numbers are smaller than those of the real network.
    rng = np.random.default_rng(2)
    graph = random_unet(rng, depth=depth)
    assert (graph.reach, graph.halo) == (reach, halo)
    size = 8 * graph.halo // graph.alignment * graph.alignment
    pixels = rng.integers(0, 256, (3, graph.alignment, size), dtype=np.uint8)
    farthest = 0
    for position in range(size // 2, size // 2 + graph.alignment):
        for value in (0, 255):
            changed = pixels.copy()
            changed[:, :, position] = value
            touched = np.flatnonzero((run(graph, changed) != run(graph, pixels)).any(axis=(0, 1)))
            farthest = max(farthest, *np.abs(touched - position)) if touched.size else farthest
    assert farthest <= graph.reach
    # A random network does not carry a change to the last pixel, but well into the margin.
    assert farthest > graph.reach // 2


@pytest.mark.parametrize(
    ("ops", "reach"),
    [(("conv3",), 2), (("pool", "conv3"), 4), (("pool", "conv3", "pool", "conv3"), 10), (("pool", "up"), 2)],
)
def test_reach_of_logits_that_are_no_pixels(ops, reach):
    graph = chain(*ops)
    assert graph.reach == reach
    cell, rows, cols = 1 << graph.level, 4 * graph.alignment, 16 * graph.alignment
    rng = np.random.default_rng(5)
    pixels = rng.integers(0, 256, (3, rows, cols), dtype=np.uint8)
    before, farthest = run(graph, pixels), 0
    for position in range(cols // 2, cols // 2 + graph.alignment):
        for value in (0, 255):
            changed = pixels.copy()
            changed[:, :, position] = value
            for logit in np.flatnonzero((run(graph, changed) != before).any(axis=(0, 1))):
                farthest = max(farthest, logit * cell - position, position + 1 - (logit + 1) * cell)
    assert farthest == reach


def test_multiplications_behind_some_logits_are_those_of_what_they_depend_on():
    graph = chain("conv3", "pool", "conv3", "up", "join t0", "conv1")
    assert graph.macs_of(64, 64, (0, 0, 64, 64)) == graph.macs(64, 64)
    # Of one logit in the middle, written out: 3 x 3 of the join, whose coarse part is 2 x 2 cells; their convolution
    # reads 4 x 4 cells, so 8 x 8 pixels of the first one.
    by_hand = 2 * 5 * 9 + 5 * 10 * 9 + 5 * 5 * 9 * 2 * 2 + 5 * 3 * 9 * 8 * 8
    assert graph.macs_of(64, 64, (31, 31, 1, 1)) == by_hand
    corner = 2 * 5 * 9 + 5 * 10 * 4 + 5 * 5 * 9 * 1 + 5 * 3 * 9 * 4 * 4
    assert graph.macs_of(64, 64, (0, 0, 1, 1)) == corner


def test_tiles_with_their_halo_give_the_logits_of_the_whole():
    rng = np.random.default_rng(3)
    graph = random_unet(rng, depth=2)
    scene = rng.integers(0, 256, (3, 96, 128), dtype=np.uint8)
    whole = run(graph, scene)
    for top, left in ((0, 0), (32, 64), (64, 96)):
        rows = slice(max(0, top - graph.halo), min(96, top + 32 + graph.halo))
        cols = slice(max(0, left - graph.halo), min(128, left + 32 + graph.halo))
        part = run(graph, scene[:, rows, cols])
        core = np.s_[:, top - rows.start : top - rows.start + 32, left - cols.start : left - cols.start + 32]
        assert np.array_equal(part[core], whole[:, top : top + 32, left : left + 32])


@pytest.mark.parametrize(("weights", "activations", "powers"), ROUTES)
def test_a_saved_graph_is_the_same_graph(tmp_path, weights, activations, powers):
    graph = random_unet(np.random.default_rng(4), weights=weights, activations=activations, powers_of_two=powers)
    save(graph, tmp_path / "graph.safetensors")
    again = load(tmp_path / "graph.safetensors")
    pixels = np.random.default_rng(5).integers(0, 256, (3, 16, 16), dtype=np.uint8)
    assert again.digest == graph.digest and np.array_equal(run(again, pixels), run(graph, pixels))


def test_weights_may_lie_in_memory_as_they_like(tmp_path):
    """Training leaves them channels last."""
    graph = random_unet(np.random.default_rng(4), weights="int8")
    ops = [
        replace(op, weights=op.weights.transpose(0, 2, 3, 1).copy().transpose(0, 3, 1, 2))
        if isinstance(op, Conv)
        else op
        for op in graph.ops
    ]
    assert any(isinstance(op, Conv) and not op.weights.flags.c_contiguous for op in ops)
    save(Graph(graph.name, graph.tensors, tuple(ops), graph.input, graph.output), tmp_path / "graph.safetensors")
    assert load(tmp_path / "graph.safetensors").digest == graph.digest


def test_every_flipped_byte_of_a_file_is_found(tmp_path):
    path = tmp_path / "graph.safetensors"
    graph = random_unet(np.random.default_rng(6), width=2, depth=1)
    save(graph, path)
    whole = path.read_bytes()
    for position in range(0, len(whole), 7):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x10]) + whole[position + 1 :])
        try:
            assert load(path).digest == graph.digest  # a byte of padding or of a key that nothing reads
        except CorruptDataError:
            continue
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CorruptDataError, match="cannot be read"):
        load(path)


@pytest.mark.parametrize("depth", [1, 3])
def test_no_two_living_tensors_share_memory(depth):
    graph = random_unet(np.random.default_rng(7), depth=depth)
    made = plan(graph, 64, 96)
    slots = list(made.slots.values())
    for one in slots:
        for other in slots:
            if one is not other and one.first <= other.last and other.first <= one.last:
                assert one.offset + one.size <= other.offset or other.offset + other.size <= one.offset
    steps = range(len(graph.ops))
    alive = [sum(slot.size for slot in slots if slot.first <= step <= slot.last) for step in steps]
    assert max(alive) <= made.arena_bytes <= 1.5 * max(alive)
    assert set(made.slots) == set(graph.tensors)


def test_multiplications_of_the_published_network():
    graph = random_unet(np.random.default_rng(8), width=32, depth=4)
    # Counted by hand for constant 32 and 4 poolings with one convolution in the middle: 31.2 GMAC less that one.
    assert graph.macs(768, 768) == 31_232_360_448 - 48 * 48 * 32 * 32 * 9


def spoil(graph, spoiled, **changes):
    ops = [replace(op, **changes) if op.target == spoiled else op for op in graph.ops]
    return Graph(graph.name, graph.tensors, tuple(ops), graph.input, graph.output)


@pytest.mark.parametrize(
    ("spoiled", "word"),
    [
        (lambda g: spoil(g, "down0a", source="nowhere"), "nowhere"),
        (lambda g: spoil(g, "down0b", target="down0a"), "already"),
        (lambda g: spoil(g, "down0a", weights=g.ops[0].weights[:, :2]), "weights"),
        (lambda g: spoil(g, "down0a", weights=np.full_like(g.ops[0].weights, 17)), "values"),
        (lambda g: spoil(g, "down0a", bias=np.full_like(g.ops[0].bias, 2**31 - 1)), "int32"),
        (lambda g: spoil(g, "down0a", requantize=None), "int32"),
        (lambda g: replace(g, output="nowhere"), "nowhere"),
        (
            lambda g: replace(g, tensors=g.tensors | {"up0": replace(g.tensors["up0"], scaling=Scaling((3.0,)))}),
            "Upsample",
        ),
        (
            lambda g: replace(
                g, tensors=g.tensors | {"join0": replace(g.tensors["join0"], format=Integer(8, signed=False))}
            ),
            "share one",
        ),
    ],
)
def test_a_program_that_is_not_well_formed_is_refused(spoiled, word):
    with pytest.raises(ValueError, match=word):
        spoiled(random_unet(np.random.default_rng(9), depth=1))


@pytest.mark.parametrize("shape", [(3, 17, 16), (2, 16, 16), (3, 0, 16)])
def test_a_tile_that_does_not_fit_is_refused(shape):
    with pytest.raises(GraphError, match="multiples"):
        run(random_unet(np.random.default_rng(9), depth=1), np.zeros(shape, np.uint8))


def test_images_fit_their_lanes():
    graph = random_unet(np.random.default_rng(9), weights="e3m2", activations="ue3m3")
    lanes = {name: integer_image(tensor.format).lane for name, tensor in graph.tensors.items()}
    assert lanes["down0a"] == np.uint16 and lanes["pixels"] == np.uint8


def test_the_traffic_of_a_thin_u_net_is_that_of_its_layers():
    graph = random_unet(np.random.default_rng(0), width=8, depth=2)
    # Pixels in; two convolutions a level, pools and upsamplings, each written once; all but the logits read once, the
    # two skips twice. In bytes of a tile of 64 x 64, levels 0, 1 and 2.
    full, half, quarter = (8 * (64 >> level) ** 2 for level in range(3))
    written = 4 * full + 4 * half + quarter + (half + quarter) + (half + full) + 4 * 64 * 64
    read = 3 * 64 * 64 + written - 4 * 64 * 64 + full + half
    moved = traffic(graph, 64, 64)
    assert (moved.total_bytes, moved.skip_bytes) == (written + read, full + half)

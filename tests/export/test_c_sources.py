"""C that stands alone gives the integers of the reference, whatever the network, the tile and the memory."""

import subprocess
from dataclasses import replace

import numpy as np
import pytest

from taran_eo.errors import ConfigError, GraphError
from taran_eo.export.archive import pack_graph
from taran_eo.export.c_replay import write_replay
from taran_eo.export.c_sources import write_c
from taran_eo.graph import Graph, run
from taran_eo.target import open_target
from tests.export.networks import ROUTES, networks
from tests.graph.networks import chain, random_unet

COUNT = len(list(networks(np.random.default_rng(0))))


@pytest.mark.parametrize("number", range(COUNT))
def test_every_kind_of_network(number, tmp_path):
    """With the fewest rows at a time and with many; sanitizers watch, and warnings are errors."""
    rng = np.random.default_rng(number)
    graph = list(networks(rng))[number]
    pixels = rng.integers(0, 256, (2, graph.bands, 3 * graph.alignment, 2 * graph.alignment), dtype=np.uint8)
    _, _, rows, cols = pixels.shape
    logits = np.stack([run(graph, each) for each in pixels])
    least = least_memory(graph, rows, cols, tmp_path)
    for memory in (least, None):
        folder = tmp_path / str(memory)
        folder.mkdir()
        written = write_c(graph, folder, rows=rows, cols=cols, limit=0, memory=memory)
        assert memory is None or written.arena_bytes == least
        write_replay(folder, pixels, logits, open_target("host"))
        watched = "-fsanitize=address,undefined -fno-sanitize-recover=all"
        done = subprocess.run(
            ["make", "-C", folder, "--silent", "replay", f"MACHINE={watched}"], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_no_library_is_needed(tmp_path):
    """But what compilers call by themselves; and C++ may call it."""
    write_c(random_unet(np.random.default_rng(1)), tmp_path, rows=16, cols=16, limit=0)
    for name in ("model.c", "taran.c"):
        subprocess.run(["gcc", "-std=c99", "-O2", "-c", name], cwd=tmp_path, check=True)
    said = subprocess.run(["nm", "-u", "model.o", "taran.o"], cwd=tmp_path, check=True, capture_output=True, text=True)
    names = {line.split()[1] for line in said.stdout.splitlines() if line.strip().startswith("U ")}
    assert {name for name in names if not name.startswith("taran_")} <= {"memset", "memcpy", "_GLOBAL_OFFSET_TABLE_"}
    header = (tmp_path / "model.h").read_text()
    assert header.count('extern "C"') == 1


def test_what_the_runtime_lacks_is_refused_by_name(tmp_path):
    """Numbers that need more than 16 bits; accumulators that need more than 32 are no graph."""
    wide = chain("conv3", fmt="ue4m3")
    for write in (pack_graph, lambda graph: write_c(graph, tmp_path, rows=16, cols=16, limit=0)):
        with pytest.raises(GraphError, match=r"'t0' holds ue4m3.*16"):
            write(wide)
    with pytest.raises(GraphError, match=r"'t0' can reach \d+ in its accumulator, beyond int32"):
        heavy = chain("conv3")
        first = heavy.ops[0]
        changed = replace(first, bias=np.full_like(first.bias, 2**31 - 1))
        Graph(heavy.name, heavy.tensors, (changed, *heavy.ops[1:]), heavy.input, heavy.output)


def least_memory(graph, rows, cols, folder):
    with pytest.raises(ConfigError) as error:
        write_c(graph, folder, rows=rows, cols=cols, limit=0, memory=1)
    return error.value.needed


@pytest.mark.parametrize(("weights", "activations", "powers"), ROUTES[:3])
def test_weights_stay_in_their_codes(weights, activations, powers, tmp_path):
    """Four bits take half of eight, but for the padding of channels and the last byte of each convolution."""
    taken = []
    for fmt in (weights, "int8"):
        graph = random_unet(
            np.random.default_rng(1), weights=fmt, activations=activations, width=16, powers_of_two=powers
        )
        taken.append(write_c(graph, tmp_path, rows=16, cols=16, limit=0).weight_bytes)
    bits = {"e2m1": 4, "int4": 4, "e2m2": 5}[weights]
    assert taken[0] == pytest.approx(taken[1] * bits / 8, abs=12)

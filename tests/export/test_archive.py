"""An archive restores its graph, runs bit for bit in C, and is refused where a byte of it is not as it was written."""

import os
import shutil
import struct
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taran_eo.errors import CorruptDataError, GraphError
from taran_eo.export.archive import pack_graph, unpack_graph
from taran_eo.export.codes import numbers_of, pack_codes, unpack_codes
from taran_eo.formats import parse_format
from taran_eo.graph import Conv, Graph, MaxPool, load, run
from tests.export.made_up import POOL, UPSAMPLE, archive, convolve, made_up, resize, sealed
from tests.export.made_up import load as loading
from tests.export.networks import ROUTES, networks
from tests.graph.networks import chain, in_float, random_unet

REPOSITORY = Path(__file__).parents[2]
RUNTIME = REPOSITORY / "taran_eo" / "c_runtime"
BYTES = {
    "thin_unet32_e2m3": 158_000,
    "thin_unet32_e3m2": 158_000,
    "thin_unet32_int6": 158_000,
    "thin_unet32_int8": 207_000,
    "thin_unet16_e2m3": 46_000,
    "ship_gate_e2m3": 36_000,
}
"""Each with its alignment and its text; the weights of the first three take 147 kB."""


def model(name):
    return load(REPOSITORY / "models" / name / "flight.safetensors")


def small(seed=1):
    return random_unet(np.random.default_rng(seed), width=3, depth=1)


# ---- the law, and what it takes ----


@pytest.mark.parametrize("name", BYTES)
def test_every_model_comes_back(name):
    graph = model(name)
    data = pack_graph(graph)
    assert unpack_graph(data).digest == graph.digest
    assert len(data) <= BYTES[name]


def test_every_kind_of_network_comes_back():
    for graph in networks(np.random.default_rng(2)):
        assert unpack_graph(pack_graph(graph)).digest == graph.digest


@settings(max_examples=25)
@given(st.integers(0, 2**32), st.sampled_from(ROUTES), st.integers(1, 40))
def test_any_network_comes_back(seed, route, width):
    weights, activations, powers = route
    rng = np.random.default_rng(seed)
    graph = random_unet(rng, weights=weights, activations=activations, width=width, depth=1, powers_of_two=powers)
    assert unpack_graph(pack_graph(graph)).digest == graph.digest


@given(st.integers(1, 8), st.lists(st.integers(0, 255), max_size=40))
def test_any_codes_come_back(bits, codes):
    codes = np.array(codes, np.uint64) % 2**bits
    packed = pack_codes(codes, bits)
    assert len(packed) == -(-len(codes) * bits // 8)
    assert np.array_equal(unpack_codes(packed, bits, len(codes)), codes)


def test_codes_are_packed_as_they_are_specified():
    assert pack_codes(np.array([5, 56, 31, 1], np.uint64), 6).tolist() == [0x05, 0xFE, 0x05]


def test_weights_of_six_bits_take_six_bits():
    graph = model("thin_unet32_e2m3")
    in_bytes = sum(op.weights.size for op in graph.ops if isinstance(op, Conv)) * 6 / 8
    # Padding, biases, scales and the text are the rest.
    assert in_bytes < 146_000
    assert len(pack_graph(graph)) < in_bytes + 12_500


def test_a_code_that_is_no_number_stands_for_none():
    assert numbers_of(parse_format("e4m3fn"))[0x7F] == 0


# ---- what it does not hold ----


def changed(graph, **fields):
    ops = (replace(graph.ops[0], **fields), *graph.ops[1:])
    return Graph(graph.name, graph.tensors, ops, graph.input, graph.output)


def test_what_it_cannot_hold_is_refused_by_name():
    rng = np.random.default_rng(3)
    graph = chain("conv3", "conv3")
    with pytest.raises(GraphError, match="float32"):
        pack_graph(in_float(graph, rng))
    dead = replace(graph.tensors["t1"], name="dead", level=1)
    with pytest.raises(GraphError, match="'dead' is read by nothing"):
        tensors = graph.tensors | {"dead": dead}
        pack_graph(Graph("dead", tensors, (*graph.ops, MaxPool("t1", "dead")), graph.input, graph.output))
    with pytest.raises(GraphError, match="'t0' has a kernel of 17 rows"):
        pack_graph(chain("conv17"))
    with pytest.raises(GraphError, match="'t0' has 5000 channels"):
        pack_graph(chain("conv1", channels=5000))
    with pytest.raises(GraphError, match="is halved 11 times"):
        pack_graph(chain("conv1", *("pool",) * 11, channels=1))
    with pytest.raises(GraphError, match="other types"):
        pack_graph(changed(graph, weights=graph.ops[0].weights.astype(np.int16)))


# ---- what is refused ----


def test_damage_is_told_apart():
    data = pack_graph(small())
    for bad, what in (
        (b"", "has only 0 bytes"),
        (b"x" + data[1:], "does not begin"),
        (data[:8] + b"\x02" + data[9:], "is of version 2"),
        (data[:-1], f"has {len(data) - 1} bytes, not the {len(data)}"),
        (data[:99] + bytes([data[99] ^ 1]) + data[100:], "checksum"),
        (sealed(data[:-9] + data[-4:]), "has a text of"),
    ):
        with pytest.raises(CorruptDataError, match=what):
            unpack_graph(bad)


def test_every_byte_counts_and_every_truncation_shows():
    data = pack_graph(small())
    for place in range(len(data)):
        for bad in (data[:place], data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :]):
            with pytest.raises(CorruptDataError):
                unpack_graph(bad)
    with pytest.raises(CorruptDataError):
        unpack_graph(data + b"\0")


@settings(max_examples=300)
@given(st.data())
def test_nothing_but_what_was_written_is_accepted_with_its_checksum_mended(data):
    archive = bytearray(pack_graph(small()))
    text = len(archive) - 4 - struct.unpack_from("<I", archive, 52)[0]
    # Tables before the weights, and the text, more often than weights.
    places = st.one_of(st.integers(12, 300), st.integers(text, len(archive) - 5), st.integers(12, len(archive) - 5))
    for place in data.draw(st.lists(places, min_size=1, max_size=4)):
        archive[place] = data.draw(st.one_of(st.integers(0, 255), st.sampled_from(b'0123456789"{}[],tuple')))
    if data.draw(st.booleans()):
        del archive[data.draw(st.integers(60, len(archive) - 4)) : -4]
    accepted(sealed(bytes(archive)))


@given(st.binary(max_size=300))
def test_random_bytes_are_refused(noise):
    for bad in (noise, sealed(pack_graph(small())[:56] + noise + bytes(4))):
        with pytest.raises(CorruptDataError):
            unpack_graph(bad)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 10**5,
        "1" * 10**4,
        '{"ops":1}',
        '{"ops":[{"op":"conv"}]}',
        '{"ops":[{"op":"conv","target":[],"weights":"e9999999999m2"}]}',
        '{"version":1,"name":"a","input":"p","output":"p","tensors":[{"name":"p","channels":1e999,"level":0,'
        '"format":"uint8","scale":"0x1p0"}],"ops":[]}',
        '{"version":1,"name":"a","input":"p","output":"p","tensors":[{"name":"p","channels":1,"level":0,'
        '"format":"uint8","scale":"0x1p9999"}],"ops":[]}',
    ],
)
def test_texts_that_no_graph_has_are_refused(text):
    data = pack_graph(small())
    tables = data[: len(data) - 4 - struct.unpack_from("<I", data, 52)[0]]
    head = tables[:52] + struct.pack("<I", len(text)) + tables[56:]
    with pytest.raises(CorruptDataError):
        unpack_graph(sealed(head + text.encode() + bytes(4)))
    with pytest.raises(CorruptDataError):  # and of no steps at all
        unpack_graph(sealed(head[:48] + bytes(4) + head[52:56] + text.encode() + bytes(4)))


def test_joins_that_would_double_for_ever_are_refused():
    tensors = [f'{{"name":"{name}","channels":0,"level":0,"format":"uint8","scale":"0x1p0"}}' for name in range(99)]
    joins = [f'{{"op":"concat","sources":["{name}","{name}"],"target":"{name + 1}"}}' for name in range(98)]
    ends = '"version":1,"name":"a","input":"0","output":"98"'
    text = f'{{{ends},"tensors":[{",".join(tensors)}],"ops":[{",".join(joins)}]}}'
    head = pack_graph(small())[:48] + bytes(4) + struct.pack("<I", len(text))
    with pytest.raises(CorruptDataError, match="has 0 channels"):
        unpack_graph(sealed(head + text.encode() + bytes(4)))


def accepted(data):
    """Whether bytes are a graph; nothing but a refusal is raised, and what is a graph is written so."""
    try:
        graph = unpack_graph(data)
    except CorruptDataError:
        return False
    assert pack_graph(graph) == data
    return True


# ---- in C ----


def build(target, compiler, main, *flags):
    sources = [RUNTIME / "taran.c", RUNTIME / "export" / "taran_archive.c", main]
    include = [f"-I{RUNTIME}", f"-I{RUNTIME / 'export'}"]
    strict = ["-std=c99", "-Wall", "-Wextra", "-Wconversion", "-pedantic", "-Werror"]
    if main.parent == Path(__file__).parent:
        strict = ["-std=gnu99", "-Wall", "-Wextra", "-Werror"]
    done = subprocess.run([compiler, *strict, *include, *flags, *sources, "-o", target], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return target


SANITIZERS = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
REPLAY = RUNTIME / "export" / "archive_replay.c"


@pytest.fixture(scope="module")
def native(tmp_path_factory):
    return [build(tmp_path_factory.mktemp("native") / "replay", "cc", REPLAY, "-O2")]


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    return [build(tmp_path_factory.mktemp("watched") / "replay", "cc", REPLAY, "-O1", *SANITIZERS)]


@pytest.fixture(scope="module")
def big_endian(tmp_path_factory):
    compiler, emulator = "sparc64-linux-gnu-gcc", "qemu-sparc64"
    missing = [tool for tool in (compiler, emulator) if shutil.which(tool) is None]
    if missing:
        message = f"{' and '.join(missing)} missing: Debian's gcc-sparc64-linux-gnu, libc6-dev-sparc64-cross, qemu-user"
        pytest.fail(message) if "CI" in os.environ else pytest.skip(message)
    flags = ("-O2", "-static")
    return [emulator, build(tmp_path_factory.mktemp("big_endian") / "replay", compiler, REPLAY, *flags)]


@pytest.fixture(scope="module")
def fuzz(tmp_path_factory):
    driver = Path(__file__).with_name("archive_fuzz.c")
    program = build(tmp_path_factory.mktemp("fuzz") / "fuzz", "cc", driver, "-O2", *SANITIZERS)

    def call(mode, *archives):
        done = subprocess.run([program, "1", mode, *archives], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-4000:]
        return [int(word.strip(",")) for word in done.stdout.split() if word.strip(",").isdigit()]

    return call


def replayed(command, folder, data, pixels, logits):
    """What a replay says, and its exit status."""
    for name, content in (
        ("model.taran", data),
        ("pixels.u8", pixels.tobytes()),
        ("logits.i32", logits.astype("<i4").tobytes()),
    ):
        (folder / name).write_bytes(content)
    files = [folder / name for name in ("model.taran", "pixels.u8", "logits.i32")]
    count, _, rows, cols = pixels.shape
    # One that stops early leaves its memory to the system.
    done = subprocess.run(
        [*command, *files, str(count), str(rows), str(cols)],
        capture_output=True,
        text=True,
        env=os.environ | {"ASAN_OPTIONS": "detect_leaks=0"},
    )
    assert not done.stderr, done.stderr[-4000:]
    return done.returncode, done.stdout


@pytest.mark.parametrize("name", [name for name in BYTES if name != "thin_unet16_e2m3"])
def test_golden_logits_in_c(native, tmp_path, name):
    graph, golden = model(name), np.load(REPOSITORY / "models" / name / "golden.npz")
    pixels, logits = golden["pixels"][:2], golden["logits"][:2]
    code, said = replayed(native, tmp_path, pack_graph(graph), pixels, logits)
    assert code == 0
    assert said.splitlines() == [
        *(f"vector {number}: 0 of {logits[0].size} logits differ" for number in range(2)),
        "replay: passed",
    ]


def test_every_kind_of_network_in_c(watched, tmp_path):
    rng = np.random.default_rng(5)
    for graph in networks(rng):
        pixels = rng.integers(0, 256, (2, graph.bands, 2 * graph.alignment, 12), dtype=np.uint8)
        logits = np.stack([run(graph, each) for each in pixels])
        code, said = replayed(watched, tmp_path, pack_graph(graph), pixels, logits)
        assert code == 0, said


def test_a_machine_of_the_other_byte_order(big_endian, tmp_path):
    rng = np.random.default_rng(6)
    golden = np.load(REPOSITORY / "models" / "thin_unet32_e3m2" / "golden.npz")["pixels"][:1, :, 32:64, 48:80]
    flown = [model("thin_unet32_e3m2"), model("thin_unet32_e2m3")]
    for graph in (*flown, *networks(rng)):
        pixels = golden if graph in flown else rng.integers(0, 256, (1, graph.bands, 12, 8), dtype=np.uint8)
        code, said = replayed(big_endian, tmp_path, pack_graph(graph), pixels, run(graph, pixels[0])[None])
        assert code == 0, said


def test_what_a_replay_tells(watched, tmp_path):
    graph = small()
    data = pack_graph(graph)
    pixels = np.zeros((1, 3, 8, 8), np.uint8)
    logits = run(graph, pixels[0])[None]
    logits[0, 0, 3, 4] += 1
    assert replayed(watched, tmp_path, data, pixels, logits) == (
        1,
        "vector 0: 1 of 64 logits differ\nreplay: FAILED\n",
    )
    for code, bad in enumerate(
        (
            data[:-1],
            b"x" + data[1:],
            data[:8] + b"\x02" + data[9:],
            data[:99] + bytes([data[99] ^ 1]) + data[100:],
            sealed(data[:48] + b"\0" + data[49:]),
            sealed(data[:48] + b"\xff" + data[49:]),
        ),
        start=1,
    ):
        assert replayed(watched, tmp_path, bad, pixels, logits) == (
            2,
            f"replay: the archive is refused, error {code} of taran_archive.h\nreplay: FAILED\n",
        )
    assert replayed(watched, tmp_path, data, pixels[:, :, :7], logits)[0] == 2  # no multiple of the alignment
    assert replayed(watched, tmp_path, data, pixels, logits[:, :, :7])[0] == 2  # a file too short


def test_damaged_archives_in_c(fuzz, tmp_path):
    (tmp_path / "small").write_bytes(pack_graph(small()))
    accepted, ran, short, strange, version, checksum, tables, room = fuzz("run", tmp_path / "small")
    assert ran == accepted > 1000
    assert min(short, checksum, tables) > 1000
    assert min(strange, version, room) > 0


def test_damaged_archives_of_wide_weights_and_of_a_whole_model_are_loaded_or_refused(fuzz, tmp_path):
    rng = np.random.default_rng(7)
    wide = random_unet(rng, weights="int11", activations="int8", width=2, depth=1)
    for name, graph in (("wide", wide), ("whole", model("thin_unet32_e2m3"))):
        (tmp_path / name).write_bytes(pack_graph(graph))
        counts = fuzz("load", tmp_path / name)
        assert min(counts[2], counts[5], counts[6]) > 100


def test_made_up_archives_are_accepted_in_c_and_run(fuzz, tmp_path):
    rng = np.random.default_rng(8)
    files = [tmp_path / str(number) for number in range(300)]
    for file in files:
        file.write_bytes(made_up(rng))
        with pytest.raises(CorruptDataError):
            unpack_graph(file.read_bytes())
    accepted, ran, *_ = fuzz("made", *files)
    assert accepted == ran == 4 * len(files)


WIDE = convolve([0], reads=4, lane=2)
SOUND = (loading(), convolve([0], reads=4, lane=1), convolve([1], reads=16))
UNSOUND = {
    "no step": (),
    "a load alone": SOUND[:1],
    "no load": SOUND[1:],
    "two loads": (loading(), *SOUND),
    "a load of no bands": (loading(bands=0), *SOUND[1:]),
    "a load of too many bands": (loading(bands=4097), *SOUND[1:]),
    "a load into accumulators": (loading(lane=4), *SOUND[1:]),
    "no logits": SOUND[:2],
    "logits of a pool": (*SOUND[:2], resize(POOL, 1)),
    "logits that are not the last": (loading(), convolve([0], reads=4), convolve([0], reads=4)),
    "a step of no kind": (*SOUND[:2], resize(4, 1), SOUND[2]),
    "a tensor that nothing reads": (*SOUND[:2], convolve([0], reads=4)),
    "a convolution of itself": (loading(), convolve([1], reads=16, lane=1), SOUND[2]),
    "a pool of itself": (loading(), resize(POOL, 1), convolve([0, 1], reads=8)),
    "an upsampling of the tile": (loading(), resize(UPSAMPLE, 0), convolve([1], reads=4)),
    "a tile that is halved too often": (loading(), *(resize(POOL, i) for i in range(11)), convolve([11], reads=4)),
    "a join of two sizes": (loading(), resize(POOL, 0), convolve([0, 1], reads=8)),
    "a join of bytes and words": (loading(), WIDE, convolve([0, 1], reads=36)),
    "no sources": (*SOUND[:2], convolve([], reads=0)),
    "an even kernel": (*SOUND[:2], convolve([1], reads=16, kernel=2)),
    "no kernel": (*SOUND[:2], convolve([1], reads=16, kernel=0)),
    "a large kernel": (*SOUND[:2], convolve([1], reads=16, kernel=17)),
    "more rows than a kernel may read": (*SOUND[:2], convolve([1] * 22, reads=22 * 16, kernel=3)),
    "no channels": (*SOUND[:2], convolve([1], reads=16, shifts=())),
    "another format": (*SOUND[:2], convolve([1], reads=16, place=1)),
    "words for bytes": (*SOUND[:2], convolve([1], reads=16, place=255, code=lambda numbers: bytes(2 * numbers))),
    "too few weights": (*SOUND[:2], convolve([1], reads=15)),
    "too many weights": (*SOUND[:2], convolve([1], reads=17)),
    "a multiplier of 0": (*SOUND[:2], convolve([1], reads=16, multipliers=(0,))),
    "a multiplier below 0": (*SOUND[:2], convolve([1], reads=16, multipliers=(-1,))),
    "a multiplier of 2**24": (*SOUND[:2], convolve([1], reads=16, multipliers=(2**24,))),
    "a shift of 57": (*SOUND[:2], convolve([1], reads=16, shifts=(57,))),
    "a mantissa of 16": (loading(), convolve([0], reads=4, lane=1, mantissa=16), SOUND[2]),
    "a tensor of three bytes": (loading(), convolve([0], reads=4, lane=3), SOUND[2]),
} | {
    f"{low} to {high} in {lane}": (loading(), convolve([0], reads=4, lane=lane, low=low, high=high), SOUND[2])
    for lane, low, high in (
        (1, 1, 2),
        (1, -2, -1),
        (1, -129, 0),
        (1, -1, 128),
        (1, 0, 256),
        (2, -(2**15) - 1, 0),
        (2, 0, 2**15),
    )
}


def test_tables_that_no_network_has_are_refused_in_c(fuzz, watched, tmp_path):
    (tmp_path / "sound").write_bytes(archive(SOUND))
    assert fuzz("made", tmp_path / "sound")[:2] == [4, 4]
    nothing = np.zeros((1, 3, 8, 8), np.uint8), np.zeros(64)
    for what, steps in UNSOUND.items():
        code, said = replayed(watched, tmp_path, archive(steps), *nothing)
        assert (code, "error 5" in said) == (2, True), what
    for bits in (0, 9):
        assert "error 5" in replayed(watched, tmp_path, archive(SOUND, bits, bytes(2 << bits)), *nothing)[1]

"""Every target builds an exported model and gives the reference's integers, under its emulator where it is another."""

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from taran_eo import target as targets
from taran_eo.config import load_json
from taran_eo.errors import ConfigError, TaranError
from taran_eo.export.c_replay import write_replay
from taran_eo.export.c_sources import write_c
from taran_eo.export.fit import CODE_BYTES, Counts
from taran_eo.export.instructions import build_plugin, instructions
from taran_eo.graph import run
from taran_eo.imagery import read_labels
from taran_eo.model import Model
from taran_eo.target import TARGETS, Target, open_target

SIDE = 64
LIMIT = 1000
EMULATED = tuple(name for name in TARGETS if name != "host")


def needs(*tools: str, packages: tuple[str, ...] = ()) -> None:
    """Fail in CI, and skip elsewhere, for want of a tool."""
    for tool in tools:
        if shutil.which(tool) is None:
            message = f"{tool} is missing; in Debian: apt-get install {' '.join(packages or (tool,))}"
            if "CI" in os.environ:
                pytest.fail(message)
            pytest.skip(message)


def ready(name: str) -> Target:
    target = open_target(name)
    needs(*target.tools, packages=target.packages)
    return target


def make(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["make", "-C", folder, *arguments], capture_output=True, text=True, timeout=300)


@cache
def golden(model: Path, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Crops of a model's golden tiles, and what the reference gives for them."""
    opened = Model.open(model)
    pixels = np.ascontiguousarray(opened.golden()[0][:count, :, 32 : 32 + SIDE, 32 : 32 + SIDE])
    return pixels, np.stack([run(opened.graph, each) for each in pixels])


@cache
def ships(model: Path, airbus: Path) -> tuple[np.ndarray, np.ndarray]:
    """Real crops around ships, and what the reference gives for them."""
    graph, crops = Model.open(model).graph, []
    for image in read_labels(airbus / "val", airbus / "masks.csv"):
        if image.ships and len(crops) < 3:
            window, _ = next(image.parts())
            row = min(max(0, window.row + window.rows // 2 - SIDE // 2), image.rows - SIDE)
            col = min(max(0, window.col + window.cols // 2 - SIDE // 2), image.cols - SIDE)
            crops.append(np.ascontiguousarray(image.pixels()[row : row + SIDE, col : col + SIDE].transpose(2, 0, 1)))
    return np.stack(crops), np.stack([run(graph, each) for each in crops])


def export(model: Path, target: Target, folder: Path, pixels: np.ndarray, logits: np.ndarray) -> None:
    write_c(Model.open(model).graph, folder, rows=SIDE, cols=SIDE, limit=LIMIT)
    write_replay(folder, pixels, logits, target)


@pytest.fixture
def with_ships(request, repository):
    """Golden crops of the default model, and real ones behind them where there is real imagery."""
    model = repository / "models" / "thin_unet32_e2m3"
    pixels, logits = golden(model, 2)
    try:
        real, expected = ships(model, request.getfixturevalue("shared_data") / "airbus")
    except pytest.skip.Exception:  # a user's machine has none; in CI that fails
        return model, pixels, logits
    assert (expected >= LIMIT).any(axis=(1, 2, 3)).all(), "no ships are seen in the real crops"
    return model, np.concatenate([pixels, real]), np.concatenate([logits, expected])


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_gives_the_integers_of_the_reference(name, with_ships, tmp_path):
    target, (model, pixels, logits) = ready(name), with_ships
    export(model, target, tmp_path, pixels, logits)
    done = make(tmp_path, "--silent", "replay")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == len(pixels) + 2 and lines[-1] == "replay: passed"
    for vector, line in enumerate(lines[: len(pixels)]):
        assert line.startswith(f"vector {vector}: 0 of {SIDE * SIDE} logits differ, 0 of {SIDE * SIDE} labels, ")
        assert line.endswith(f"FNV-1a 0x{fnv(logits[vector]):08x}")
    if name == "cortex-m7":
        assert code_bytes(tmp_path, target) < CODE_BYTES


def fnv(logits: np.ndarray) -> int:
    found = 2166136261
    for byte in logits.astype("<i4").tobytes():
        found = (found ^ byte) * 16777619 & 0xFFFFFFFF
    return found


def code_bytes(folder: Path, target: Target) -> int:
    """Code of the whole program with its library and start-up: all but the tables of the model and of the vectors."""

    def sizes(file: str, section: str) -> int:
        said = subprocess.run([target.build.size, "-A", folder / file], capture_output=True, text=True, check=True)
        return sum(int(line.split()[1]) for line in said.stdout.splitlines() if line.startswith(section))

    tables = sizes("model.o", ".rodata") + sizes("golden.o", ".rodata")
    assert tables > 100_000
    return sizes("replay.elf", ".init") + sizes("replay.elf", ".text") + sizes("replay.elf", ".rodata") - tables


@pytest.mark.parametrize("name", ("aarch64-a53", "leon3"))
def test_numbers_of_two_bytes_in_either_order(name, repository, tmp_path):
    target, model = ready(name), repository / "models" / "thin_unet32_e3m2"
    export(model, target, tmp_path, *golden(model, 1))
    done = make(tmp_path, "--silent", "replay")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def gate(repository):
    """The gate, as it takes a target little time, and vectors for it."""
    model = repository / "models" / "ship_gate_e2m3"
    return model, *golden(model, 3)


@pytest.mark.parametrize("name", TARGETS)
def test_a_wrong_vector_is_told(name, gate, tmp_path):
    target, (model, pixels, logits) = ready(name), gate
    wrong = logits.copy()
    wrong[1, 0, 2, 3] += 1
    wrong[2, 0, 0, 0] = LIMIT - 1 if logits[2, 0, 0, 0] >= LIMIT else LIMIT
    export(model, target, tmp_path, pixels, wrong)
    done = make(tmp_path, "--silent", "replay")
    assert done.returncode != 0
    said = [line.partition(", FNV")[0] for line in done.stdout.splitlines()]
    assert said == [
        "vector 0: 0 of 16 logits differ, 0 of 16 labels",
        "vector 1: 1 of 16 logits differ, 0 of 16 labels",
        "vector 2: 1 of 16 logits differ, 1 of 16 labels",
        "vector 0 again: 0 of 16 logits differ, 0 of 16 labels",
        "replay: FAILED",
    ]
    if target.emulator is None:
        assert subprocess.run([tmp_path / "replay.elf"], capture_output=True).returncode == 1


def test_what_a_run_leaves_behind_must_not_matter(gate, tmp_path):
    target, (model, pixels, logits) = ready("host"), gate
    export(model, target, tmp_path, pixels, logits)
    source = (tmp_path / "model.c").read_text()
    forgetful = source.replace("taran_compute(", "if (arena[0] == 0) taran_compute(")
    assert forgetful != source
    (tmp_path / "model.c").write_text(forgetful)
    done = make(tmp_path, "--silent", "replay")
    assert done.returncode != 0
    assert "vector 0: 0 of" in done.stdout and "vector 0 again: 16 of 16 logits differ" in done.stdout


@pytest.mark.parametrize("name", ("host", "aarch64-a53", "cortex-m7", "leon3"))
def test_cmake_does_the_same(name, gate, tmp_path):
    target, (model, pixels, logits) = ready(name), gate
    needs("cmake", "ctest", packages=("cmake",))
    export(model, target, tmp_path, pixels, logits)
    toolchain = [] if name == "host" else ["-DCMAKE_TOOLCHAIN_FILE=target/toolchain.cmake"]
    build = tmp_path / "build"
    for command in (
        ["cmake", "-G", "Unix Makefiles", "-S", tmp_path, "-B", build, *toolchain],
        ["cmake", "--build", build],
        ["ctest", "--test-dir", build, "--output-on-failure"],
    ):
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
    assert "100% tests passed, 0 tests failed out of 1" in done.stdout
    assert (build / "libtaran_model.a").exists()


def test_the_time_of_a_tile_does_not_depend_on_what_it_shows(gate, tmp_path):
    """Where the compiler has conditional instructions, as many are done for every tile."""
    target, (model, pixels, _) = ready("cortex-m7"), gate
    needs("cc", packages=("gcc",))
    plugin, counts = build_plugin(tmp_path), set()
    noise = np.random.default_rng(1).integers(0, 256, pixels[:1].shape, dtype=np.uint8)
    for number, tile in enumerate((pixels[:1], noise, np.zeros_like(noise), np.full_like(noise, 255))):
        folder = tmp_path / str(number)
        folder.mkdir()
        export(model, target, folder, tile, run(Model.open(model).graph, tile[0])[None])
        counts.add(instructions(folder, plugin))
    assert len(counts) == 1


@pytest.mark.parametrize("name", ("leon3", "riscv64"))
def test_instructions_of_a_run_are_counted(name, gate, tmp_path):
    target, (model, pixels, logits) = ready(name), gate
    needs("cc", packages=("gcc",))
    export(model, target, tmp_path, pixels, logits)
    plugin = build_plugin(tmp_path)
    count = instructions(tmp_path, plugin)
    macs = Model.open(model).graph.macs(SIDE, SIDE)
    assert 0.3 * macs < count < 30 * macs
    assert abs(instructions(tmp_path, plugin) - count) < 1e-3 * count
    counts = load_json(targets.deploy() / "instructions.json", Counts).counts
    kept = next(each.instructions for each in counts if (each.target, each.model) == (name, model.name))
    assert count == pytest.approx(kept, rel=0.1), "count again with deploy/count.py, if not with another compiler"
    (tmp_path / "golden.c").write_text("no C")
    with pytest.raises(TaranError, match=r"golden\.c"):
        instructions(tmp_path, plugin)


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_tells_what_it_is(name):
    target = open_target(name)
    assert target.folder.name == target.name == name
    for source in target.build.sources:
        assert (target.folder / source).is_file()
    assert set(target.packages) >= {"make"}
    assert (target.folder / "toolchain.cmake").exists() == (target.emulator is not None) == (name in EMULATED)
    if target.emulator is not None:
        assert target.emulator.command[-1] == targets.PROGRAM
        assert target.build.compiler in (target.folder / "toolchain.cmake").read_text()


def test_the_targets_are_the_folders_of_deploy(repository):
    assert sorted(TARGETS) == sorted(each.name for each in (repository / "deploy").iterdir() if each.is_dir())
    readme, ci = (repository / "deploy" / "README.md").read_text(), (repository / ".ci" / "run").read_text()
    for target in map(open_target, TARGETS):
        assert f"| `{target.name}` |" in readme
        assert all(f" {package}\n" in ci for package in target.packages if package not in ("gcc", "make"))


def test_an_unknown_target_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match=r"There is no target vax\. Name one of host, aarch64-a53, .*sparc64"):
        open_target("vax")


def test_a_target_that_is_not_in_order_is_refused(monkeypatch, repository, tmp_path):
    shutil.copytree(repository / "deploy", tmp_path / "deploy")
    monkeypatch.setattr(targets, "deploy", lambda: tmp_path / "deploy")
    file = tmp_path / "deploy" / "leon3" / "target.toml"
    right = file.read_text()
    for wrong, said in (
        (right.replace('name = "leon3"', 'name = "leon4"'), "is of the target leon4"),
        (right.replace("mhz = 100.0", "mhz = 0.0"), r"clock\.mhz = 0\.0"),
        (right.replace("kernels =", "kernel ="), r"build\.kernels is missing"),
        (right + "\nwhat_else = 1\n", "what_else = 1 is not a known key"),
    ):
        file.write_text(wrong)
        with pytest.raises(ConfigError, match=said):
            open_target("leon3")

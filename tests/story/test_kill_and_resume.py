"""Runs that are killed again and again at any moment, and resumed, end with the very bytes of one that was not."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import simplejpeg

from taran_eo.journal import NAME as JOURNAL
from tests.folders import outputs


def children(pid):
    """The processes that `pid` has started and that still run."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if int(parent) == pid and state != "Z":
            found.add(int(stat.parent.name))
    return found


def running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def imagery(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for seed in range(4):
        pixels = np.random.default_rng(seed).integers(0, 99, (120, 150 + seed, 3), dtype=np.uint8)
        pixels[40:60, 30:100] = 230
        (folder / f"{seed}.jpg").write_bytes(simplejpeg.encode_jpeg(pixels))
    return folder


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
@pytest.mark.parametrize(("jobs", "kills"), [(1, 4), (2, 2)])
def test_killed_at_any_moment_and_resumed(tmp_path, imagery, taran_eo, jobs, kills):
    whole, out = tmp_path / "whole", tmp_path / "out"
    assert taran_eo("run", imagery, "-o", whole, "--tile", 48, "-q").code == 0
    command = [sys.executable, "-m", "taran_eo.cli", "run", imagery, "-o", out, "--tile", "48", "--jobs", str(jobs)]
    moments = random.Random(jobs)
    journal = out / JOURNAL
    seen = 0
    for _ in range(kills):
        process = subprocess.Popen([*command, "--resume", "-q"], stderr=subprocess.DEVNULL)
        # From the first line that it adds on, any moment is as good as another.
        while process.poll() is None and not (out.is_dir() and [*out.glob(".partial-*/*")]):
            time.sleep(0.002)
        time.sleep(moments.uniform(0, 0.4))
        crew = children(process.pid)
        process.kill()
        process.wait()
        length = journal.stat().st_size
        assert length >= seen
        seen = length
        give_up = time.monotonic() + 20
        while any(map(running, crew)):
            assert time.monotonic() < give_up, "what the run had started goes on without it"
            time.sleep(0.02)
    said = taran_eo("run", imagery, "-o", out, "--tile", 48, "--resume", "-q")
    assert (said.code, said.out, said.err) == (0, "", "")
    assert outputs(out) == outputs(whole)
    assert list(out.rglob(".*")) == []
    assert taran_eo("verify", out).code == 0


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_leaves_nothing_half_written(tmp_path, imagery, taran_eo, stop):
    out = tmp_path / "out"
    # The slow engine, so that there is something to stop.
    command = [sys.executable, "-m", "taran_eo.cli", "run", imagery, "-o", out, "--tile", "48", "--engine", "reference"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(stop, signal.SIG_DFL),  # which a script's background job ignores
    )
    while process.poll() is None and not (out.is_dir() and [*out.glob(".partial-*/*")]):
        time.sleep(0.002)
    os.kill(process.pid, stop)
    told, faults = process.communicate(timeout=60)
    kept = "taran-eo: Interrupted. What was finished is kept; --resume goes on from there\n"
    assert (process.returncode, told, faults) == (130, "", kept)
    assert list(out.rglob(".*")) == []
    assert taran_eo("verify", out).code == 0

"""Count the instructions of a tile of 64 x 64 pixels on every target, and write them to instructions.json.

python deploy/count.py
"""

import subprocess
import tempfile
from pathlib import Path

import numpy as np

from taran_eo.c_runtime import to_program
from taran_eo.export.c_replay import write_replay
from taran_eo.export.c_sources import write_c
from taran_eo.export.fit import Count, Counts, fit
from taran_eo.export.instructions import build_plugin, instructions
from taran_eo.graph import run
from taran_eo.model import Model, shipped
from taran_eo.target import TARGETS, Target, open_target

MODELS = ("thin_unet32_e2m3", "thin_unet32_e3m2", "ship_gate_e2m3")
SIDE = 64
WHAT = (
    "Instructions of one taran_run, counted by a plugin of QEMU: counts, never cycles. No caches, no pipeline, no "
    "memory to wait for. Made by deploy/count.py"
)


def count(model: Model, target: Target, emulator: str, scratch: Path) -> Count:
    """Count what a model takes on a target."""
    graph = model.graph
    folder = scratch / model.name / target.name
    folder.mkdir(parents=True)
    steps = to_program(graph, fold=False).steps
    pixels = np.ascontiguousarray(model.golden()[0][:1, :, :SIDE, :SIDE])
    memory = fit(graph, target, SIDE, SIDE).arena_bytes
    written = write_c(graph, folder, rows=SIDE, cols=SIDE, limit=0, memory=memory)
    write_replay(folder, pixels, run(graph, pixels[0])[None], target)
    return Count(
        target=target.name,
        model=model.name,
        digest=graph.digest,
        lane=2 if any(step.weights.lane == 2 for step in steps if step.weights is not None) else 1,
        kernels=target.build.kernels,
        macs=graph.macs(SIDE, SIDE),
        stripe=written.stripe,
        instructions=instructions(folder, build_plugin(scratch)),
        compiler=named(target.build.compiler),
        qemu=named(emulator),
    )


def named(program: str) -> str:
    """How a program names itself, with its version."""
    return subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]


def main() -> None:
    """Count them all."""
    counts = []
    with tempfile.TemporaryDirectory() as scratch:
        for model in (Model.open(shipped(name)) for name in MODELS):
            for target in map(open_target, TARGETS):
                if target.emulator is not None:
                    found = count(model, target, target.emulator.command[0], Path(scratch))
                    ratio = found.instructions / found.macs
                    print(f"{model.name} on {target.name}: {found.instructions:,}, {ratio:.2f} a MAC")  # noqa: T201
                    counts.append(found)
    report = Counts(what=WHAT, rows=SIDE, cols=SIDE, counts=tuple(counts))
    Path(__file__).with_name("instructions.json").write_text(report.model_dump_json(indent=1) + "\n")


if __name__ == "__main__":
    main()

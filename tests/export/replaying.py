"""A folder as its replay finds it, and the replay."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import onnx

import taran_eo.export
from taran_eo.graph import logit_at

SCRIPT = Path(taran_eo.export.__file__).parent / "scripts" / "replay.py"


def exported(folder, model, name, program, *, dtype, **promised):
    """Write a folder; the manifest holds what a replay reads."""
    pixels, logits = model.golden()
    (folder / "golden").mkdir()
    (folder / "golden" / "pixels.u8").write_bytes(pixels.tobytes())
    (folder / "golden" / "logits.i32").write_bytes(logits.astype("<i4").tobytes())
    onnx.save(program, folder / "model.onnx")
    shutil.copyfile(SCRIPT, folder / "replay.py")
    scale = model.graph.logit_scale
    unit = scale if dtype == "float32" else 1
    manifest = {
        "form": name,
        "program": "model.onnx",
        "golden": {"vectors": len(pixels), "pixels": pixels.shape[1:], "logits": logits.shape[1:]},
        "output": {"dtype": dtype, "scale": scale, "limit": logit_at(model.threshold, scale) * unit},
        **promised,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))


def replayed(folder, *options, python=sys.executable):
    done = subprocess.run([python, "replay.py", *options], cwd=folder, capture_output=True, text=True)
    assert done.returncode in (0, 1) and "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout.splitlines()

# ruff: noqa: T201 - it talks to who runs it
"""Runs the golden vectors of this folder, and tells how far the logits are from those of the model.

Usage: python replay.py [--measure]

Takes numpy and, after the form in manifest.json, onnxruntime, onnx 1.23 or newer (onnx-fp6), or qonnx (qonnx). The
last line is a JSON object. The exit code is 0 if the vectors come out as the manifest says, else 1; with --measure
nothing is judged.
"""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

HERE = Path(__file__).resolve().parent

SLACK = 1e-3
"""Relative, and in real logits. The order of a float32 sum, which differs between processors, is seen in the sixth
digit; a wrong weight, operator or file in the first."""

Run = Callable[[NDArray[np.uint8]], Any]


def onnx_runtime(program: Path) -> Run:
    """ONNX Runtime, on the CPU."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # Without it, sums of 8-bit products saturate on x86 processors that have AVX2 and no VNNI.
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = onnxruntime.InferenceSession(str(program), options, providers=["CPUExecutionProvider"])
    (pixels,) = session.get_inputs()
    return lambda tile: session.run(None, {pixels.name: tile})[0]


def onnx_reference(program: Path) -> Run:
    """The reference evaluator of ONNX."""
    from onnx.reference import ReferenceEvaluator

    evaluator: Any = ReferenceEvaluator(str(program))
    (pixels,) = evaluator.input_names
    return lambda tile: evaluator.run(None, {pixels: tile})[0]


def qonnx(program: Path) -> Run:
    """The executor of QONNX."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    from qonnx.core.modelwrapper import ModelWrapper  # type: ignore[import-not-found]
    from qonnx.core.onnx_exec import execute_onnx  # type: ignore[import-not-found]
    from qonnx.transformation.infer_shapes import InferShapes  # type: ignore[import-not-found]

    model = ModelWrapper(str(program)).transform(InferShapes())
    pixels, logits = model.graph.input[0].name, model.graph.output[0].name
    return lambda tile: execute_onnx(model, {pixels: tile})[logits]


def main() -> int:
    """Run every vector."""
    manifest = json.loads((HERE / "manifest.json").read_text(encoding="utf-8"))
    golden, output = manifest["golden"], manifest["output"]
    tiles = np.fromfile(HERE / "golden" / "pixels.u8", np.uint8).reshape(golden["vectors"], *golden["pixels"])
    expected = np.fromfile(HERE / "golden" / "logits.i32", "<i4").reshape(golden["vectors"], *golden["logits"])
    run = {"onnx-fp6": onnx_reference, "qonnx": qonnx}.get(manifest["form"], onnx_runtime)(HERE / manifest["program"])
    unit = output["scale"] if output["dtype"] == "float32" else 1.0
    limit = output["limit"] / unit
    largest, changed, differing = 0.0, 0, 0
    for number, (tile, logits) in enumerate(zip(tiles, expected, strict=True)):
        units = run(tile[None])[0].astype(np.float64) / unit
        apart = float(np.abs(units - logits).max()) * output["scale"]
        pixels = int(np.count_nonzero((units >= limit) != (logits >= limit)))
        print(f"vector {number}: logits differ by up to {apart:.6g}, {pixels} pixels of the mask changed")
        largest = float(np.maximum(largest, apart))  # stays NaN, where max would not
        changed += pixels
        differing += int(np.count_nonzero(np.rint(units) != logits))
    found = {"vectors": len(tiles), "largest": largest, "mask_pixels": changed, "logits_differing": differing}
    print(json.dumps(found))
    if "--measure" in sys.argv[1:]:
        return 0
    if manifest["exact"]:
        return int(differing > 0)
    return int(not largest <= manifest["difference"]["largest"] * (1 + SLACK) + SLACK)


if __name__ == "__main__":
    sys.exit(main())

"""A graph as text and arrays: the program in JSON, the numbers beside it, and the SHA-256 over both."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any, assert_never

import numpy as np
from numpy.typing import NDArray

from taran_eo.errors import CorruptDataError
from taran_eo.formats import Scaling, parse_format
from taran_eo.graph.ops import FLOAT32, Concat, Conv, FloatConv, MaxPool, Op, Requantize, Tensor, Upsample

VERSION, FLOAT_VERSION = 1, 2
"""A program with float32 is of version 2, so that those who know integers only refuse it as newer than they are."""

Arrays = dict[str, NDArray[Any]]


def digest_of(program: str, arrays: Arrays) -> str:
    """SHA-256 over a program and all its numbers, in hexadecimal."""
    total = hashlib.sha256(program.encode())
    for name in sorted(arrays):
        array = arrays[name]
        total.update(f"{name}:{array.dtype.str}:{array.shape}".encode())
        total.update(array.tobytes())
    return total.hexdigest()


def to_program(name: str, tensors: Iterable[Tensor], ops: Sequence[Op], ends: tuple[str, str]) -> tuple[str, Arrays]:
    """Write tensors and operations as canonical JSON and named arrays; `ends` are input and output."""
    arrays: Arrays = {}
    steps = [_op_to_json(op, arrays) for op in ops]
    program = {
        "version": FLOAT_VERSION if any(isinstance(op, FloatConv) for op in ops) else VERSION,
        "name": name,
        "input": ends[0],
        "output": ends[1],
        "tensors": [
            {
                "name": tensor.name,
                "channels": tensor.channels,
                "level": tensor.level,
                "format": str(tensor.format),
                # Hexadecimal, so that a scale is the same number on every machine.
                "scale": tensor.scaling.scales[0].hex(),
            }
            for tensor in tensors
        ],
        "ops": steps,
    }
    # Safetensors writes memory as it lies, channels last included; in row-major order the two are one.
    return json.dumps(program, separators=(",", ":")), {key: np.ascontiguousarray(each) for key, each in arrays.items()}


def _op_to_json(op: Op, arrays: Arrays) -> dict[str, Any]:
    match op:
        case Conv():
            arrays[f"{op.target}.weights"], arrays[f"{op.target}.bias"] = op.weights, op.bias
            if op.requantize is not None:
                arrays[f"{op.target}.multipliers"] = op.requantize.multipliers
                arrays[f"{op.target}.shifts"] = op.requantize.shifts
            return {"op": "conv", "source": op.source, "target": op.target, "weights": str(op.weight_format)}
        case FloatConv():
            arrays[f"{op.target}.weights"], arrays[f"{op.target}.bias"] = op.weights, op.bias
            return {"op": "float_conv", "source": op.source, "target": op.target, "relu": op.relu}
        case MaxPool():
            return {"op": "max_pool", "source": op.source, "target": op.target}
        case Upsample():
            return {"op": "upsample", "source": op.source, "target": op.target}
        case Concat():
            return {"op": "concat", "sources": list(op.sources), "target": op.target}
        case _:
            assert_never(op)


def from_program(text: str, arrays: Arrays) -> tuple[str, dict[str, Tensor], tuple[Op, ...], tuple[str, str]]:
    """Read what `to_program` wrote.

    Raises:
        CorruptDataError: The program is of another version.
        KeyError, TypeError, ValueError: It makes no sense.
    """
    program = json.loads(text)
    if program["version"] not in (VERSION, FLOAT_VERSION):
        raise CorruptDataError(
            f"The graph is of version {program['version']}, this program reads {VERSION} and {FLOAT_VERSION}",
            remedy="Use the version of taran_eo that wrote it, or lower the model again",
        )
    tensors = {
        entry["name"]: Tensor(
            entry["name"],
            int(entry["channels"]),
            int(entry["level"]),
            FLOAT32 if entry["format"] == str(FLOAT32) else parse_format(entry["format"]),
            Scaling((float.fromhex(entry["scale"]),)),
        )
        for entry in program["tensors"]
    }
    ops = tuple(_op_from_json(entry, arrays) for entry in program["ops"])
    return program["name"], tensors, ops, (program["input"], program["output"])


def _op_from_json(entry: dict[str, Any], arrays: Arrays) -> Op:
    target = entry["target"]
    match entry["op"]:
        case "conv":
            scaled = f"{target}.shifts" in arrays
            how = Requantize(arrays[f"{target}.multipliers"], arrays[f"{target}.shifts"]) if scaled else None
            weights, bias = arrays[f"{target}.weights"], arrays[f"{target}.bias"]
            return Conv(entry["source"], target, weights, parse_format(entry["weights"]), bias, how)
        case "float_conv":
            weights, bias = arrays[f"{target}.weights"], arrays[f"{target}.bias"]
            return FloatConv(entry["source"], target, weights, bias, bool(entry["relu"]))
        case "max_pool":
            return MaxPool(entry["source"], target)
        case "upsample":
            return Upsample(entry["source"], target)
        case "concat":
            return Concat(tuple(entry["sources"]), target)
        case unknown:
            raise ValueError(f"operation {unknown!r}")

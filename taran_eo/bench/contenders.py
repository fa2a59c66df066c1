"""Who takes part: each makes a graph, or the network behind it, ready to run on a tile.

Ours run the integers. The others run the network behind them (`taran_eo.graph.in_float`), as it is or quantized to int8
by their own tools, calibrated on the tile itself: what counts here is how long they take, not what they find.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, assert_never

import numpy as np
from numpy.typing import NDArray

from taran_eo.engines import engines_for, open_engine
from taran_eo.errors import ConfigError
from taran_eo.graph import Concat, Conv, FloatConv, Graph, MaxPool, Upsample, in_float

Pixels = NDArray[np.uint8]
Run = Callable[[Pixels], Any]


@dataclass(frozen=True)
class Contender:
    """A runtime in one of its ways.

    Attributes:
        name: Its name in tables.
        what: What it computes, in a word or two.
        needs: Python modules that must be installed.
        ready: Makes a function of a tile's pixels, from a graph, threads, and pixels like those to come.
        ours: Whether it runs the integers of the graph.
    """

    name: str
    what: str
    needs: tuple[str, ...]
    ready: Callable[[Graph, int, Pixels], Run]
    ours: bool = False

    def takes_part(self, graph: Graph) -> bool:
        """Whether it is installed, and can run the graph."""
        return (self.name in engines_for(graph)) if self.ours else all(find_spec(module) for module in self.needs)


def _native(graph: Graph, threads: int, _: Pixels) -> Run:
    return open_engine("native", graph, threads=threads).run


def _onnxruntime(graph: Graph, threads: int, _: Pixels) -> Run:
    return open_engine("onnxruntime", graph, threads=threads).run


def _reference(graph: Graph, threads: int, _: Pixels) -> Run:
    return open_engine("reference", graph, threads=threads).run


def _onnxruntime_float32(graph: Graph, threads: int, _: Pixels) -> Run:
    return _session(_onnx(graph), threads)


def _onnxruntime_int8(graph: Graph, threads: int, pixels: Pixels) -> Run:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc] # it has no types
        def __init__(self) -> None:
            self._left = [{"pixels": _batch(pixels)}]

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            return self._left.pop() if self._left else None

    with tempfile.TemporaryDirectory() as folder:
        plain, quantized = Path(folder, "plain.onnx"), Path(folder, "quantized.onnx")
        plain.write_bytes(_onnx(graph))
        quantize_static(
            plain,
            quantized,
            Reader(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        return _session(quantized.read_bytes(), threads)


def _session(model: bytes, threads: int) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    # Contenders take turns; one that spins while another runs would disturb it.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda pixels: session.run(None, {"pixels": _batch(pixels)})[0]


def _openvino_float32(graph: Graph, threads: int, _: Pixels) -> Run:
    import openvino

    return _openvino(openvino.Core().read_model(_onnx(graph)), threads)


def _openvino_int8(graph: Graph, threads: int, pixels: Pixels) -> Run:
    import nncf
    import openvino

    model = openvino.Core().read_model(_onnx(graph))
    return _openvino(nncf.quantize(model, nncf.Dataset([_batch(pixels)]), subset_size=1), threads)


def _openvino(model: Any, threads: int) -> Run:  # noqa: ANN401 - it has no types
    import openvino

    hints = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    request = openvino.Core().compile_model(model, "CPU", hints).create_infer_request()
    return lambda pixels: request.infer({0: _batch(pixels)})[0]


def _mnn_float32(graph: Graph, threads: int, pixels: Pixels) -> Run:
    import MNN

    with tempfile.TemporaryDirectory() as folder:
        plain, converted = Path(folder, "plain.onnx"), Path(folder, "converted.mnn")
        plain.write_bytes(_onnx(graph))
        converter = Path(sys.executable).with_name("mnnconvert")
        files = ["--modelFile", str(plain), "--MNNModel", str(converted)]
        subprocess.run([str(converter), "-f", "ONNX", *files, "--bizCode", "b"], check=True, capture_output=True)
        runtime = MNN.nn.create_runtime_manager(({"backend": "CPU", "precision": "high", "numThread": threads},))
        network = MNN.nn.load_module_from_file(str(converted), ["pixels"], ["logits"], runtime_manager=runtime)
    shape = [1, *pixels.shape]

    def run(pixels: Pixels) -> object:
        made = network.forward(MNN.expr.const(_batch(pixels), shape, MNN.expr.NCHW))
        return np.array(MNN.expr.convert(made, MNN.expr.NCHW).read())

    return run


def _litert_int8(graph: Graph, threads: int, pixels: Pixels) -> Run:
    import litert_torch
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_quantizer import quantizer, recipe

    tile = np.ascontiguousarray(_batch(pixels).transpose(0, 2, 3, 1))
    with tempfile.TemporaryDirectory() as folder:
        plain, quantized = Path(folder, "plain.tflite"), Path(folder, "quantized.tflite")
        channels_last = litert_torch.to_channel_last_io(_module(graph), args=[0], outputs=[0])
        litert_torch.convert(channels_last, (_tensor(tile),)).export(str(plain))
        made = quantizer.Quantizer(str(plain), recipe.static_wi8_ai8())
        measured = made.calibrate({"serving_default": [{"args_0": tile}]})
        made.quantize(measured).export_model(str(quantized))
        interpreter = Interpreter(str(quantized), num_threads=threads)
    interpreter.allocate_tensors()
    source, target = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    scale, zero = source["quantization"]
    whole = source["dtype"] != np.float32

    def run(pixels: Pixels) -> object:
        tile = np.ascontiguousarray(pixels.transpose(1, 2, 0))[None]
        # Its int8 is the pixel less 128 where the scale is 1.
        integers = np.clip(np.round(tile / scale) + zero, -128, 127) if whole else tile
        interpreter.set_tensor(source["index"], integers.astype(source["dtype"]))
        interpreter.invoke()
        return interpreter.get_tensor(target["index"])

    return run


def _torch_eager(graph: Graph, threads: int, _: Pixels) -> Run:
    import torch

    torch.set_num_threads(threads)
    network = _module(graph)

    def run(pixels: Pixels) -> object:
        with torch.inference_mode():
            return network(_tensor(_batch(pixels)))

    return run


CONTENDERS = (
    Contender("native", "the integers", (), _native, ours=True),
    Contender("onnxruntime", "the integers", (), _onnxruntime, ours=True),
    Contender("reference", "the integers", (), _reference, ours=True),
    Contender("openvino_int8", "int8 of NNCF", ("openvino", "nncf"), _openvino_int8),
    Contender("litert_int8", "int8", ("litert_torch", "ai_edge_litert", "ai_edge_quantizer"), _litert_int8),
    Contender("onnxruntime_int8", "int8, u8s8", ("onnxruntime",), _onnxruntime_int8),
    Contender("openvino_float32", "float32", ("openvino",), _openvino_float32),
    Contender("mnn_float32", "float32", ("MNN",), _mnn_float32),
    Contender("onnxruntime_float32", "float32", ("onnxruntime",), _onnxruntime_float32),
    Contender("torch_eager", "float32", ("torch",), _torch_eager),
)


def named(name: str) -> Contender:
    """The contender of a name.

    Raises:
        ConfigError: There is none.
    """
    for contender in CONTENDERS:
        if contender.name == name:
            return contender
    raise ConfigError(
        f"There is no contender {name!r}", remedy=f"Choose of {', '.join(each.name for each in CONTENDERS)}", name=name
    )


def _batch(pixels: Pixels) -> NDArray[np.float32]:
    return np.ascontiguousarray(pixels, np.float32)[None]


def _tensor(array: NDArray[np.float32]) -> Any:  # noqa: ANN401 - a tensor, where torch is
    import torch

    return torch.from_numpy(array)


def _onnx(graph: Graph) -> bytes:
    """The network behind a graph as plain ONNX: float32 pixels in, float32 logits out, for tiles of any size."""
    from onnx import TensorProto, helper, numpy_helper

    nodes, constants = [], []

    def constant(name: str, array: NDArray[np.float32]) -> str:
        constants.append(numpy_helper.from_array(array, name))
        return name

    network = in_float(graph)
    names = {network.input: "pixels"} | {op.target: op.target for op in network.ops} | {network.output: "logits"}
    for op in network.ops:
        target = names[op.target]
        match op:
            case FloatConv():
                inputs = [names[op.source], constant(f"{target}.w", op.weights), constant(f"{target}.b", op.bias)]
                made = f"{target}.sum" if op.relu else target
                shape: dict[str, Any] = {"kernel_shape": [op.kernel] * 2, "pads": [op.kernel // 2] * 4}
                nodes.append(helper.make_node("Conv", inputs, [made], **shape))
                if op.relu:
                    nodes.append(helper.make_node("Relu", [made], [target]))
            case MaxPool():
                halved: dict[str, Any] = {"kernel_shape": [2, 2], "strides": [2, 2]}
                nodes.append(helper.make_node("MaxPool", [names[op.source]], [target], **halved))
            case Upsample():
                scales = constant(f"{target}.scales", np.array([1, 1, 2, 2], np.float32))
                how: dict[str, Any] = {
                    "mode": "nearest",
                    "coordinate_transformation_mode": "asymmetric",
                    "nearest_mode": "floor",
                }
                nodes.append(helper.make_node("Resize", [names[op.source], "", scales], [target], **how))
            case Concat():
                nodes.append(helper.make_node("Concat", [names[name] for name in op.sources], [target], axis=1))
            case Conv():
                raise AssertionError("there are no integers in it")
            case _:
                assert_never(op)
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, channels, "rows", "cols"])
        for name, channels in (("pixels", network.bands), ("logits", network.classes))
    ]
    body = helper.make_graph(nodes, "network", ends[:1], ends[1:], constants)
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    serialized: bytes = model.SerializeToString()
    return serialized


def _module(graph: Graph) -> Any:  # noqa: ANN401 - a module, where torch is
    """The network behind a graph as a module of torch."""
    import torch
    from torch.nn import functional

    network = in_float(graph)

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = torch.nn.ModuleDict()
            for op in network.ops:
                if isinstance(op, FloatConv):
                    outputs, inputs, kernel, _ = op.weights.shape
                    layer = torch.nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)
                    layer.load_state_dict({"weight": torch.from_numpy(op.weights), "bias": torch.from_numpy(op.bias)})
                    self.layers[op.target.replace(".", "_")] = layer

        def forward(self, pixels: Any) -> Any:  # noqa: ANN401
            values = {network.input: pixels}
            for op in network.ops:
                match op:
                    case FloatConv():
                        sums = self.layers[op.target.replace(".", "_")](values[op.source])
                        values[op.target] = functional.relu(sums) if op.relu else sums
                    case MaxPool():
                        values[op.target] = functional.max_pool2d(values[op.source], 2)
                    case Upsample():
                        values[op.target] = functional.interpolate(values[op.source], scale_factor=2.0, mode="nearest")
                    case Concat():
                        values[op.target] = torch.cat([values[name] for name in op.sources], dim=1)
                    case Conv():
                        raise AssertionError("there are no integers in it")
                    case _:
                        assert_never(op)
            return values[network.output]

    return Network().eval()


def quiet(threads: int) -> dict[str, str]:
    """Environment variables under which no contender takes more threads than told, or spins while others run."""
    threaded = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    # Nor does any report to its maker.
    return (
        dict(os.environ) | threaded | {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0", "ORT_DISABLE_TELEMETRY": "1"}
    )

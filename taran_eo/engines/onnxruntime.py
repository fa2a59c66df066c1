"""ONNX Runtime as an engine, on the program of `taran_eo.export`."""

import os
from threading import Lock

import numpy as np
from numpy.typing import NDArray

# From 1.29 on its Linux builds report hashes of the model and the machine to their maker unless told not to, and
# only the environment, before the first import, tells them in time. What flies here tells nobody.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime

from taran_eo.engines.engine import check_request, needed
from taran_eo.export import to_onnx
from taran_eo.graph import Graph
from taran_eo.imagery.window import Window


class OnnxRuntimeEngine:
    """A session of ONNX Runtime on the CPU.

    Args:
        graph: The program.
        threads: Threads of one tile.
    """

    name = "onnxruntime"
    tile_size = 768

    def __init__(self, graph: Graph, threads: int) -> None:
        self.graph = graph
        self._turn = Lock()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Idle threads must sleep: the reader of the next tile needs the cores.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # The arena without patterns: on tiles of 992 x 992 it peaks at 0.9 GiB, and spends no time in page faults.
        # With patterns, which reserve a block for each size of tile, it grows to 1.9 GiB; without an arena, to
        # 1.5 GiB, and half of the time goes to the system.
        options.enable_mem_pattern = False
        self._session = onnxruntime.InferenceSession(
            to_onnx(graph).SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def run(self, pixels: NDArray[np.uint8], wanted: Window | None = None) -> NDArray[np.int32]:
        """Compute the logits of a tile; see `Engine.run`."""
        part, place = needed(self.graph, pixels, check_request(self.graph, pixels, wanted))
        with self._turn:  # two tiles at once would take twice the memory, and no less time
            (logits,) = self._session.run(None, {self.graph.input: pixels[None, :, *part.slices]})
        result: NDArray[np.int32] = logits[0][:, *place.slices]
        return result

"""The narrow waist: a network frozen into one program.

`Graph` is a list of operations on integer images, `run` the reference interpreter, `save` and `load` its file,
`plan` its memory, and `requantize` the one rounding that every engine reproduces. A network that was not quantized is
the same list with `FloatConv` in it; then `exact` is False, and engines differ by the `tolerance`.
"""

from taran_eo.graph.graph import Graph, logit_at, worst_accumulator
from taran_eo.graph.in_float import in_float
from taran_eo.graph.ops import FLOAT32, Concat, Conv, FloatConv, MaxPool, Op, Requantize, Tensor, Upsample, sources_of
from taran_eo.graph.plan import MemoryPlan, Slot, Traffic, plan, traffic
from taran_eo.graph.reference import check_size, check_tile, run, tolerance
from taran_eo.graph.requantize import grid_mantissa, requantize
from taran_eo.graph.storage import load, save

__all__ = [
    "FLOAT32",
    "Concat",
    "Conv",
    "FloatConv",
    "Graph",
    "MaxPool",
    "MemoryPlan",
    "Op",
    "Requantize",
    "Slot",
    "Tensor",
    "Traffic",
    "Upsample",
    "check_size",
    "check_tile",
    "grid_mantissa",
    "in_float",
    "load",
    "logit_at",
    "plan",
    "requantize",
    "run",
    "save",
    "sources_of",
    "tolerance",
    "traffic",
    "worst_accumulator",
]

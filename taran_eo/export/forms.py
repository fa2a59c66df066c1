"""The forms in which a model leaves taran_eo: what each is for, and how its files are written."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from shutil import copyfile

import numpy as np
import onnx
from numpy.typing import NDArray

from taran_eo.c_runtime import source_file, to_program
from taran_eo.export.archive import pack_graph, unpack_graph
from taran_eo.export.c_replay import write_replay
from taran_eo.export.c_sources import write_c
from taran_eo.export.fit import fit, lacking
from taran_eo.export.manifest import Memory
from taran_eo.export.onnx_program import to_onnx
from taran_eo.export.onnx_real import to_float, to_qdq, to_qonnx, to_small_floats
from taran_eo.graph import Graph
from taran_eo.target import Target

HERE = Path(__file__).parent


@dataclass(frozen=True, eq=False)
class Order:
    """What is to be written, and for whom.

    Attributes:
        graph: The program.
        limit: The logit from which a pixel is of the class.
        pixels: Golden pixels ``uint8[n, bands, rows, cols]``; their rows and columns are those of a tile, where a form
            has a fixed size of tile.
        logits: What they give, ``int32[n, classes, rows, cols]``.
        memory: Most bytes for the tensors; None for what is fastest.
        target: Where C runs.
    """

    graph: Graph
    limit: int
    pixels: NDArray[np.uint8]
    logits: NDArray[np.int32]
    memory: int | None
    target: Target


_ONNX_RUNTIME = "Python with numpy and onnxruntime"


@dataclass(frozen=True)
class Form:
    """A form.

    Attributes:
        name: As the command line knows it.
        what: What it is, for who receives it.
        write: Writes its files.
        exact: Whether its logits are those of the graph, bit for bit; else they are real numbers near them.
        program: The file that holds the network.
        names: Whether a program is of the graph of a digest.
        tile: Rows and columns of a tile where none are asked for; None: as the golden vectors are.
        fixed: Whether it is for tiles of one size.
        prover: The file that replays the golden vectors.
        needs: What its replay takes besides the folder.
    """

    name: str
    what: str
    write: Callable[[Order, Path], Memory | None]
    exact: bool = False
    program: str = "model.onnx"
    names: Callable[[bytes, str], bool] = lambda program, digest: digest.encode() in program
    tile: int | None = None
    fixed: bool = False
    prover: str = "replay.py"
    needs: str = _ONNX_RUNTIME


def _onnx(make: Callable[[Order], onnx.ModelProto]) -> Callable[[Order, Path], None]:
    def write(order: Order, folder: Path) -> None:
        onnx.save(make(order), folder / "model.onnx")
        copyfile(HERE / "scripts" / "replay.py", folder / "replay.py")

    return write


def _archive(order: Order, folder: Path) -> None:
    (folder / "model.taran").write_bytes(pack_graph(order.graph))
    copyfile(HERE / "ARCHIVE.md", folder / "ARCHIVE.md")
    for name in ("taran.h", "taran.c", "export/taran_archive.h", "export/taran_archive.c", "export/archive_replay.c"):
        copyfile(source_file(name), folder / Path(name).name)
    vectors, _, rows, cols = order.pixels.shape
    program = to_program(order.graph, fold=False)
    weights = [step.weights for step in program.steps if step.weights is not None]
    room = {
        "STEPS": len(program.steps),
        "SEGMENTS": sum(len(reads) for each in weights for reads in each.phases),
        "NUMBERS": 3 * sum(len(each.bias) for each in weights),
    }
    lines = {
        "VECTORS": vectors,
        "ROWS": rows,
        "COLS": cols,
        "ROOM": " ".join(f"-DTARAN_ARCHIVE_{name}={size}" for name, size in room.items()),
    }
    rule = source_file("export/archive.mk").read_text()
    (folder / "Makefile").write_text("".join(f"{name} = {value}\n" for name, value in lines.items()) + rule)


def _c99(order: Order, folder: Path) -> Memory:
    _, _, rows, cols = order.pixels.shape
    found = fit(order.graph, order.target, rows, cols)
    written = write_c(
        order.graph,
        folder,
        rows=rows,
        cols=cols,
        limit=order.limit,
        memory=found.arena_bytes if order.memory is None else order.memory,
    )
    write_replay(folder, order.pixels, order.logits, order.target)
    return Memory(
        weights=written.weight_bytes,
        constants=written.table_bytes,
        arena=written.arena_bytes,
        stripe=written.stripe,
        lacking=lacking(order.target, found, written.arena_bytes),
    )


FORMS = (
    Form(
        name="onnx-integer",
        what="Standard ONNX operators of opset 21 that compute the very integers of the network",
        exact=True,
        write=_onnx(lambda order: to_onnx(order.graph)),
    ),
    Form(
        name="onnx-qdq",
        what="QuantizeLinear and DequantizeLinear around each convolution, u8 activations and s8 weights, as runtimes "
        "on x86 fuse them",
        write=_onnx(lambda order: to_qdq(order.graph, signed=False)),
    ),
    Form(
        name="onnx-qdq-s8",
        what="QuantizeLinear and DequantizeLinear around each convolution, s8 activations and weights, symmetric, as "
        "TensorRT takes them",
        write=_onnx(lambda order: to_qdq(order.graph, signed=True)),
    ),
    Form(
        name="onnx-float",
        what="The network in float32, with nothing rounded between convolutions: what quantization is compared with",
        write=_onnx(lambda order: to_float(order.graph)),
    ),
    Form(
        name="onnx-fp6",
        what="Weights in the small floating-point types of ONNX (opset 28), activations rounded to their grid in "
        "floating point",
        needs="Python with numpy and onnx of 1.23 or newer; ONNX Runtime does not run these types yet",
        write=_onnx(lambda order: to_small_floats(order.graph)),
    ),
    Form(
        name="qonnx",
        what="QONNX: Quant and FloatQuant nodes, for tools of the FINN and hls4ml families",
        fixed=True,
        needs="Python with qonnx 1.0 and onnx 1.22, in an environment of its own",
        write=_onnx(lambda order: to_qonnx(order.graph, *order.pixels.shape[2:])),
    ),
    Form(
        name="archive",
        what="One file that a C program loads: weights packed in the codes of their format, and checked before use",
        program="model.taran",
        exact=True,
        prover="Makefile",
        needs="make and a C compiler",
        write=_archive,
        names=lambda program, digest: unpack_graph(program).digest == digest,
    ),
    Form(
        name="c99",
        what="C99 sources that stand alone: no heap, no floating point, weights packed in tables of constants",
        program="model.c",
        exact=True,
        tile=256,
        fixed=True,
        prover="Makefile",
        needs="make and the target's compiler and emulator",
        write=_c99,
    ),
)


def form_named(name: str) -> Form:
    """The form of a name, which is known."""
    return next(form for form in FORMS if form.name == name)

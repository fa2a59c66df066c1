"""The integer runtime in C99: its sources, and graphs as it takes them.

``taran.h`` and ``taran.c`` are all that a small target needs: no allocation, no floating point, no library. The files
``x86_*.c`` do the same with vectors, and ``host.c`` adds threads and the choice between them. `to_program` writes a
graph for all of them; `taran_eo.engines.native` runs it here.
"""

from pathlib import Path

from taran_eo.c_runtime.program import Program, Reads, Rows, Step, Weights
from taran_eo.c_runtime.writer import to_program

__all__ = ["Program", "Reads", "Rows", "Step", "Weights", "source_file", "to_program"]


def source_file(name: str) -> Path:
    """A file of the C sources; an editable install keeps what was built apart from them, and both are the package's."""
    return next(Path(each) / name for each in __path__ if (Path(each) / name).exists())

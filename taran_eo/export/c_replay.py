"""What goes beside exported C sources so that a target can prove itself: golden vectors, and a program that runs them.

The folder that is written stands alone. ``make replay`` builds the program for its target and runs it, on this machine
or under the target's emulator; CMake does the same, for those who build with it.
"""

from pathlib import Path
from shutil import copyfile
from textwrap import wrap

import numpy as np
from numpy.typing import NDArray

from taran_eo.c_runtime import source_file
from taran_eo.target import FOLDER, PROGRAM, Target

_KERNELS = {"portable": (), "neon": ("arm_neon.c", "arm_neon.inc", "vectors.inc", "taran_kernels.h")}
"""Files of the kernels that a target may have besides those of the runtime itself."""


def write_replay(folder: Path, pixels: NDArray[np.uint8], logits: NDArray[np.int32], target: Target) -> None:
    """Write golden vectors and the program that replays them into a folder that ``write_c`` has written.

    Args:
        folder: Where ``model.c`` is.
        pixels: ``uint8[n, bands, rows, cols]``, of the size of tile that the sources were written for.
        logits: ``int32[n, classes, rows, cols]``, what they must give.
        target: What it is built for; its files go into the folder ``target``.
    """
    (folder / "golden.h").write_text(_GOLDEN_H.format(vectors=len(pixels)))
    (folder / "golden.c").write_text(
        "\n".join(
            [
                '#include "golden.h"',
                "",
                *_vectors("uint8_t", "pixels", "PIXELS", pixels),
                "",
                *_vectors("int32_t", "logits", "LOGITS", logits),
                "",
            ]
        )
    )
    for name in ("export/replay.c", *_KERNELS[target.build.kernels]):
        source = source_file(name)
        copyfile(source, folder / source.name)
    board = folder / "target"
    board.mkdir(exist_ok=True)
    for source in (*target.folder.iterdir(), *(target.folder / name for name in target.build.sources)):
        copyfile(source, board / source.name)
    for name, fields in (("Makefile", _of_make(target)), ("CMakeLists.txt", _of_cmake(target))):
        text = source_file(f"export/{name}.in").read_text()
        for field, value in fields.items():
            text = text.replace(f"@{field}@", value)
        (folder / name).write_text(text)


def _of_make(target: Target) -> dict[str, str]:
    build = target.build
    return {
        "NAME": target.name,
        "WHERE": f"under {target.emulator.command[0]}" if target.emulator else "here",
        "COMPILER": build.compiler,
        "SIZE": build.size,
        "FLAGS": " ".join(build.flags),
        "LINK": " ".join(build.link).replace(FOLDER, "target"),
        "MODEL": " ".join(f"{Path(name).stem}.o" for name in _model(target)),
        "BOARD": " ".join(f"target/{Path(name).stem}.o" for name in build.sources),
        "KERNELS": _NEON_MAKE if build.kernels == "neon" else "",
        "RUN": _command(target, "./$(PROGRAM)", plugin="$(if $(PLUGIN),-plugin $(PLUGIN))"),
    }


def _of_cmake(target: Target) -> dict[str, str]:
    build = target.build
    return {
        "NAME": target.name,
        "TOOLCHAIN": " -DCMAKE_TOOLCHAIN_FILE=target/toolchain.cmake" if target.emulator else "",
        "ASM": " ASM" if any(name.endswith(".S") for name in build.sources) else "",
        "FLAGS": " ".join(build.flags),
        "MODEL": " ".join(_model(target)),
        "KERNELS": _NEON_CMAKE if build.kernels == "neon" else "",
        "BOARD": " ".join(f"target/{Path(name).name}" for name in build.sources),
        "LINK": " ".join(build.link).replace(FOLDER, "${CMAKE_CURRENT_SOURCE_DIR}/target"),
        "RUN": _command(target, "$<TARGET_FILE:replay>"),
    }


def _model(target: Target) -> tuple[str, ...]:
    return ("model.c", "taran.c", *(name for name in _KERNELS[target.build.kernels] if name.endswith(".c")))


def _command(target: Target, program: str, plugin: str | None = None) -> str:
    """The words that run a program; a plugin comes right behind the emulator."""
    if target.emulator is None:
        return program
    emulator, *rest = (word.replace(PROGRAM, program) for word in target.emulator.command)
    return " ".join([emulator, *([] if plugin is None else [plugin]), *rest])


def _vectors(kind: str, name: str, size: str, vectors: NDArray[np.integer]) -> list[str]:
    lines = [f"const {kind} golden_{name}[GOLDEN_VECTORS][GOLDEN_{size}] = {{"]
    for vector in vectors:
        lines += ["{", *wrap(", ".join(map(str, vector.ravel().tolist())), 118), "},"]
    return [*lines, "};"]


_NEON_MAKE = """\
arm_neon.o: CFLAGS = -std=gnu99 -O2 -Wall -Wextra -Werror
model.o: MACHINE += -DTARAN_KERNELS=taran_neon
"""
_NEON_CMAKE = "target_compile_definitions(taran_model PRIVATE TARAN_KERNELS=taran_neon)\n"

_GOLDEN_H = """\
/* Pixels, and the logits that they must give. Made by taran_eo; not to be changed by hand. */
#ifndef TARAN_GOLDEN_H
#define TARAN_GOLDEN_H

#include "model.h"

#define GOLDEN_VECTORS {vectors}
#define GOLDEN_PIXELS (TARAN_BANDS * TARAN_ROWS * TARAN_COLS)
#define GOLDEN_LOGITS (TARAN_CLASSES * TARAN_LOGIT_ROWS * TARAN_LOGIT_COLS)

extern const uint8_t golden_pixels[GOLDEN_VECTORS][GOLDEN_PIXELS];
extern const int32_t golden_logits[GOLDEN_VECTORS][GOLDEN_LOGITS];

#endif
"""

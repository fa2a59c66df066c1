# ruff: noqa: E501 - prose
"""The page of an export for the person who receives it."""

from taran_eo.export.forms import Form
from taran_eo.export.manifest import Manifest
from taran_eo.target import Target


def readme(manifest: Manifest, form: Form, target: Target, *, replayed: bool) -> str:
    """The text of ``README.md``.

    Args:
        manifest: What the export tells of itself.
        form: Its form.
        target: Where C runs.
        replayed: Whether its golden vectors were run where it was made.
    """
    model = manifest.model
    lines = [
        f"# {model.name} {model.version} as {form.name}",
        "",
        f"{form.what}. The network is in `{form.program}`; its graph has the SHA-256 `{model.digest}`.",
        "",
        f"- **In**: {_taken(manifest, form)}",
        f"- **Out**: {_given(manifest, form)}",
        f"- **Tiles of a scene**: {_tiles(manifest, form)}",
        f"- **Exactness**: {exactness(manifest, replayed=replayed)}",
        *_of_c(manifest, target),
        "",
        *_use(form, target),
        "",
        "## Check it",
        "",
        "```sh",
        "sha256sum -c SHA256SUMS",
        f"{'make replay' if form.prover == 'Makefile' else 'python replay.py'}    # runs the golden vectors",
        "```",
        "",
        f"The second takes {form.needs}. `taran-eo verify` does both, and runs what lies in this folder: only do that with "
        "sums that you trust. `manifest.json` tells all of the above to programs.",
        "",
    ]
    return "\n".join(lines)


def exactness(manifest: Manifest, *, replayed: bool) -> str:
    """How near an export comes to its model, as a sentence."""
    if manifest.exact:
        where = "were replayed where this was made" if replayed else "were not replayed where this was made"
        return f"every logit is that of the model, bit for bit. The golden vectors {where}."
    found = manifest.difference
    assert found is not None  # noqa: S101 - a form that is not exact is measured, or not exported
    pixels = manifest.golden.vectors * manifest.golden.logits[1] * manifest.golden.logits[2]
    return (
        f"of {pixels} logits of the golden vectors {found.logits_differing} differ from the model's, by up to "
        f"{found.largest:.4g}, and {found.mask_pixels} pixels of the mask."
    )


def _taken(manifest: Manifest, form: Form) -> str:
    given = manifest.input
    multiples = "" if form.fixed else f" Rows and columns must be multiples of {given.alignment}."
    return (
        f"`uint8{_shape(manifest.golden.pixels, 1, form)}`, the bands {', '.join(given.bands)} of {given.bit_depth} bits at "
        f"{given.gsd_m:g} m, as they are: no normalization.{multiples}"
    )


def _given(manifest: Manifest, form: Form) -> str:
    made = manifest.output
    unit = f"integers, one unit of which is {made.scale:g}" if made.dtype == "int32" else "real numbers"
    what = "A pixel" if made.reduction == 1 else f"A cell of {made.reduction} x {made.reduction} pixels"
    return (
        f"`{made.dtype}{_shape(manifest.golden.logits, made.reduction, form)}`, logits: {unit}. {what} is of the class "
        f"{made.classes[-1]} where its logit is at least {made.limit:g} (a probability of {made.threshold:g})."
    )


def _shape(golden: tuple[int, int, int], reduction: int, form: Form) -> str:
    """The axes of an array: those of a golden vector, or of any tile where the form takes any; ONNX has a first one."""
    channels, rows, cols = golden
    over = "" if reduction == 1 else f" / {reduction}"
    size = f"{rows}, {cols}" if form.fixed else f"rows{over}, cols{over}"
    return f"[{'1, ' if form.program.endswith('.onnx') else ''}{channels}, {size}]"


def _tiles(manifest: Manifest, form: Form) -> str:
    halo, alignment = manifest.input.halo, manifest.input.alignment
    _, rows, cols = manifest.golden.pixels
    text = (
        f"logits nearer than {halo} pixels to where a tile was cut out of its scene may differ from those of the whole "
        f"scene. Drop them, let neighbouring tiles share {2 * halo} pixels, and cut at multiples of {alignment}; pixels "
        "beyond the scene are 0."
    )
    if not form.fixed:
        return text
    inner = f"{rows - 2 * halo} x {cols - 2 * halo}"
    if min(rows, cols) <= 2 * halo:
        return f"{text} Of a tile of {rows} x {cols} that leaves none, unless it is the whole scene."
    return f"{text} Of a tile of {rows} x {cols} that leaves {inner}, and more at the edge of the scene."


def _of_c(manifest: Manifest, target: Target) -> list[str]:
    memory = manifest.memory
    if memory is None:
        return []
    verdict = {None: "", 0: " That fits it."}.get(
        memory.lacking,
        f" **Its memories lack {memory.lacking} bytes for that.** `taran-eo inspect --target` tells more.",
    )
    emulated = [] if target.emulator is None else [f"- **Emulation**: {target.emulator.is_not}"]
    return [
        f"- **Memory**: {memory.weights:,} bytes of packed weights among {memory.constants:,} bytes of constants, and an "
        f"arena of {memory.arena:,} bytes, in which {memory.stripe} rows of logits are made at a time. There is no heap; "
        "the stack takes a few kB.",
        f"- **Target**: {target.name}: {target.what}.{verdict}",
        *emulated,
    ]


def _use(form: Form, target: Target) -> list[str]:
    match form.name:
        case "c99":
            neon = target.build.kernels == "neon"
            files = "`model.c`, `taran.c` and `arm_neon.c`" if neon else "`model.c` and `taran.c`"
            flag = " (`model.c` with `-DTARAN_KERNELS=taran_neon`, else it does without NEON)" if neon else ""
            return [
                "```c",
                '#include "model.h"',
                "taran_run(pixels, logits);  /* both are yours; the arena is static */",
                "taran_mask(logits, labels);",
                "```",
                "",
                f"Compile {files} into your program{flag}; `model.h` has the sizes. No library is needed but the `memset` and "
                "`memcpy` that compilers call by themselves. No loop depends on what a tile shows; nor does the number of "
                "instructions, where the compiler has conditional ones. For two networks in one program, compile each "
                "`model.c` with names of its own, `-Dtaran_run=NAME_run -Dtaran_mask=NAME_mask`, and `taran.c` once.",
            ]
        case "archive":
            return [
                "`taran_archive.h` tells how a program opens the file and runs it; `ARCHIVE.md` is its format. A file that "
                "was damaged, or made up, is refused before anything is computed. How large a network there is room for is "
                "settled when the reader is compiled: `ROOM` in the Makefile is what this one takes. Threshold, bands and "
                "classes are not in the file but in `manifest.json`.",
            ]
        case _:
            saturation = (
                [
                    " On x86 processors without VNNI its session sets `session.x64quantprecision`: sums of 8 bits would saturate."
                ]
                if form.name.startswith("onnx-qdq")
                else []
            )
            return ["`replay.py` is also an example of how it is run, a tile a call." + "".join(saturation)]

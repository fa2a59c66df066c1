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
    model, given, made = manifest.model, manifest.input, manifest.output
    bands, rows, cols = manifest.golden.pixels
    classes, logit_rows, logit_cols = manifest.golden.logits
    fixed = form.tile is not None or form.name == "qonnx"
    size = f"{rows}, {cols}" if fixed else "rows, cols"
    shape = f"{classes}, {logit_rows}, {logit_cols}" if fixed else f"{classes}, rows, cols"
    unit = f"integers, one unit of which is {made.scale:g}" if made.dtype == "int32" else "real numbers"
    limit = f"{made.limit}" if made.dtype == "int32" else f"{made.limit * made.scale:g}"
    lines = [
        f"# {model.name} {model.version} as {form.name}",
        "",
        f"{form.what}. The network is in `{form.program}`; its graph has the SHA-256 `{model.digest}`.",
        "",
        f"- **In**: `uint8[{bands}, {size}]`, the bands {', '.join(given.bands)} of {given.bit_depth} bits at "
        f"{given.gsd_m:g} m, as they are: no normalization. "
        + ("" if fixed else f"Rows and columns must be multiples of {given.alignment}. ")
        + f"Tiles of a scene must overlap by {given.halo} pixels on each side, and begin at multiples of "
        f"{given.alignment}, so that the result does not depend on them.",
        f"- **Out**: `{made.dtype}[{shape}]`, logits: {unit}. A pixel is of the class {made.classes[-1]} where its "
        f"logit is at least {limit} (a probability of {made.threshold:g}).",
        f"- **Exactness**: {exactness(manifest, replayed=replayed)}",
    ]
    if manifest.memory is not None:
        memory = manifest.memory
        lines += [
            f"- **Memory**: {memory.weights:,} bytes of packed weights among {memory.constants:,} bytes of constants, "
            f"and an arena of {memory.arena:,} bytes, in which {memory.stripe} rows of logits are made at a time. "
            "There is no heap; the stack takes a few kB.",
            f"- **Target**: {target.name}: {target.what}",
        ]
        if target.emulator is not None:
            lines.append(f"- **Emulation**: {target.emulator.is_not}")
    return "\n".join([*lines, "", *_use(form), "", *_prove(form), ""])


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


def _use(form: Form) -> list[str]:
    match form.name:
        case "c99":
            return [
                "```c",
                '#include "model.h"',
                "taran_run(pixels, logits);  /* both are yours; the arena is static */",
                "taran_mask(logits, labels);",
                "```",
                "",
                "Compile `model.c` and `taran.c` into your program; `model.h` has the sizes. No loop depends on what a "
                "tile shows; nor does the number of instructions, where the compiler has conditional ones.",
            ]
        case "archive":
            return [
                "`taran_archive.h` tells how a program opens the file and runs it; `ARCHIVE.md` is its format. A file "
                "that was damaged, or made up, is refused before anything is computed.",
            ]
        case _:
            return [f"`replay.py` is also an example of how it is run. It takes {form.needs}."]


def _prove(form: Form) -> list[str]:
    command = "make replay" if form.name in ("c99", "archive") else "python replay.py"
    return [
        "## Check it",
        "",
        "```sh",
        "sha256sum -c SHA256SUMS",
        f"{command}    # runs the golden vectors; takes {form.needs}",
        "```",
        "",
        "`taran-eo verify` does both, and `manifest.json` tells all of the above to programs.",
    ]

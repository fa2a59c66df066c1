"""Options that several commands share, declared once."""

from pathlib import Path
from typing import Annotated, Literal

import typer


def folder(text: str) -> Path:
    """A folder to write to.

    Raises:
        typer.BadParameter: The name is empty, as that of an unset variable is; it would mean the current folder.
    """
    if not text:
        raise typer.BadParameter("the name is empty; the current folder is '.'")
    return Path(text)


ModelFolder = Annotated[
    Path | None,
    typer.Option(exists=True, file_okay=False, help="Model folder; the one that comes with taran_eo if left out."),
]
EngineChoice = Annotated[
    Literal["auto", "native", "onnxruntime", "reference"],
    typer.Option(help="What computes; integer models give the same results, bit for bit."),
]
Bands = Annotated[str | None, typer.Option(help="Bands for red, green, blue, e.g. 3,2,1.")]
Threshold = Annotated[
    float | None, typer.Option(min=0.0, max=1.0, help="Probability from which a pixel is ship; the model's own.")
]

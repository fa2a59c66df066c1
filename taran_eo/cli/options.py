"""Options that several commands share, declared once."""

from pathlib import Path
from typing import Annotated, Literal

import typer

ModelFolder = Annotated[
    Path | None,
    typer.Option(exists=True, file_okay=False, help="Model folder; the one that comes with taran_eo if left out."),
]
EngineChoice = Annotated[
    Literal["auto", "reference", "onnxruntime"], typer.Option(help="What computes; the results are the same.")
]
Threshold = Annotated[
    float | None, typer.Option(min=0.0, max=1.0, help="Probability from which a pixel is ship; the model's own.")
]

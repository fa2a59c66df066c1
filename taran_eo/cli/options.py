"""Options that several commands share, declared once."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from taran_eo.cli.console import complain

if TYPE_CHECKING:
    from taran_eo.model import Model
    from taran_eo.wire import Wire


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
GateFolder = Annotated[
    str | None,
    typer.Option(
        "--gate",
        metavar="FOLDER|none",
        help="Gate that decides where the model runs; the one that comes with taran_eo if left out, and `none` lets it "
        "run everywhere.",
    ),
]
Level = Literal["counts", "ships", "mask", "chips", "regions", "scene"]
EngineChoice = Annotated[
    Literal["auto", "native", "onnxruntime", "reference"],
    typer.Option(help="What computes; integer models give the same results, bit for bit."),
]


def open_gate(text: str | None, model: "Model", *, quiet: bool = False) -> "Model | None":
    """The gate that is asked for; that of the package only where it fits the model.

    Raises:
        ModelError: There is none in that folder.
        ConfigError: It does not fit the model.
    """
    from taran_eo.errors import ConfigError, ModelError
    from taran_eo.gate import check_gate
    from taran_eo.model import DEFAULT_GATE, Model, shipped

    if text == "none":
        return None
    if text == "":
        raise ConfigError("--gate has an empty name, as that of an unset variable is", remedy="Name a folder, or none")
    try:
        gate = Model.open(shipped(DEFAULT_GATE) if text is None else Path(text))
    except ModelError as error:
        raise ModelError(
            error.what, remedy="Copy the gate's folder again, or give another one, or none, to --gate"
        ) from error
    try:
        check_gate(gate, model)
    except ConfigError as error:
        if text is not None:
            raise
        if not quiet:
            complain(f"{error.what}. So the model runs everywhere")
        return None
    return gate


WireFile = Annotated[
    Path | None,
    typer.Option(
        "--wire", exists=True, dir_okay=False, help="TOML file of how files travel; both ends need the same. The usual."
    ),
]


def open_wire(path: Path | None) -> "Wire":
    """How files travel, as a file says or as usual.

    Raises:
        ConfigError: The file makes no sense.
    """
    from taran_eo.config import load_toml
    from taran_eo.wire import Wire

    return Wire() if path is None else load_toml(path, Wire)


Bands = Annotated[str | None, typer.Option(help="Bands for red, green, blue, e.g. 3,2,1.")]
Threshold = Annotated[
    float | None, typer.Option(min=0.0, max=1.0, help="Probability from which a pixel is ship; the model's own.")
]

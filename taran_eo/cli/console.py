"""What the commands print, and where: results to standard output, everything else to standard error."""

import json
import sys
from collections.abc import Mapping

import typer


def complain(message: str) -> None:
    """Tell a fault on standard error."""
    typer.echo(f"taran-eo: {message}", err=True)


def print_json(content: Mapping[str, object]) -> None:
    """Print one JSON object on standard output."""
    typer.echo(json.dumps(content, indent=2, default=str))


def print_table(rows: Mapping[str, object]) -> None:
    """Print names and values in two columns."""
    width = max(map(len, rows), default=0)
    for name, value in rows.items():
        typer.echo(f"{name:<{width}}  {value}")


def on_terminal() -> bool:
    """Whether a person watches standard error."""
    return sys.stderr.isatty()


def parse_size(text: str) -> tuple[int, int]:
    """Read ``ROWSxCOLS``.

    Raises:
        typer.BadParameter: It is something else.
    """
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.isdigit() and int(part) > 0 for part in parts):
        raise typer.BadParameter(f"{text!r} is not ROWSxCOLS, e.g. 1024x2048")
    return int(parts[0]), int(parts[1])


def parse_bands(text: str | None) -> tuple[int, ...] | None:
    """Read band numbers like ``4,3,2``.

    Raises:
        typer.BadParameter: It is something else.
    """
    if text is None:
        return None
    parts = text.split(",")
    if not all(part.strip().isdigit() and int(part) > 0 for part in parts):
        raise typer.BadParameter(f"{text!r} is not a list of band numbers from 1 on, e.g. 3,2,1")
    return tuple(int(part) for part in parts)

"""What the commands print, and where: results to standard output, everything else to standard error."""

import json
import sys
from collections.abc import Mapping

import typer


def complain(message: str) -> None:
    """Tell a fault on standard error."""
    typer.echo(f"taran-eo: {_printable(message)}", err=True)


def tell(message: str) -> None:
    """Print a line of the result."""
    typer.echo(_printable(message))


def print_json(content: Mapping[str, object]) -> None:
    """Print one JSON object on standard output."""
    typer.echo(json.dumps(content, indent=2, default=str))


def print_table(rows: Mapping[str, object]) -> None:
    """Print names and values in two columns."""
    width = max(map(len, rows), default=0)
    for name, value in rows.items():
        for number, line in enumerate(value if isinstance(value, list) else [value]):
            tell(f"{'' if number else name:<{width}}  {line}")


def _printable(text: str) -> str:
    """One line that any terminal can show: names of files may hold line breaks, colours, or no text at all."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def on_terminal() -> bool:
    """Whether a person watches standard error."""
    return sys.stderr.isatty()


def parse_size(text: str, option: str = "--size") -> tuple[int, int]:
    """Read ``ROWSxCOLS``, as given to an option.

    Raises:
        typer.BadParameter: It is something else.
    """
    try:
        rows, cols = _counts(text.lower().split("x"))
    except ValueError as error:
        message = f"{text[:40]!r} is not ROWSxCOLS, e.g. 1024x2048"
        raise typer.BadParameter(message, param_hint=option) from error
    return rows, cols


def parse_bands(text: str | None) -> tuple[int, ...] | None:
    """Read band numbers like ``4,3,2``.

    Raises:
        typer.BadParameter: It is something else.
    """
    if text is None:
        return None
    try:
        return _counts(text.split(","))
    except ValueError as error:
        message = f"{text[:40]!r} is not a list of band numbers from 1 on, e.g. 3,2,1"
        raise typer.BadParameter(message, param_hint="--bands") from error


def _counts(texts: list[str]) -> tuple[int, ...]:
    """Numbers from 1 on; raises `ValueError`."""
    numbers = tuple(map(int, texts))
    if min(numbers) < 1:
        raise ValueError(numbers)
    return numbers

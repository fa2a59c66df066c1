"""What the commands that train have in common: the extra they need, and the watch over a run."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

import typer

from taran_eo.cli.console import on_terminal
from taran_eo.errors import MissingExtraError

if TYPE_CHECKING:
    from taran_eo.train import Progress

EVERY = 200
"""Without a terminal, a line is printed every so many steps."""


def need_torch() -> None:
    """Tell at once that the extra for training is not installed.

    Raises:
        MissingExtraError: It is not.
    """
    if find_spec("torch") is None:
        raise MissingExtraError.of("train,smp", "torch")


@contextmanager
def watch() -> "Iterator[Callable[[str], Callable[[Progress], None]]]":
    """Give what is called with the name of a run, and gives what is called after each of its steps.

    A progress bar a run on a terminal, now and then a line otherwise.
    """
    if not on_terminal():

        def lines(name: str) -> "Callable[[Progress], None]":
            def line(done: "Progress") -> None:
                if done.step % EVERY == 0 or done.step == done.steps:
                    typer.echo(f"{name}: step {done.step} of {done.steps}, loss {done.loss:.4f}", err=True)

            return line

        yield lines
        return
    from rich.console import Console
    from rich.progress import Progress as Bar

    with Bar(console=Console(stderr=True)) as bar:

        def bars(name: str) -> "Callable[[Progress], None]":
            task = bar.add_task(name, total=None)

            def advance(done: "Progress") -> None:
                bar.update(task, completed=done.step, total=done.steps, description=f"{name} loss {done.loss:.3f}")

            return advance

        yield bars

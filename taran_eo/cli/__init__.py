"""The command line: one file a command, each thin over the package.

Exit codes: 0 done; 1 a check failed or some scenes could not be done; 2 the call itself makes no sense. Commands
import what they need when they run, so that ``taran-eo --help`` answers at once.
"""

import sys
import warnings

import typer

from taran_eo import __version__
from taran_eo.cli import bench, downlink, evaluate, export, ground, inspect, link, run, study, synth, train, verify
from taran_eo.cli.console import complain
from taran_eo.errors import ConfigError, MissingExtraError, TaranError

app = typer.Typer(
    name="taran-eo",
    help="Find ships in satellite imagery with a minifloat network, as on board, and pack what is worth sending down.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("run")(run.command)
app.command("evaluate")(evaluate.command)
app.command("verify")(verify.command)
app.command("ground")(ground.command)
app.command("link")(link.command)
app.command("downlink")(downlink.command)
app.command("inspect")(inspect.command)
app.command("export")(export.command)
app.command("synth")(synth.command)
app.command("train")(train.command)
app.command("study")(study.command)
app.command("bench")(bench.command)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"taran-eo {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    pass


def main() -> None:
    """Run the command line; errors of ours become a message and an exit code, not a traceback."""
    warnings.formatwarning = lambda message, *_, **__: f"taran-eo: {message}\n"
    try:
        app()
    except (ConfigError, MissingExtraError) as error:
        complain(str(error))
        sys.exit(2)
    except TaranError as error:
        complain(str(error))
        sys.exit(1)
    except OSError as error:  # standard output on a full disk, a folder taken away under a running command
        complain(f"{error}. Check that the place is there, may be used, and has room")
        sys.exit(1)

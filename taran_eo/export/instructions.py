"""How many instructions a tile takes on a target: counts by a plugin of QEMU, never cycles.

An emulator has no pipeline, no cache and no memory to wait for. Its counts tell what a compiler made of the code, and
how two kernels compare; how long a tile takes, only the part itself tells.
"""

import subprocess
from pathlib import Path

from taran_eo.errors import TaranError
from taran_eo.target import deploy

_SAID = "instructions: "


def build_plugin(folder: Path) -> Path:
    """Compile the plugin for the QEMU of this machine; returns the file, which is put into `folder`."""
    plugin = folder.resolve() / "insn_plugin.so"
    _run("cc", "-shared", "-fPIC", "-O2", str(deploy() / "insn_plugin.c"), "-o", str(plugin))
    return plugin


def instructions(folder: Path, plugin: Path) -> int:
    """Count the instructions of one ``taran_run``.

    A replay in which each vector is run twice is compared with one in which it is run once, so start-up, comparing and
    printing do not count. What is in the count besides is the step of a loop; on leon3 some thousand more or less, too,
    as its processor repeats the last instruction until QEMU has stopped it.

    Args:
        folder: What ``write_c`` and ``write_replay`` have written, for a target that has an emulator.
        plugin: What `build_plugin` has made.

    Raises:
        TaranError: The replay cannot be built or run, or fails.
    """
    counts = []
    for runs in (1, 2):
        said = _run("make", "-C", str(folder), "clean", "replay", f"PLUGIN={plugin}", f"RUNS={runs}").splitlines()
        counts.append(next(int(line.removeprefix(_SAID)) for line in said if line.startswith(_SAID)))
    vectors = sum(line.startswith("vector ") for line in said)
    return (counts[1] - counts[0]) // vectors


def _run(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except OSError as error:
        raise TaranError(f"{command[0]} cannot be run: {error.strerror}", remedy=f"Install {command[0]}") from error
    except subprocess.CalledProcessError as error:
        raise TaranError(
            f"`{' '.join(command)}` failed: {(error.stdout + error.stderr)[-2000:].strip()}",
            remedy="See what it says; `packages` in the target's target.toml names what it needs",
            command=command,
        ) from error
    return done.stdout

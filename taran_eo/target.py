"""A target: a processor that models are exported for, as its folder in ``deploy/`` tells it.

The folder holds ``target.toml``, which is read here, and what a build for the target needs besides the exported
sources: a toolchain file for CMake and, where there is no operating system, start-up code and a linker script.
"""

from pathlib import Path
from typing import Literal

from pydantic import Field

from taran_eo.config import Settings, load_toml
from taran_eo.errors import ConfigError

TARGETS = ("host", "aarch64-a53", "arm-r5", "arm-r52", "cortex-m7", "riscv64", "leon3", "sparc64")
"""Names of the targets, each a folder of ``deploy/``."""

PROGRAM = "{program}"
"""Stands for the program in the command of an emulator."""

FOLDER = "{target}"
"""Stands for the target's folder in flags of the linker."""


class Clock(Settings):
    """How fast the processor is clocked.

    Attributes:
        mhz: Millions of cycles a second.
        source: Where the figure is from.
    """

    mhz: float = Field(gt=0)
    source: str = Field(min_length=1)


class Memory(Settings):
    """A memory of the target.

    Attributes:
        bytes: How large it is.
        holds: What of a model may lie in it.
        source: Where the figure is from.
    """

    bytes: int = Field(gt=0)
    holds: tuple[Literal["code", "constants", "arena"], ...] = Field(min_length=1)
    source: str = Field(min_length=1)


class Build(Settings):
    """How a program is made.

    Attributes:
        compiler: The C compiler.
        size: The tool that tells the sizes of sections.
        flags: Flags of the compiler, for the processor.
        link: Flags of the linker, behind the object files; ``{target}`` stands for the target's folder.
        sources: The board: ``board_put``, and start-up code where it needs some; from the target's folder.
        kernels: Which kernels of the runtime the processor has.
    """

    compiler: str
    size: str
    flags: tuple[str, ...]
    link: tuple[str, ...]
    sources: tuple[str, ...] = Field(min_length=1)
    kernels: Literal["portable", "neon"]


class Emulator(Settings):
    """What stands in for the processor.

    Attributes:
        command: Runs a program, for which ``{program}`` stands.
        is_not: How it differs from the processor.
    """

    command: tuple[str, ...] = Field(min_length=2)
    is_not: str = Field(min_length=1)


class Target(Settings):
    """A processor that models are exported for.

    Attributes:
        name: Name of its folder.
        what: What it is, and which parts it stands for.
        word_bits: Bits of its addresses.
        endian: Which byte of a number comes first in memory.
        clock: How fast it is; None where that is not of one part.
        memories: Its memories by name; none where they are not of one part.
        packages: The packages of Debian that hold its tools.
        build: How a program is made.
        emulator: What runs it here; None where this machine is the target.
    """

    name: str
    what: str
    word_bits: Literal[32, 64]
    endian: Literal["little", "big"]
    clock: Clock | None = None
    memories: dict[str, Memory] = Field(default_factory=dict)
    packages: tuple[str, ...]
    build: Build
    emulator: Emulator | None = None

    @property
    def folder(self) -> Path:
        """Its folder."""
        return deploy() / self.name

    @property
    def tools(self) -> tuple[str, ...]:
        """The programs that it takes to build a replay and run it."""
        return ("make", self.build.compiler, *(self.emulator.command[:1] if self.emulator else ()))


def deploy() -> Path:
    """The folder of all targets: inside the installed package, else that of the checkout."""
    package = Path(__file__).resolve().parent
    inside, beside = (folder / "deploy" for folder in (package, package.parent))
    return inside if inside.is_dir() else beside


def open_target(name: str) -> Target:
    """Read a target.

    Raises:
        ConfigError: There is none of that name, or its ``target.toml`` is not in order.

    Example:
        >>> open_target("leon3").endian
        'big'
    """
    if name not in TARGETS:
        raise ConfigError(
            f"There is no target {name}", remedy=f"Name one of {', '.join(TARGETS)}", target=name, known=TARGETS
        )
    path = deploy() / name / "target.toml"
    target = load_toml(path, Target)
    if target.name != name:
        raise ConfigError(
            f"{path} is of the target {target.name}",
            remedy=f"Set name = {name!r} in it, or rename the folder",
            path=path,
        )
    return target

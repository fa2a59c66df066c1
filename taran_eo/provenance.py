"""Where a result came from: digests of what went in, and the machine and versions it was made with."""

import hashlib
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from taran_eo import __version__

PACKAGES = (
    "albumentations",
    "imagecodecs",
    "numpy",
    "onnx",
    "onnxruntime",
    "opencv-python-headless",
    "rasterio",
    "safetensors",
    "segmentation-models-pytorch",
    "sgp4",
    "simplejpeg",
    "skyfield",
    "spacepackets",
    "torch",
    "zstandard",
)
"""The packages whose versions can change a result."""


@dataclass(frozen=True)
class Environment:
    """A machine and what is installed on it.

    Attributes:
        python: Version of the interpreter.
        platform: Operating system, release and architecture.
        packages: Version of each of `PACKAGES` that is installed.
        cpu: Model name of the processor, as the system tells it.
        cores: Cores that this process may use.
        commit: Git commit of the checkout, ``-dirty`` when changed since; None outside a checkout.
    """

    python: str
    platform: str
    packages: Mapping[str, str]
    cpu: str
    cores: int
    commit: str | None


@dataclass(frozen=True)
class Provenance:
    """How a file came to be.

    Attributes:
        made_by: Program and version.
        made_at: Time in UTC, ISO 8601; None where the file must not depend on the clock.
        config_sha256: Digest of the configuration (`sha256_config`), None if there was none.
        seed: Seed of the random numbers, None if there were none.
        inputs: SHA-256 of each input, by name.
        environments: Where it was made, in order; several where work was interrupted and went on elsewhere, or later.
    """

    environments: tuple[Environment, ...]
    made_at: str | None = None
    config_sha256: str | None = None
    seed: int | None = None
    inputs: Mapping[str, str] | None = None
    made_by: str = f"taran_eo {__version__}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self)


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes in lower-case hexadecimal; memory does not grow with the file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_files(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """SHA-256 of the files `names` of a folder, by name, in sorted order."""
    return {name: sha256_file(folder / name) for name in sorted(names)}


@cache
def sha256_folder(folder: Path) -> str:
    """SHA-256 over the paths and digests of the files in a folder and those below; looked at once in a process."""
    digests = sha256_files(
        folder, (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    )
    return hashlib.sha256(json.dumps(digests).encode()).hexdigest()


def sha256_config(config: BaseModel) -> str:
    """SHA-256 of a configuration's values: the same for two files that say the same in another order.

    What is None counts as not said, so that a new optional key leaves the digests of earlier files as they were.
    """
    values = config.model_dump(mode="json", exclude_none=True)
    canonical = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def peak_rss_kib() -> int | None:
    """Largest resident memory of this process so far; `getrusage` would count what forked it as well."""
    if sys.platform != "linux":
        return None
    found = re.search(r"^VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(found[1]) if found else None


def environment() -> Environment:
    """Look at this machine; what cannot be told is None or "unknown", never an error."""
    return Environment(
        python=platform.python_version(),
        platform=platform.platform(),
        packages=_versions(),
        cpu=_cpu(),
        cores=cores(),
        commit=_commit(Path(__file__).resolve().parent),
    )


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or "unknown")


def _commit(package: Path) -> str | None:
    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(package), *arguments],
                capture_output=True,
                text=True,
                timeout=10,
                check=True,
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()

    top = git("rev-parse", "--show-toplevel")
    # An installed package may lie in a virtual environment inside somebody else's checkout: not our commit.
    if top is None or Path(top) != package.parent:
        return None
    return git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")

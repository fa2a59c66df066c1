"""Side by side: each contender in a process of its own, in turns, so that a machine that drifts treats all alike."""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from pydantic import JsonValue

from taran_eo.bench.contenders import CONTENDERS, Contender, named, quiet
from taran_eo.engines import native
from taran_eo.errors import ConfigError
from taran_eo.model import Model
from taran_eo.provenance import environment

SWATH_KM, GROUND_KM_S = 60.0, 6.76
"""A pushbroom imager like those of SPOT 6 and 7: a swath of 60 km, over ground that passes at 6.76 km/s."""

TRUTH = ("reference", "onnxruntime", "native")

BUDGET_S = 30.0
"""A contender that has taken so long sits the other rounds out."""


@dataclass(frozen=True)
class Row:
    """What a contender gave.

    Attributes:
        what: What it computes.
        exact: Whether it gives the model's golden logits, and those of the simplest of ours, in every bit.
        tiles_per_s: From the median time of a tile.
        fastest_tiles_per_s: From the shortest.
        gmac_s: Multiplications of the network a second, in units of 10**9, likewise from the median.
        peak_share: That, of the measured peak of as many cores; None without the C kernels.
        seconds: Time of each round.
        start_s: From the start of its process to its first result.
        peak_rss_mib: Its largest resident memory; None where the system does not tell.
    """

    what: str
    exact: bool
    tiles_per_s: float
    fastest_tiles_per_s: float
    gmac_s: float
    peak_share: float | None
    seconds: tuple[float, ...]
    start_s: float
    peak_rss_mib: float | None


@dataclass(frozen=True)
class Bench:
    """A comparison on one machine.

    Attributes:
        model: Name of the model.
        digest: Digest of its graph.
        rows: Rows of the tile.
        cols: Columns of the tile.
        threads: Threads that each had.
        gmac: Multiplications of a tile, in units of 10**9.
        cpu: The processor.
        kernels: The C kernels that ran; None without them.
        peak_gmac_s: Measured peak of one core in bytes, median of all rounds; None without the C kernels.
        engines: The contenders, by name.
        gsd_m: Metres a pixel that the areas are told for.
        watts: Power that the energies are told for; None for none.
        packages: Versions of the packages.
    """

    model: str
    digest: str
    rows: int
    cols: int
    threads: int
    gmac: float
    cpu: str
    kernels: str | None
    peak_gmac_s: float | None
    engines: dict[str, Row]
    gsd_m: float
    watts: float | None
    packages: dict[str, str]

    def to_dict(self) -> dict[str, JsonValue]:
        """The fields as JSON holds them, and what follows from them for an imager."""
        engines: dict[str, JsonValue] = {}
        for name, row in self.engines.items():
            engines[name] = asdict(row) | {"seconds": list(row.seconds)} | self.coverage(row)
        return asdict(self) | {"engines": engines}

    def coverage(self, row: Row) -> dict[str, float | None]:
        """What the rate of a contender is for an imager.

        Returns:
            ``km2_per_s``, the area; ``joule_per_km2``, from the watts that were told; ``pushbroom_duty``, the share of
            the time that a pushbroom of `SWATH_KM` may image, if the rest of it is there to catch up.
        """
        area = row.tiles_per_s * self.rows * self.cols * self.gsd_m**2 / 1e6
        return {
            "km2_per_s": area,
            "joule_per_km2": None if self.watts is None else self.watts / area,
            "pushbroom_duty": area / (SWATH_KM * GROUND_KM_S),
        }


def measure(
    model: Model,
    *,
    size: tuple[int, int] = (768, 768),
    threads: int,
    rounds: int = 7,
    names: Sequence[str] | None = None,
    watts: float | None = None,
    tell: Callable[[str], None] | None = None,
) -> Bench:
    """Time all contenders that are installed on a tile of noise.

    Args:
        model: The model.
        size: Rows and columns of the tile, multiples of the graph's alignment.
        threads: Threads for each.
        rounds: How often each runs; in turns, after one run that does not count.
        names: Contenders; None for all that are installed.
        watts: Power of the machine under load, from which energies follow.
        tell: Called with what is going on.

    Raises:
        ConfigError: A contender of that name there is not, or it is not installed here; or a number makes no sense.
    """
    chosen = _chosen(model, names)
    if rounds < 1 or threads < 1:
        raise ConfigError(f"{rounds} rounds on {threads} threads measure nothing", remedy="Give 1 or more of both")
    with ExitStack() as stack:
        workers: dict[str, _Worker] = {}
        for contender in chosen:
            if tell is not None:
                tell(f"{contender.name} starts")
            worker = _Worker(contender, model.path, size, threads, stack)
            stack.callback(worker.end)
            worker.begin()
            workers[contender.name] = worker
        peaks = [native.peak_gmac_s()] if native.is_built() else []
        for number in range(rounds):
            if tell is not None:
                tell(f"round {number + 1} of {rounds}")
            for worker in workers.values():
                worker.turn()
            if native.is_built():
                peaks.append(native.peak_gmac_s())
        for worker in workers.values():
            worker.leave()
    gmac = model.graph.macs(*size) / 1e9
    peak = statistics.median(peaks) if peaks else None
    reachable = None if peak is None else peak * threads
    # The slowest of ours is the simplest, and so the truth.
    truth = [workers[name].digest for name in TRUTH if name in workers]
    here = environment()
    return Bench(
        model=model.name,
        digest=model.graph.digest,
        rows=size[0],
        cols=size[1],
        threads=threads,
        gmac=gmac,
        cpu=here.cpu,
        kernels=native.kernels_chosen() if native.is_built() else None,
        peak_gmac_s=peak,
        engines={name: worker.row(gmac, reachable, truth[:1]) for name, worker in workers.items()},
        gsd_m=model.contract.gsd_m,
        watts=watts,
        packages=dict(here.packages),
    )


def _chosen(model: Model, names: Sequence[str] | None) -> list[Contender]:
    if names is None:
        return [each for each in CONTENDERS if each.takes_part(model.graph)]
    chosen = [named(name) for name in names]
    for contender in chosen:
        if not contender.takes_part(model.graph):
            raise ConfigError(
                f"{contender.name} is not installed, or cannot run the model {model.name}",
                remedy=f"Install {', '.join(contender.needs) or 'taran_eo with a C compiler'}, or leave it out",
            )
    return chosen


class _Worker:
    """A contender in a process of its own, that runs a tile when told."""

    def __init__(
        self, contender: Contender, model: Path, size: tuple[int, int], threads: int, stack: ExitStack
    ) -> None:
        self.contender = contender
        self.seconds: list[float] = []
        order = {"name": contender.name, "model": str(model), "size": size, "threads": threads, "begin": time.time()}
        self._said = stack.enter_context(TemporaryFile(mode="w+", errors="replace"))  # noqa: SIM115 - the stack is one
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "taran_eo.bench.worker", json.dumps(order)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,  # a pipe that nobody reads would fill, and the worker wait
            text=True,
            env=quiet(threads),
        )
        self.start_s, self.digest, self.golden = 0.0, "", False
        self.peak_rss_kib: int | None = None

    def begin(self) -> None:
        first = self._answer()
        self.start_s, self.digest, self.golden = float(first["start_s"]), str(first["digest"]), bool(first["golden"])

    def _answer(self) -> dict[str, Any]:
        line = self.process.stdout.readline() if self.process.stdout is not None else ""
        if not line:
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=10)  # until it has said why
            self._said.seek(0)
            said = self._said.read()
            raise ConfigError(
                f"{self.contender.name} cannot run this model: {said.strip().rpartition(chr(10))[2] or 'it ended'}",
                remedy="Leave it out with --engines",
            )
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _ask(self, word: str) -> dict[str, Any]:
        with suppress(OSError):  # of a worker that died; it does not answer either
            if self.process.stdin is not None:
                self.process.stdin.write(f"{word}\n")
                self.process.stdin.flush()
        return self._answer()

    def turn(self) -> None:
        if sum(self.seconds) < BUDGET_S:
            self.seconds.append(float(self._ask("run")["seconds"]))

    def leave(self) -> None:
        self.peak_rss_kib = self._ask("leave")["peak_rss_kib"]

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()

    def row(self, gmac: float, peak: float | None, truth: list[str]) -> Row:
        median = statistics.median(self.seconds)
        return Row(
            what=self.contender.what,
            exact=self.contender.ours and self.golden and [self.digest] == truth,
            tiles_per_s=1 / median,
            fastest_tiles_per_s=1 / min(self.seconds),
            gmac_s=gmac / median,
            peak_share=None if peak is None else gmac / median / peak,
            seconds=tuple(self.seconds),
            start_s=self.start_s,
            peak_rss_mib=None if self.peak_rss_kib is None else self.peak_rss_kib / 1024,
        )

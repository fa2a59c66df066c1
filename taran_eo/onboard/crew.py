"""Who does the scenes: everything that one process needs, and this process doing them one after the other."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from traceback import extract_tb
from types import TracebackType
from typing import Literal

import numpy as np

from taran_eo.codec import Level
from taran_eo.codec.image import codec_named, compress
from taran_eo.engines import Engine, EngineName, open_pool
from taran_eo.errors import ContractError, ImageryError, TaranError
from taran_eo.gate import Gate, check_gate, check_model
from taran_eo.imagery.scene import Scene, open_scene
from taran_eo.imagery.window import check_grid
from taran_eo.journal import Finished, Input, Skipped
from taran_eo.model import Model
from taran_eo.onboard.ahead import Turn
from taran_eo.onboard.cutting import PIXELS
from taran_eo.onboard.decision import Decision
from taran_eo.onboard.scene import Labelled, deliver, labelling
from taran_eo.outputs import LONGEST_NAME_BYTES, clear, located, readable
from taran_eo.provenance import peak_rss_kib, sha256_file

FINISHERS = 2
"""Scenes whose outputs are written at the same time: while one waits for the disk, the other uses the time."""


@dataclass(frozen=True, slots=True)
class Options:
    """What decides the results of a run, besides model and imagery; and the size of the tiles, which does not.

    Attributes:
        threshold: Probability from which a pixel is a ship; None for the model's own.
        tile_size: Side of a tile in pixels, a multiple of the graph's alignment; None for what suits the engine. It
            changes memory and speed only, where the graph is exact.
        bands: 1-based bands of the files in the order of the model's contract; None for the usual ones.
        gsd_m: Ground sampling distance in metres of scenes that do not tell their own; None where unknown.
        resample: Whether scenes of another ground sampling distance are resampled to the model's.
        min_ship_pixels: Smaller ships are left out of the list, never out of the mask.
        level: How much of each scene its product holds.
        codec: Name of the codec of its pixels, if it holds any.
    """

    threshold: float | None = None
    tile_size: int | None = None
    bands: tuple[int, ...] | None = None
    gsd_m: float | None = None
    resample: bool = False
    min_ship_pixels: int = 1
    level: Level = "mask"
    codec: str = "jpeg-ls"

    def check(self, model: Model, gate: Model | None) -> None:
        """Refuse what would fail on every scene, before anything is written.

        Raises:
            ConfigError: An option makes no sense for the model, or the gate does not fit it.
            ModelError: The model gives something else than one logit a pixel, or the gate is none.
            MissingExtraError: The codec of the pixels that go down is not installed.
        """
        graph = model.graph
        check_model(model)
        if gate is not None:
            check_gate(gate, model)
        codec = codec_named(self.codec)
        if self.level in PIXELS:
            compress(np.zeros((1, 1, 1), dtype=np.uint8), codec)  # what is not installed is told before hours of work
        model.contract.check_request(self.bands, self.gsd_m)
        if self.tile_size is not None:
            check_grid(self.tile_size, graph.halo, graph.alignment)
        Decision.of(model.threshold if self.threshold is None else self.threshold, graph.logit_scale)


@dataclass(frozen=True, slots=True)
class Task:
    """A scene to be done.

    Attributes:
        file: The scene's file.
        name: Its name among the outputs.
    """

    file: Path
    name: str


@dataclass(frozen=True, slots=True)
class Result:
    """A scene that was done.

    Attributes:
        record: What the journal shall say.
        warnings: What the user should know about the scene.
        process: Number of the process that did it.
        peak_rss_kib: Largest resident memory of that process so far, None where the system does not tell.
    """

    record: Finished | Skipped
    warnings: tuple[str, ...]
    process: int
    peak_rss_kib: int | None


@dataclass(frozen=True, slots=True)
class Crew:
    """What every process needs to do a scene.

    Attributes:
        folder: Where the outputs go.
        model: The model.
        gate: What decides where it runs; None lets it run everywhere.
        engine: Name of the engine.
        threads: Threads of each process that compute.
        options: What decides the results.
        on_error: Whether a scene that cannot be done is skipped or ends the run.
    """

    folder: Path
    model: Model
    gate: Model | None
    engine: EngineName
    threads: int
    options: Options
    on_error: Literal["skip", "fail"]

    def open_engines(self) -> "Engines":
        """Engines of this process's own."""
        engine, gate = open_pool(self.engine, self.model.graph, threads=self.threads), self.gate
        if gate is None:
            return Engines(engine, None)
        return Engines(
            engine, Gate(gate.graph, gate.threshold, open_pool(self.engine, gate.graph, threads=self.threads))
        )

    def begin(self, task: Task, engines: "Engines", turn: Turn) -> "Begun":
        """Open a scene and have its tiles labelled, in threads of its own, when it is its turn.

        Raises:
            ImageryError: It cannot be read.
            ContractError: It is no imagery for the model.
        """
        options = self.options
        with ExitStack() as stack:
            stack.callback(turn.ended.set)
            length = len(os.fsencode(Path(task.name).name))
            if length > LONGEST_NAME_BYTES:
                raise ImageryError(
                    f"{task.file} has a name of {length} bytes, too long to name its outputs after it",
                    remedy=f"Shorten it to {LONGEST_NAME_BYTES} bytes",
                )
            try:
                read = Input.of(task.file)
            except OSError as error:
                raise ImageryError(
                    f"{task.file} cannot be read: {error.strerror}", remedy="Check the path and its permissions"
                ) from error
            scene = stack.enter_context(
                open_scene(
                    task.file,
                    self.model.contract,
                    bands=options.bands,
                    gsd_m=options.gsd_m,
                    resample=options.resample,
                )
            )
            labelled = stack.enter_context(
                labelling(
                    scene,
                    self.model,
                    engines.model,
                    gate=engines.gate,
                    threshold=options.threshold,
                    tile_size=options.tile_size,
                    workers=self.threads,
                    turn=turn,
                )
            )
            return Begun(read, scene, labelled, stack.pop_all())

    def do(self, task: Task, begin: Callable[[], "Begun"], tick: Callable[[int], None] | None = None) -> Result:
        """One scene, finished or skipped; `begin` gives it as `Crew.begin` left it, or raises what that raised.

        Raises:
            TaranError: A fault that other scenes would meet too; with ``on_error="fail"`` any fault.
        """
        warnings: tuple[str, ...] = ()
        record: Finished | Skipped
        try:
            with begin() as begun:
                record, warnings = self._finish(task, begun, tick), begun.scene.warnings
        except TaranError as error:
            if self.on_error == "fail" or not isinstance(error, ImageryError | ContractError):
                raise
            record = _skipped(task, str(error))
        except Exception as error:
            # The border between one scene and the run: it must hold whatever comes. A defect of ours, or of a library,
            # that a scene brings out would come back with every --resume, and no later scene would ever be done. It is
            # not hidden: the journal and the summary tell it with its place, and the run ends with exit code 1.
            if self.on_error == "fail":
                raise
            place = extract_tb(error.__traceback__)[-1]
            reason = (
                f"{task.file} brings out a defect, {type(error).__name__}: {error} "
                f"({Path(place.filename).name}, line {place.lineno}). Report it with the scene."
            )
            record = _skipped(task, reason)
        # Before the journal has the record: what an earlier run made of the scene must not pass for its outputs.
        clear(self.folder, task.name, record.outputs if isinstance(record, Finished) else ())
        return Result(record, warnings, os.getpid(), peak_rss_kib())

    def _finish(self, task: Task, begun: "Begun", tick: Callable[[int], None] | None) -> Finished:
        outcome = deliver(
            begun.scene,
            self.model,
            begun.labelled,
            self.folder,
            gate=None if self.gate is None else self.gate.graph,
            name=task.name,
            threshold=self.options.threshold,
            level=self.options.level,
            pixels=codec_named(self.options.codec),
            min_ship_pixels=self.options.min_ship_pixels,
            progress=tick,
        )
        return Finished(
            name=task.name,
            file=located(task.file),
            input=begun.read,
            outputs={file.relative_to(self.folder).as_posix(): sha256_file(file) for file in outcome.files},
            tiles=outcome.tiles,
            ships=len(outcome.ships),
            bytes_in=begun.scene.raw_bytes,
            bytes_out=outcome.bytes_out,
        )


@dataclass(frozen=True, slots=True)
class Engines:
    """What computes in a process.

    Attributes:
        model: Runs the model.
        gate: Decides where; None is everywhere.
    """

    model: Engine
    gate: Gate | None


@dataclass(frozen=True, slots=True)
class Begun:
    """A scene that is open, and whose tiles are being labelled; left as a context.

    Attributes:
        read: The file as it was read.
        scene: The scene.
        labelled: Its tiles, as they come.
        held: What leaving lets go of.
    """

    read: Input
    scene: Scene
    labelled: Iterator[Labelled]
    held: ExitStack

    def __enter__(self) -> "Begun":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.held.close()


def _skipped(task: Task, reason: str) -> Skipped:
    return Skipped(readable(task.name), readable(str(task.file)), readable(reason))


def in_turn(
    crew: Crew, tasks: Sequence[Task], tick: Callable[[Task], Callable[[int], None] | None]
) -> Iterator[Result]:
    """The results as they come; a fault that ends the run, after those before it. `tick` makes what counts tiles.

    While scenes are finished, the next ones are begun already: what is not the engine's work takes no time of its own.
    """
    if not tasks:
        return
    engines = crew.open_engines()
    stopped = Event()

    def watched(task: Task) -> Callable[[int], None]:
        told = tick(task)

        def after_each_tile(tiles: int) -> None:
            if stopped.is_set():
                raise _Stopped
            if told is not None:
                told(tiles)

        return after_each_tile

    waiting, turn = deque(tasks), Turn.first(crew.threads)
    begun: dict[Future[Result], Future[Begun]] = {}
    with ExitStack() as stack:
        opener, finishers = ThreadPoolExecutor(1), ThreadPoolExecutor(FINISHERS)
        stack.callback(_let_go, begun)
        stack.callback(opener.shutdown, wait=True, cancel_futures=True)
        stack.callback(finishers.shutdown, wait=True, cancel_futures=True)
        stack.callback(stopped.set)
        failed: set[Future[Result]] = set()
        while waiting or begun:
            while waiting and not failed and len(begun) < crew.threads + FINISHERS:
                task = waiting.popleft()
                opened = opener.submit(crew.begin, task, engines, turn)
                begun[finishers.submit(crew.do, task, opened.result, watched(task))] = opened
                turn = turn.next()
            if (oldest := next(iter(begun))) in failed:
                oldest.result()
            ended, _ = wait(begun.keys() - failed, return_when=FIRST_COMPLETED)
            failed |= {future for future in ended if future.exception() is not None}
            for future in ended - failed:
                del begun[future]
                yield future.result()


class _Stopped(BaseException):
    """What ends a scene that nobody waits for any more; no fault of the scene, so no `Exception`."""


def _let_go(begun: Mapping[Future[Result], Future[Begun]]) -> None:
    """Close the scenes that were begun and that nobody will finish."""
    for future in begun.values():
        if future.done() and not future.cancelled() and future.exception() is None:
            future.result().held.close()

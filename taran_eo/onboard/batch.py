"""All scenes of a run: in order or in parallel, each by itself, with a journal to go on from."""

import multiprocessing
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from pathlib import Path
from signal import SIG_IGN, SIGINT, default_int_handler, signal
from typing import Literal

from pydantic import JsonValue

from taran_eo.engines import open_engine
from taran_eo.errors import ConfigError, ContractError, ImageryError, TaranError
from taran_eo.imagery.scene import find_scenes, open_scene
from taran_eo.journal import Finished, Input, Journal, Skipped
from taran_eo.model import Model
from taran_eo.onboard.outputs import names
from taran_eo.onboard.scene import SOFTWARE, Runs, process
from taran_eo.provenance import sha256_file


@dataclass(frozen=True, slots=True)
class Options:
    """What decides the results of a run, besides model and imagery.

    Attributes:
        threshold: Probability from which a pixel is a ship; None for the model's own.
        tile_size: Side of a tile in pixels, a multiple of the graph's alignment.
        bands: 1-based bands of the files in the order of the model's contract; None for the usual ones.
        gsd_m: Ground sampling distance in metres of scenes that do not tell their own; None where unknown.
        resample: Whether scenes of another ground sampling distance are resampled to the model's.
        min_ship_pixels: Smaller ships are left out of the list, never out of the mask.
    """

    threshold: float | None = None
    tile_size: int = 768
    bands: tuple[int, ...] | None = None
    gsd_m: float | None = None
    resample: bool = False
    min_ship_pixels: int = 1


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is.

    Attributes:
        scenes_done: Scenes that are finished or skipped.
        scenes: All scenes.
        file: The scene that this is about.
        tiles_done: Its tiles that are done, None once the scene is.
        skipped: Why it was skipped, None if it was not.
        warnings: What the user should know about it, when it is done.
    """

    scenes_done: int
    scenes: int
    file: str
    tiles_done: int | None = None
    skipped: str | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Summary:
    """What a run gave, scenes that an earlier run had finished included.

    Attributes:
        scenes: Scenes with outputs.
        resumed: Those of them that were finished before.
        tiles: Tiles of these scenes.
        ships: Ships found.
        skipped: Scenes without outputs, and why.
        bytes_in: Bytes of raw pixels.
        bytes_out: Bytes of the products.
        ratio: bytes_in / bytes_out, None without products.
        seconds: Time that this run took.
        tiles_per_s: Tiles that this run did, a second.
        peak_rss_mib: Largest resident memory, all processes added, in MiB; None where the system does not tell.
        warnings: What the user should know about the scenes that this run did.
    """

    scenes: int
    resumed: int
    tiles: int
    ships: int
    skipped: tuple[Skipped, ...]
    bytes_in: int
    bytes_out: int
    ratio: float | None
    seconds: float
    tiles_per_s: float
    peak_rss_mib: float | None
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, JsonValue]:
        """The fields as JSON holds them; a skipped scene is its file and the reason."""
        skipped: list[JsonValue] = [{"file": each.file, "reason": each.reason} for each in self.skipped]
        return asdict(self) | {"skipped": skipped, "warnings": list(self.warnings)}


@dataclass(frozen=True, slots=True)
class _Task:
    file: Path
    name: str


@dataclass(frozen=True, slots=True)
class _Result:
    record: Finished | Skipped
    warnings: tuple[str, ...]
    process: int
    peak_rss_kib: int | None


@dataclass(frozen=True, slots=True)
class _Crew:
    """What every process needs to do a scene."""

    folder: Path
    model: Model
    engine: str
    threads: int
    options: Options
    on_error: Literal["skip", "fail"]

    def open_engine(self) -> Runs:
        engine: Runs = open_engine(self.engine, self.model.graph, threads=self.threads)
        return engine

    def do(self, task: _Task, engine: Runs, tick: Callable[[int], None] | None = None) -> _Result:
        """One scene, finished or skipped.

        Raises:
            TaranError: A fault that other scenes would meet too; with ``on_error="fail"`` any fault.
        """
        warnings: tuple[str, ...] = ()
        record: Finished | Skipped
        try:
            record, warnings = self._finish(task, engine, tick)
        except TaranError as error:
            if self.on_error == "fail" or not isinstance(error, ImageryError | ContractError):
                raise
            record = Skipped(task.name, str(task.file), str(error))
        except Exception as error:
            # A defect of ours, or of a library, that one scene brings out must not cost the others.
            if self.on_error == "fail":
                raise
            reason = f"Unexpected {type(error).__name__}: {error}. Please report it with the scene."
            record = Skipped(task.name, str(task.file), reason)
        return _Result(record, warnings, os.getpid(), _peak_rss_kib())

    def _finish(
        self, task: _Task, engine: Runs, tick: Callable[[int], None] | None
    ) -> tuple[Finished, tuple[str, ...]]:
        options = self.options
        try:
            read = Input.of(task.file)
        except OSError as error:
            raise ImageryError(
                f"{task.file} cannot be read: {error.strerror}", remedy="Check the path and its permissions"
            ) from error
        with open_scene(
            task.file,
            self.model.contract,
            bands=options.bands,
            gsd_m=options.gsd_m,
            resample=options.resample,
        ) as scene:
            outcome = process(
                scene,
                self.model,
                engine,
                self.folder,
                name=task.name,
                threshold=options.threshold,
                tile_size=options.tile_size,
                min_ship_pixels=options.min_ship_pixels,
                progress=tick,
            )
            outputs = {file.relative_to(self.folder).as_posix(): sha256_file(file) for file in outcome.files}
            finished = Finished(
                name=task.name,
                file=str(task.file),
                input=read,
                outputs=outputs,
                tiles=outcome.tiles,
                ships=len(outcome.ships),
                bytes_in=scene.raw_bytes,
                bytes_out=outcome.bytes_out,
            )
            return finished, scene.warnings


def run(
    paths: Sequence[Path],
    folder: Path,
    model: Model,
    *,
    engine: str = "auto",
    options: Options | None = None,
    jobs: int = 1,
    resume: bool = False,
    on_error: Literal["skip", "fail"] = "skip",
    progress: Callable[[Progress], None] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Summary:
    """Process all scenes behind `paths` into `folder`, as `process` does one.

    It may be interrupted or killed at any time: what is finished is finished, nothing is left half-written under
    its own name, and ``resume=True`` does the rest.

    Args:
        paths: Image files, and folders that are searched; `folder` itself is left out.
        folder: Where the outputs and the journal go.
        model: The model.
        engine: Name of the engine.
        options: What decides the results; None for the usual.
        jobs: Scenes done at the same time, each in a process of its own that has its share of the cores.
        resume: Whether scenes are left out that are finished in `folder` and have not changed since.
        on_error: Whether a scene that cannot be done is skipped or ends the run.
        progress: Called after each scene, and without parallel jobs after each tile.
        clock: Seconds from any origin.

    Raises:
        ImageryError: There is no scene; with ``on_error="fail"`` a scene cannot be read.
        OutputError: An output cannot be written, or `folder` holds the results of another run.
        CorruptDataError: The journal in `folder` was changed.
        ConfigError: An option makes no sense.
        TaranError: A process died.
    """
    begin = clock()
    if jobs < 1:
        raise ConfigError(f"{jobs} jobs cannot do anything", remedy="Give 1 or more", jobs=jobs)
    options = Options() if options is None else options
    own = folder.resolve()
    files = [file for file in find_scenes(paths) if not file.resolve().is_relative_to(own)]
    if not files:
        raise ImageryError(
            f"All images lie in the output folder {folder}",
            remedy="Choose an output folder apart from the imagery",
        )
    tasks = [_Task(file, name) for file, name in names(paths, files).items()]
    done: list[Finished] = []
    skipped: list[Skipped] = []
    warnings: list[str] = []
    peaks: dict[int, int | None] = {}
    fresh_tiles = 0
    with Journal(folder, _identity(model, options)) as journal:
        if resume:
            before = journal.history.finished
            done = [
                before[task.name]
                for task in tasks
                if task.name in before and before[task.name].stands(folder, task.file)
            ]
            kept = {record.name for record in done}
            tasks = [task for task in tasks if task.name not in kept]
        resumed = len(done)
        tell = _Teller(progress, len(tasks) + resumed, resumed)
        crew = _Crew(folder, model, engine, max(1, _cores() // jobs), options, on_error)
        for result in _in_turn(crew, tasks, tell) if jobs == 1 else _in_parallel(crew, tasks, jobs):
            peaks[result.process] = result.peak_rss_kib
            warnings += result.warnings
            if isinstance(result.record, Finished):
                journal.finish(result.record)
                done.append(result.record)
                fresh_tiles += result.record.tiles
            else:
                journal.skip(result.record)
                skipped.append(result.record)
            tell.scene(result)
    peaks[os.getpid()] = _peak_rss_kib()
    bytes_in, bytes_out = sum(each.bytes_in for each in done), sum(each.bytes_out for each in done)
    seconds = clock() - begin
    known = [peak for peak in peaks.values() if peak is not None]
    return Summary(
        scenes=len(done),
        resumed=resumed,
        tiles=sum(each.tiles for each in done),
        ships=sum(each.ships for each in done),
        skipped=tuple(sorted(skipped, key=lambda each: each.file)),
        bytes_in=bytes_in,
        bytes_out=bytes_out,
        ratio=bytes_in / bytes_out if bytes_out else None,
        seconds=seconds,
        tiles_per_s=fresh_tiles / seconds if seconds > 0 else 0.0,
        peak_rss_mib=sum(known) / 1024 if known else None,
        warnings=tuple(warnings),
    )


@dataclass(slots=True)
class _Teller:
    """Counts, and tells who asked."""

    listener: Callable[[Progress], None] | None
    scenes: int
    done: int

    def scene(self, result: _Result) -> None:
        self.done += 1
        if self.listener is not None:
            reason = result.record.reason if isinstance(result.record, Skipped) else None
            self.listener(
                Progress(self.done, self.scenes, result.record.file, skipped=reason, warnings=result.warnings)
            )

    def tiles(self, task: _Task) -> Callable[[int], None] | None:
        listener = self.listener
        if listener is None:
            return None
        return lambda tiles: listener(Progress(self.done, self.scenes, str(task.file), tiles_done=tiles))


def _in_turn(crew: _Crew, tasks: Sequence[_Task], tell: _Teller) -> Iterator[_Result]:
    if tasks:
        engine = crew.open_engine()
        for task in tasks:
            yield crew.do(task, engine, tell.tiles(task))


def _in_parallel(crew: _Crew, tasks: Sequence[_Task], jobs: int) -> Iterator[_Result]:
    """The results as they come; new interpreters, because the threads of an engine do not survive a fork."""
    pool = ProcessPoolExecutor(
        min(jobs, len(tasks)) or 1,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_enlist,
        initargs=(crew,),
    )
    try:
        for future in as_completed([pool.submit(_work, task) for task in tasks]):
            yield future.result()
    except BrokenProcessPool as error:
        raise TaranError(
            f"One of {jobs} processes died, most likely for want of memory",
            remedy="Use --resume with fewer --jobs or a smaller --tile",
            jobs=jobs,
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@dataclass(slots=True)
class _Post:
    """What a process keeps between scenes."""

    crew: _Crew | None = None
    engine: Runs | None = None


_POST = _Post()


def _enlist(crew: _Crew) -> None:
    """Make a process ready; between scenes it leaves Ctrl-C to the parent, so that nothing is printed twice."""
    signal(SIGINT, SIG_IGN)
    _POST.crew = crew


def _work(task: _Task) -> _Result:
    crew = _POST.crew
    if crew is None:
        raise RuntimeError("a process was given work before it was made ready")
    if _POST.engine is None:
        _POST.engine = crew.open_engine()
    signal(SIGINT, default_int_handler)
    try:
        return crew.do(task, _POST.engine)
    finally:
        signal(SIGINT, SIG_IGN)


def _identity(model: Model, options: Options) -> dict[str, JsonValue]:
    """All that results of one folder must have in common; neither engine nor jobs change a result."""
    threshold = model.threshold if options.threshold is None else options.threshold
    return {
        "software": SOFTWARE,
        "model": model.name,
        "model_digest": model.graph.digest,
        **asdict(options),
        "threshold": threshold,
        "bands": None if options.bands is None else list(options.bands),
    }


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _peak_rss_kib() -> int | None:
    """Largest resident memory of this process so far; `getrusage` would count what forked it as well."""
    if sys.platform != "linux":
        return None
    found = re.search(r"^VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(found[1]) if found else None

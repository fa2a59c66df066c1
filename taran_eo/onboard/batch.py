"""All scenes of a run: in order or in parallel, each by itself, with a journal to go on from."""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from pydantic import JsonValue

from taran_eo.engines import EngineName, fastest_engine
from taran_eo.errors import ConfigError, ImageryError, OutputError
from taran_eo.imagery.scene import find_scenes
from taran_eo.journal import Finished, Journal, Skipped
from taran_eo.model import Model
from taran_eo.onboard.crew import Crew, Options, Result, Task, in_turn
from taran_eo.onboard.scene import SOFTWARE
from taran_eo.outputs import located, names, sweep
from taran_eo.provenance import cores, peak_rss_kib


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
        gate: Name of what decided where the model ran; None where it ran everywhere.
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
    gate: str | None
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, JsonValue]:
        """The fields as JSON holds them; a skipped scene is its file and the reason."""
        skipped: list[JsonValue] = [{"file": each.file, "reason": each.reason} for each in self.skipped]
        return asdict(self) | {"skipped": skipped, "warnings": list(self.warnings)}


def run(
    paths: Sequence[Path],
    folder: Path,
    model: Model,
    *,
    gate: Model | None = None,
    engine: EngineName = "auto",
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
        gate: What decides where the model runs; None lets it run everywhere.
        engine: Name of the engine.
        options: What decides the results; None for the usual.
        jobs: Scenes done at the same time, each in a process of its own that has its share of the cores.
        resume: Whether scenes are left out that are finished in `folder` and have not changed since.
        on_error: Whether a scene that cannot be done is skipped or ends the run.
        progress: Called after each scene, and without parallel jobs after each tile, then from threads of the run.
        clock: Seconds from any origin.

    Raises:
        ImageryError: There is no scene; with ``on_error="fail"`` a scene cannot be read.
        OutputError: An output cannot be written, `folder` holds the results of another run or of another scene
            under the same name, or another run is at work there.
        CorruptDataError: The journal in `folder` was changed.
        ConfigError: An option makes no sense.
        TaranError: A process died.
    """
    begin = clock()
    if jobs < 1:
        raise ConfigError(f"{jobs} jobs cannot do anything", remedy="Give 1 or more", jobs=jobs)
    options = Options() if options is None else options
    options.check(model, gate)
    own = folder.resolve()
    files = [file for file in find_scenes(paths) if not file.resolve().is_relative_to(own)]
    if not files:
        raise ImageryError(
            f"All images lie in the output folder {folder}",
            remedy="Choose an output folder apart from the imagery",
        )
    tasks = [Task(file, name) for file, name in names(paths, files).items()]
    done: list[Finished] = []
    skipped: list[Skipped] = []
    warnings: list[str] = []
    peaks: dict[int, int | None] = {}
    fresh_tiles = 0
    with Journal(folder, _identity(model, gate, options)) as journal:
        sweep(folder)
        before = journal.history.finished
        _refuse_others(folder, tasks, before)
        if resume:
            done = [
                before[task.name]
                for task in tasks
                if task.name in before and before[task.name].stands(folder, task.file)
            ]
            kept = {record.name for record in done}
            tasks = [task for task in tasks if task.name not in kept]
        resumed = len(done)
        tell = _Teller(progress, len(tasks) + resumed, resumed)
        # Chosen here, so that what is missing is told once and not by every process.
        chosen = fastest_engine(model.graph) if engine == "auto" else engine
        crew = Crew(folder, model, gate, chosen, max(1, cores() // jobs), options, on_error)
        for result in in_turn(crew, tasks, tell.tiles) if jobs == 1 else _in_parallel(crew, tasks, jobs):
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
    peaks[os.getpid()] = peak_rss_kib()
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
        gate=None if gate is None else gate.name,
        warnings=tuple(warnings),
    )


def _in_parallel(crew: Crew, tasks: Sequence[Task], jobs: int) -> Iterator[Result]:
    # Who does not need processes does not wait for them: they take a twentieth of a second to import.
    from taran_eo.onboard.processes import in_parallel

    return in_parallel(crew, tasks, jobs)


@dataclass(slots=True)
class _Teller:
    """Counts, and tells who asked."""

    listener: Callable[[Progress], None] | None
    scenes: int
    done: int

    def scene(self, result: Result) -> None:
        self.done += 1
        if self.listener is not None:
            reason = result.record.reason if isinstance(result.record, Skipped) else None
            self.listener(
                Progress(self.done, self.scenes, result.record.file, skipped=reason, warnings=result.warnings)
            )

    def tiles(self, task: Task) -> Callable[[int], None] | None:
        listener = self.listener
        if listener is None:
            return None
        return lambda tiles: listener(Progress(self.done, self.scenes, str(task.file), tiles_done=tiles))


def _identity(model: Model, gate: Model | None, options: Options) -> dict[str, JsonValue]:
    """All that results of one folder must have in common; neither engine, jobs nor tile size change a result.

    Of a float model they change logits, within its tolerance, which is no reason to begin anew.
    """
    threshold = model.threshold if options.threshold is None else options.threshold
    identity = {
        "software": SOFTWARE,
        "model": model.name,
        "model_digest": model.graph.digest,
        "gate_digest": None if gate is None else gate.graph.digest,
        "gate_threshold": None if gate is None else gate.threshold,
        **asdict(options),
        "threshold": threshold,
        "bands": None if options.bands is None else list(options.bands),
    }
    del identity["tile_size"]
    return identity


def _refuse_others(folder: Path, tasks: Sequence[Task], before: Mapping[str, Finished]) -> None:
    """Scenes of another place may not take the names, and so the outputs, of those that are finished."""
    for task in tasks:
        finished = before.get(task.name)
        if finished is not None and finished.file != located(task.file):
            raise OutputError(
                f"{folder} holds {task.name} of {finished.file}, which {task.file} would replace",
                remedy="Choose another output folder, or empty this one",
                path=folder,
            )

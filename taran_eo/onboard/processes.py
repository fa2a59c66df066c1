"""Several processes that do scenes at the same time."""

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import connection
from signal import SIG_IGN, SIGINT, default_int_handler, signal
from threading import Thread

from taran_eo.errors import TaranError
from taran_eo.onboard.ahead import Turn
from taran_eo.onboard.crew import Crew, Engines, Result, Task


def in_parallel(crew: Crew, tasks: Sequence[Task], jobs: int) -> Iterator[Result]:
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

    crew: Crew | None = None
    engines: Engines | None = None


_POST = _Post()


def _enlist(crew: Crew) -> None:
    """Make a process ready; between scenes it leaves Ctrl-C to the parent, so that nothing is printed twice."""
    signal(SIGINT, SIG_IGN)
    Thread(target=_leave_with_parent, daemon=True).start()
    _POST.crew = crew


def _leave_with_parent() -> None:
    """End this process when its parent has ended: killed, that cannot tell us, and nobody would take our results."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _work(task: Task) -> Result:
    crew = _POST.crew
    if crew is None:
        raise RuntimeError("a process was given work before it was made ready")
    if _POST.engines is None:
        _POST.engines = crew.open_engines()
    signal(SIGINT, default_int_handler)
    try:
        engines = _POST.engines
        return crew.do(task, lambda: crew.begin(task, engines, Turn.first(crew.threads)))
    finally:
        signal(SIGINT, SIG_IGN)

"""A contender in a process of its own: told a word a line, it answers with a line of JSON."""

import hashlib
import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taran_eo.bench.contenders import Run, named
from taran_eo.model import Model, replay
from taran_eo.provenance import peak_rss_kib


@dataclass(frozen=True)
class _Runs:
    """A contender as `replay` takes it."""

    name: str
    run: Run


def _work(order: dict[str, Any]) -> None:
    """What a worker's process does: told a word a line, it answers with a line of JSON."""
    # Whatever libraries print goes to standard error; the answers have the pipe for themselves.
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)

        def say(**answer: object) -> None:
            answers.write(json.dumps(answer) + "\n")
            answers.flush()

        model = Model.open(Path(order["model"]))
        rng = np.random.default_rng(0)
        pixels = rng.integers(0, 256, (model.graph.bands, *order["size"]), dtype=np.uint8)
        contender = named(order["name"])
        run = contender.ready(model.graph, order["threads"], pixels)
        logits: NDArray[Any] = np.asarray(run(pixels))
        start_s = time.time() - order["begin"]
        golden = contender.ours and not replay(model, _Runs(contender.name, run))
        say(start_s=start_s, digest=hashlib.sha256(logits.tobytes()).hexdigest(), golden=golden)
        for word in sys.stdin:
            if word.strip() == "leave":
                say(peak_rss_kib=peak_rss_kib())
                return
            begin = time.perf_counter()
            run(pixels)
            say(seconds=time.perf_counter() - begin)


if __name__ == "__main__":
    _work(json.loads(sys.argv[1]))

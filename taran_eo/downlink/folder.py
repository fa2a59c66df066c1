"""The folder that keeps a simulation: tables, the settings as they were, and where it all came from."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from taran_eo.downlink.results import Cell, Results
from taran_eo.downlink.tables import markdown
from taran_eo.outputs import together, writing
from taran_eo.provenance import Provenance, environment, sha256_config

TABLES = ("strategies.csv", "strategies.json", "strategies.md", "priorities.csv", "passes.csv", "links.csv")
SETTINGS = ("scenario.json", "traffic.json", "provenance.json")


def write(results: Results, folder: Path, *, inputs: Mapping[str, str]) -> tuple[Path, ...]:
    """Write the tables, the settings as they were and where it all came from; all files or none.

    Args:
        results: The tables.
        folder: Where to; what an earlier simulation left there is replaced.
        inputs: SHA-256 of what was read, by name.

    Raises:
        OutputError: A file cannot be written.
    """
    scenario = results.simulation.scenario
    provenance = Provenance(
        environments=(environment(),),
        config_sha256=sha256_config(scenario),
        seed=scenario.seed,
        inputs=inputs,
    )
    contents = (
        _csv([asdict(row) for row in results.rows]),
        json.dumps(results.to_dict(), indent=1) + "\n",
        markdown(results),
        _csv([asdict(row) for row in results.waited]),
        _csv(results.passes()),
        _csv(results.links()),
        scenario.model_dump_json(indent=1, exclude_none=True) + "\n",
        results.simulation.traffic.model_dump_json(indent=1) + "\n",
        json.dumps(provenance.to_dict(), indent=1) + "\n",
    )
    files = tuple(folder / name for name in (*TABLES, *SETTINGS))
    with together(folder, files) as temporaries:
        for file, content in zip(files, contents, strict=True):
            with writing(file):
                temporaries[file].write_text(content, encoding="utf-8")
    return files


def _csv(rows: Sequence[Mapping[str, Cell]]) -> str:
    text = io.StringIO()
    if rows:
        table = csv.DictWriter(text, rows[0], lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    return text.getvalue()

"""Every bash and python block of the README is run, in order, in one empty folder; its table is that of the study.

A block that sets up the machine (it holds ``make `` or ``pip install``) is left out, as is one with the
line ``<!-- not run: reason -->`` just before it.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from taran_eo.formats import parse_format
from taran_eo.model import DEFAULT_GATE, Model, shipped

FENCE = re.compile(
    r"^(?:<!-- not run: (?P<reason>[^\n]+?) -->\n+)?```(?P<kind>bash|python)\n(?P<text>.*?)^```$", re.M | re.S
)
SETS_UP = ("make ", "pip install")
SHOWN = ("strategy", "to send", "less than raw", "than JPEG-LS", "detections down", "age median", "contacts used")
FORMATS = (
    *("e2m1", "e1m2", "int4", "e2m2", "e3m1", "int5", "e2m3", "e3m2", "e4m1", "int6"),
    *("e3m3", "e4m2", "int7", "e4m3", "e5m2", "int8"),
)


def test_the_blocks_of_the_readme_run(repository: Path, tmp_path: Path) -> None:
    blocks = list(FENCE.finditer((repository / "README.md").read_text(encoding="utf-8")))
    ran = []
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    for block in blocks:
        kind, text = block["kind"], block["text"]
        if block["reason"] or any(word in text for word in SETS_UP):
            continue
        command = ["bash", "-c", f"set -euo pipefail\n{text}"] if kind == "bash" else [sys.executable, "-c", text]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
        said = f"This block of README.md failed:\n{text}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        assert done.returncode == 0, said
        ran.append(kind)
    assert "bash" in ran, "README.md shows no command that runs"
    assert "python" in ran, "README.md shows no Python that runs"


def test_the_table_of_formats_is_that_of_the_study(repository: Path) -> None:
    found = json.loads((repository / "pipelines/results/study_formats.json").read_text())["rows"]

    def cell(spelled: str, *numbers: float) -> str:
        value, low, high = (f"{100 * number:{spelled}}" for number in numbers)
        return f"{value} [{low}, {high}]"

    expected = []
    for name in FORMATS:
        rows = [found[f"{name} {setting}"] for setting in ("qat", "ptq")]
        runs = " / ".join(str(len(row["folds and seeds"])) for row in rows)
        cells = [name, str(parse_format(name).bits), runs]
        for row in rows:
            assert {fold for fold, _ in row["folds and seeds"]} == set(range(5)) and not row["diverged"]
            less = row["less control"]["iou"]
            cells += [cell("+.2f", less["value"], *less["ci"]), cell(".1f", *row["agreement"].values())]
        expected.append(f"| {' | '.join(cells)} |")
    readme = (repository / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| (?:int|e)\d.*\|$", readme, re.M) == expected


def test_the_tables_of_the_way_down_are_measured(repository: Path) -> None:
    """Every row of the ladder, and of the strategies what the README has room for."""
    results = repository / "pipelines" / "results"
    readme = (repository / "README.md").read_text(encoding="utf-8")
    rows = [line for line in (results / "ladder.md").read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    assert len(rows) == 9
    assert [line for line in rows if line not in readme] == []
    told = (results / "downlink_svalbard_kiruna" / "strategies.md").read_text(encoding="utf-8").split("\n\n")[1]
    names, _, *strategies = (_cells(line) for line in told.splitlines())
    assert len(strategies) == 9
    for row in strategies:
        shown = [cell for name, cell in zip(names, row, strict=True) if name in SHOWN]
        assert f"| {' | '.join(shown)} |" in readme


def _cells(line: str) -> list[str]:
    return line.strip("| ").split(" | ")


def test_what_is_said_of_the_gate_is_measured(repository: Path) -> None:
    study = json.loads((repository / "pipelines/results/ship_gate.json").read_text())
    row, model, gate = study["rows"][f"{study['chosen']:g}"], Model.open(), Model.open(shipped(DEFAULT_GATE))
    assert gate.threshold == study["chosen"]
    low, high = row["work_mixed_ci"]
    readme = re.sub(r"\s+", " ", (repository / "README.md").read_text(encoding="utf-8"))
    for said in (
        f"takes {gate.graph.macs(768, 768) / model.graph.macs(768, 768):.1%} of the multiplications".replace("%", " %"),
        f"{row['large_ships_unseen']} of {row['large_ships']} ships above 100 pixels are not looked at",
        f"{row['work_mixed']:.3f} [{low:.3f}, {high:.3f}] where 78 % are empty",
    ):
        assert said in readme


def test_every_interval_of_the_readme_is_measured(repository: Path) -> None:
    results = [json.loads(path.read_text()) for path in repository.glob("pipelines/results/study_*.json")]
    measured = {ends for low, high in _intervals(results) for ends in _spelled(100 * low, 100 * high)}
    for card in repository.glob("models/*/CARD.md"):
        score = r"^\| (?:iou|ship_recall)(?:, \w+)? \| \S+ \[(\S+), (\S+)\]"
        for low, high in re.findall(score, card.read_text(), re.M):
            measured |= _spelled(float(low), float(high)) | {f"{low}, {high}"}
    ladder = json.loads((repository / "pipelines/results/ladder.json").read_text())["rows"]
    for row in ladder:
        measured |= {"{:.3g}, {:.3g}".format(*row[name][1:]) for name in ("less_than_raw", "less_than_jpeg_ls")}
    gate = json.loads((repository / "pipelines/results/ship_gate.json").read_text())
    measured.add("{:.3f}, {:.3f}".format(*gate["rows"][f"{gate['chosen']:g}"]["work_mixed_ci"]))
    readme = (repository / "README.md").read_text(encoding="utf-8")
    section = readme[readme.index("## How good is it") : readme.index("## How it works")]
    told = set(re.findall(r"\[([+-]?\d[\d.]*, [+-]?\d[\d.]*)\]", section))
    assert len(told) > 80
    assert not told - measured


def _intervals(found: object) -> Iterator[tuple[float, float]]:
    """Every interval of a result: of scores, of differences, of agreement."""
    if isinstance(found, list):
        yield from (pair for each in found for pair in _intervals(each))
    elif isinstance(found, dict):
        for name, each in found.items():
            if name == "ci" or name.endswith("_ci"):
                yield from [tuple(each)] if each else []
            else:
                yield from _intervals(each)
        if isinstance(found.get("low"), float):
            yield found["low"], found["high"]


def _spelled(low: float, high: float) -> set[str]:
    return {f"{low:{form}}, {high:{form}}" for form in ("+.2f", "+.1f", ".2f", ".1f")}

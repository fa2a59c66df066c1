"""Imports only go down. The table says who stands where; a new room is entered here before it is used."""

import ast
from collections.abc import Iterator
from pathlib import Path

LAYERS = (
    {"", "errors", "units", "config", "provenance", "checksums"},  # "" is the package's own __init__
    {"formats", "imagery"},
    {"graph", "codec", "wire", "model", "metrics", "price", "c_runtime", "ships", "journal", "outputs", "target"},
    {"nn", "train", "export", "engines", "gate", "downlink", "hardware"},
    {"bench", "evaluation", "onboard", "ground", "report", "security", "studies"},
    {"cli"},
)
SIBLINGS = {
    ("model", "graph"),
    ("c_runtime", "graph"),
    ("metrics", "ships"),
    ("train", "nn"),
    ("engines", "export"),
    ("gate", "engines"),
    ("outputs", "journal"),
    ("studies", "evaluation"),
}
HEAVY = {"torch", "torchvision", "albumentations", "cv2", "scipy", "segmentation_models_pytorch", "tensorboard"}
HEAVY_ROOMS = {"nn", "train", "bench"}


def arrows(package: Path) -> Iterator[tuple[Path, str, str, str]]:
    """File, the room it is in, and each module it imports split into top-level name and room."""
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        room = "" if parts == ("__init__",) else parts[0]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                module = node.module or ""
                if node.level:  # relative to this file's package
                    module = ".".join(filter(None, ("taran_eo", *parts[: len(parts) - node.level], module)))
                # `from taran_eo import graph` names a room or a value of the package itself.
                modules = [f"{module}.{alias.name}" if module == "taran_eo" else module for alias in node.names]
            else:
                continue
            for module in modules:
                top, _, below = module.partition(".")
                target = below.partition(".")[0] if top == "taran_eo" else ""
                yield path, room, top, "" if target.startswith("__") else target


def allowed(room: str, target: str) -> bool:
    layer = {room: number for number, rooms in enumerate(LAYERS) for room in rooms}
    same = layer[room] == layer[target] == 0 or room == target or (room, target) in SIBLINGS
    return same or layer[target] < layer[room]


def test_imports_only_go_down(repository: Path) -> None:
    known = set().union(*LAYERS)
    faults, rooms = [], set()
    for path, room, top, target in arrows(repository / "taran_eo"):
        rooms |= {room, target}
        if not {room, target} <= known:
            faults.append(f"{path}: {room} -> {target}, of which one stands in no layer")
        elif top == "taran_eo" and not allowed(room, target):
            faults.append(f"{path}: {room} -> {target} goes up or sideways")
        elif top in HEAVY and room not in HEAVY_ROOMS:
            faults.append(f"{path}: {room} -> {top}, which only {sorted(HEAVY_ROOMS)} may import")
    assert not faults, "\n".join(faults)
    assert {"errors", "metrics", "graph", "engines", "cli"} <= rooms, "the package was not found"


def test_the_table_refuses_what_it_should() -> None:
    assert allowed("cli", "onboard")
    assert allowed("model", "graph")
    assert allowed("config", "errors")
    assert not allowed("graph", "model")
    assert not allowed("ships", "metrics")
    assert not allowed("imagery", "engines")

"""``taran-eo inspect``: what a model, a product or a scene holds."""

from pathlib import Path
from typing import Annotated, Any

import typer

from taran_eo.cli.console import print_json, print_table


def command(
    path: Annotated[
        Path | None,
        typer.Argument(exists=True, help="A model folder, a .product file or an image; the default model if left out."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Tell what is in a model folder, in a downlink product, or in an image file."""
    if path is not None and path.suffix == ".product":
        content = _product(path)
    elif path is None or path.is_dir():
        content = _model(path)
    else:
        content = _scene(path)
    if as_json:
        print_json(content)
    else:
        print_table({name: len(value) if name == "ships" else value for name, value in content.items()})


def _model(path: Path | None) -> dict[str, Any]:
    from taran_eo.graph import plan, traffic
    from taran_eo.model import Model

    model = Model.open(path)
    graph = model.graph
    memory = plan(graph, 768, 768)
    moved = traffic(graph, 768, 768)
    return {
        "model": model.name,
        "version": model.version,
        "folder": model.path,
        "digest": graph.digest,
        "input": f"{', '.join(model.contract.bands)}, {model.contract.bit_depth} bits, {model.contract.gsd_m} m",
        "classes": ", ".join(model.classes),
        "threshold": model.threshold,
        "weights": ", ".join(graph.weight_formats),
        "activations": ", ".join(graph.activation_formats),
        "parameters": graph.parameters,
        "operations": len(graph.ops),
        "gmac_a_768_tile": round(graph.macs(768, 768) / 1e9, 3),
        "arena_mib_a_768_tile": round(memory.arena_bytes / 2**20, 1),
        "activations_moved_mib_a_768_tile": round(moved.total_bytes / 2**20, 1),
        "of_it_skip_connections": round(moved.skip_bytes / moved.total_bytes, 3),
        "reach_px": graph.reach,
        "halo_px": graph.halo,
        "alignment_px": graph.alignment,
    }


def _product(path: Path) -> dict[str, Any]:
    from dataclasses import asdict

    from taran_eo.codec import unpack
    from taran_eo.errors import CorruptDataError

    try:
        data = path.read_bytes()
        content = asdict(unpack(data))
    except OSError as error:
        raise CorruptDataError(f"{path} cannot be read: {error.strerror}", remedy="Check the file") from error
    except CorruptDataError as error:
        raise CorruptDataError(f"{path} is damaged: {error.what}", remedy=error.remedy) from error
    blocks = content.pop("blocks")
    return {"bytes": len(data), **content, "tiles": len(blocks), "tiles_with_ships": sum(map(bool, blocks))}


def _scene(path: Path) -> dict[str, Any]:
    from dataclasses import asdict

    from taran_eo.imagery import open_scene
    from taran_eo.model import Model

    with open_scene(path, Model.open(None).contract) as scene:
        return {
            "scene": scene.name,
            "rows": scene.rows,
            "cols": scene.cols,
            "crs": scene.crs,
            "gsd_m": scene.gsd_m,
            "stretch": None if scene.stretch is None else asdict(scene.stretch),
            "raw_bytes": scene.raw_bytes,
            "warnings": list(scene.warnings),
        }

"""``taran-eo inspect``: what a model, a product or a scene holds."""

from pathlib import Path
from typing import Annotated, Any

import typer

from taran_eo.cli.console import parse_size, print_json, print_table


def command(
    path: Annotated[
        Path | None,
        typer.Argument(exists=True, help="A model folder, a .product file or an image; the default model if left out."),
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="Tell instead whether the model fits a target: the name of a folder of deploy/.")
    ] = None,
    tile: Annotated[
        str | None, typer.Option(metavar="ROWSxCOLS", help="Size of a tile on the target; 256x256 if left out.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Tell what is in a model folder, in a downlink product, or in an image file; or whether a model fits a target."""
    if tile is not None and target is None:
        raise typer.BadParameter("--tile is of a --target")
    if target is not None:
        content = _fit(path, target, (256, 256) if tile is None else parse_size(tile, "--tile"))
    elif path is not None and path.suffix == ".product":
        content = _product(path)
    elif path is None or path.is_dir():
        content = _model(path)
    else:
        content = _scene(path)
    if as_json:
        print_json(content)
    else:
        print_table({name: len(value) if name == "ships" else value for name, value in content.items()})
    if target is not None and content["fits"] is False:
        raise typer.Exit(1)


def _fit(path: Path | None, name: str, tile: tuple[int, int]) -> dict[str, Any]:
    from taran_eo.export import fit, remedies
    from taran_eo.model import Model
    from taran_eo.target import open_target

    model, target = Model.open(path), open_target(name)
    found = fit(model.graph, target, *tile)
    content: dict[str, Any] = {
        "model": model.name,
        "target": f"{target.name}: {target.what}",
        "tile": f"{found.rows} x {found.cols}",
        "weight_bytes": found.weight_bytes,
        "constant_bytes": found.constant_bytes,
        "activation_bytes_whole": found.whole_bytes,
        "arena_bytes_by_rows": found.arena_bytes,
        "rows_at_a_time": found.stripe,
        "pixels_and_logits_bytes": found.exchange_bytes,
        "exact_pixels": found.exact_pixels,
        "macs": found.macs,
        "instructions": found.instructions,
        "instructions_are": _told(found.instructions, found.counted),
        "constants_and_code_in": found.constants_in or "no figure of its memories",
        "arena_in": found.arena_in or "no figure of its memories",
        "fits": "unknown" if found.short_bytes is None else found.short_bytes == 0,
    }
    if len({(each.weights, each.reads) for each in model.graph.widths[1:]}) > 1:  # the first one reads pixels
        content["widths"] = [
            f"{each.name}: {each.count:,} weights {each.weights}, reads {each.reads}" for each in model.graph.widths
        ]
    if found.short_bytes:
        content["short_bytes"] = found.short_bytes
        content["would_help"] = list(remedies(model.graph, target, found))
    return content


def _told(instructions: int | None, counted: bool) -> str:
    if instructions is None:
        return "not counted on this target"
    how = "counted" if counted else "as many a multiplication as were counted on tiles of 64 x 64"
    return f"{how}, under an emulator: counts, never cycles"


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
        product = unpack(data)
        ships = [asdict(ship) for ship in product.ships()]
    except OSError as error:
        raise CorruptDataError(f"{path} cannot be read: {error.strerror}", remedy="Check the file") from error
    except CorruptDataError as error:
        raise CorruptDataError(f"{path} is damaged: {error.what}", remedy=error.remedy) from error
    header = asdict(product.header)
    sizes = {step: sum(map(len, items.values())) for step, items in product.items.items()}
    return {"bytes": len(data), **header, "ships": ships, "bytes_of_levels": sizes, **asdict(product.made_by())}


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

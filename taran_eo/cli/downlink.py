"""``taran-eo downlink``: what of an image reaches the ground, when and at what cost, for every way to send it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from taran_eo.cli.console import complain, print_json, tell
from taran_eo.cli.options import folder

if TYPE_CHECKING:
    from taran_eo.downlink.scenario import Scenario
    from taran_eo.downlink.traffic import Traffic

ALTITUDE_KM = 600.0
STATION = "svalbard"
SAMPLE = 24
"""Images of a folder in which ships are sought; more would change little and take long."""


def command(
    scenario: Annotated[
        Path | None, typer.Argument(exists=True, dir_okay=False, help="TOML file of the scenario.")
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            file_okay=False,
            help=f"Folder of imagery, of which the model looks at {SAMPLE} images, or output folder of taran-eo run.",
        ),
    ] = None,
    altitude: Annotated[
        float | None,
        typer.Option(help=f"Height of a sun-synchronous orbit in km; {ALTITUDE_KM:g} without a scenario."),
    ] = None,
    station: Annotated[
        list[str] | None,
        typer.Option(help=f"Ground station of the catalogue, may be repeated; {STATION} without a scenario."),
    ] = None,
    days: Annotated[float | None, typer.Option(help="Length of the simulation; 1.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="The same seed gives the same; 0.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any key of a scenario, may be repeated.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", parser=folder, metavar="FOLDER", help="Folder for tables and plots."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the strategies as JSON.")] = False,
) -> None:
    """Simulate the downlink of a satellite, from raw imagery down to a list of ships, and compare what arrives.

    Either a scenario or a folder of imagery is needed. Nothing is written without -o.
    """
    from taran_eo.downlink.folder import write
    from taran_eo.downlink.plots import plot
    from taran_eo.downlink.results import Results
    from taran_eo.downlink.simulate import simulate
    from taran_eo.downlink.tables import lines
    from taran_eo.errors import MissingExtraError

    if scenario is None and images is None:
        raise typer.BadParameter("give a SCENARIO, or --images FOLDER")
    asked = _scenario(scenario, altitude, station, days, seed, settings or [])
    traffic, inputs = _traffic(asked, images)
    if scenario is not None:
        inputs |= _digests([scenario])
    results = Results(simulate(asked, traffic))
    for warning in results.simulation.warnings:
        complain(warning)
    if output is not None:
        write(results, output, inputs=inputs)
        try:
            plot(results, output)
        except MissingExtraError as error:
            complain(f"There are tables and no plots. {error}")
    if as_json:
        print_json(results.to_dict())
        return
    for line in [*_settings(results.simulation.scenario, traffic), "", *lines(results)]:
        tell(line)


def _scenario(
    path: Path | None,
    altitude_km: float | None,
    stations: list[str] | None,
    days: float | None,
    seed: int | None,
    settings: list[str],
) -> "Scenario":
    """The file, or the usual, with the options over it."""
    import json

    from taran_eo.config import load_toml, override, parse
    from taran_eo.downlink.scenario import Scenario

    given = [
        *([] if altitude_km is None else [f"orbit.altitude_km={altitude_km!r}"]),
        *([] if not stations else [f"stations={json.dumps(stations)}"]),
        *([] if days is None else [f"days={days!r}"]),
        *([] if seed is None else [f"seed={seed}"]),
        *settings,
    ]
    if path is not None:
        return load_toml(path, Scenario, given)
    usual = {"orbit": {"altitude_km": ALTITUDE_KM}, "stations": [STATION]}
    return parse(override(usual, given), Scenario, source="The options")


def _traffic(scenario: "Scenario", images: Path | None) -> tuple["Traffic", dict[str, str]]:
    """The scenes that there are to see, and what was read for them."""
    from taran_eo import journal
    from taran_eo.downlink.runs import read_run

    source = scenario.traffic
    if images is not None and (images / journal.NAME).exists():
        source = source.model_copy(update={"run": images, "model": None})
    elif images is not None:
        return _look(images, scenario.traffic.gsd_m)
    if source.run is not None:
        return read_run(source.run, gsd_m=source.gsd_m), _digests([source.run / journal.NAME])
    return source.open(), _digests([] if source.model is None else [source.model])


def _look(images: Path, gsd_m: float) -> tuple["Traffic", dict[str, str]]:
    """Seek ships in some images of a folder, as on board."""
    from tempfile import TemporaryDirectory

    from taran_eo import onboard
    from taran_eo.cli.options import open_gate
    from taran_eo.downlink.runs import read_run
    from taran_eo.errors import ImageryError
    from taran_eo.imagery import find_scenes
    from taran_eo.model import Model

    found = find_scenes([images])
    # Evenly over the folder, whose names often go by place and time.
    step = max(1, len(found) / SAMPLE)
    chosen = [found[int(number * step)] for number in range(min(SAMPLE, len(found)))]
    model = Model.open(None)
    with TemporaryDirectory() as place:
        out = Path(place) / images.resolve().name
        summary = onboard.run(
            chosen, out, model, gate=open_gate(None, model, quiet=True), options=onboard.Options(gsd_m=gsd_m)
        )
        for skipped in summary.skipped:
            complain(f"skipped {skipped.reason}")
        if not summary.scenes:
            raise ImageryError(
                f"None of the {len(chosen)} images of {images} that were tried could be read",
                remedy="Look at what was skipped",
                path=images,
            )
        traffic = read_run(out, gsd_m=gsd_m)
    pixels = summary.bytes_in // len(model.contract.bands)
    complain(
        f"{images}: {len(found)} images, looked at {summary.scenes}: {pixels:,} pixels, "
        f"{traffic.scene_km2 * summary.scenes:,.1f} km2, {summary.ships} ships"
    )
    return traffic, _digests(chosen)


def _digests(paths: list[Path]) -> dict[str, str]:
    from taran_eo.outputs import readable
    from taran_eo.provenance import sha256_file

    return {readable(str(path)): sha256_file(path) for path in paths}


def _settings(scenario: "Scenario", traffic: "Traffic") -> list[str]:
    """What was assumed, usual values included."""
    from taran_eo.downlink.tables import size

    imaging, processing, link, rules = scenario.imaging, scenario.processing, scenario.link, scenario.contacts
    asked = scenario.traffic.ships_km2
    density = f"{traffic.ships_km2:.3g} as in the scenes" if asked is None else f"{asked:.3g}"
    orbit = "TLE" if scenario.orbit.altitude_km is None else f"{scenario.orbit.altitude_km:g} km sun-synchronous"
    sensor = scenario.sensor if isinstance(scenario.sensor, str) else scenario.sensor.name
    return [
        f"orbit {orbit}; sensor {sensor}, swath {imaging.swath_km:g} km, images {imaging.duty:.0%} of the time; "
        f"sea {imaging.sea_share:.0%}, clouds {imaging.cloud_share:.0%}, ships a km2 of clear sea: {density}",
        f"scenes: {traffic.source}",
        f"storage {size(scenario.storage_bytes)}; {processing.tile_ms:g} ms a tile of {processing.tile_px} px at "
        f"{processing.watts:g} W; transmitter {scenario.transmitter_w:g} W",
        f"link {link.frequency_hz / 1e9:g} GHz, {link.power_w:g} W, {link.antenna_gain_dbi:g} dBi, "
        f"{link.symbol_rate_sym_s / 1e6:g} Msym/s in {link.bandwidth_hz / 1e6:g} MHz, {link.family}, "
        f"{link.coding.value} coding, margin {link.margin_db:g} dB",
        f"frame loss {rules.frame_loss:g}, uplink {'yes' if rules.uplink else 'no'}; seed {scenario.seed}",
    ]

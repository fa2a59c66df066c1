"""A scenario: everything that a downlink simulation depends on, in one TOML file with usual values for all of it."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from taran_eo.config import Settings
from taran_eo.downlink.instants import DAY_S
from taran_eo.downlink.link import Link
from taran_eo.downlink.orbit import Orbit, constellation
from taran_eo.downlink.overheads import Overheads
from taran_eo.downlink.runs import Source
from taran_eo.downlink.stations import Station
from taran_eo.downlink.stations import station as station_named
from taran_eo.errors import ConfigError
from taran_eo.imagery.sensor import Sensor, sensor_named
from taran_eo.wire.framing import Framing
from taran_eo.wire.settings import Wire

HOUR_S = 3600.0

USUAL_FRAMING = Framing(spacecraft=1, interleaving=0)
"""Frames as they go over DVB-S2, whose code is the only one: CCSDS 131.3-B has Reed-Solomon neither below nor above."""


class Flight(Settings):
    """Where the satellites are.

    Attributes:
        altitude_km: Height of a circular sun-synchronous orbit; without it, `tle` says.
        ltan_h: Mean local time of its ascending node.
        tle: Two-line elements, with or without a name, or the path of a file that holds them.
        satellites: How many there are.
        planes: How many planes they share.
    """

    altitude_km: float | None = Field(default=None, allow_inf_nan=False)
    ltan_h: float = 10.5
    tle: str | None = None
    satellites: int = Field(default=1, ge=1)
    planes: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _one_orbit(self) -> "Flight":
        if (self.altitude_km is None) == (self.tle is None):
            raise ValueError("orbit.altitude_km or orbit.tle must be given, and not both")
        return self

    def orbits(self, start: datetime) -> tuple[Orbit, ...]:
        """The orbits of all satellites.

        Raises:
            ConfigError: No such orbit, or a file that cannot be read.
            CorruptDataError: Elements that are none.
        """
        if self.altitude_km is not None:
            first = Orbit.sun_synchronous(self.altitude_km, start, ltan_h=self.ltan_h)
        else:
            first = Orbit.from_tle(_tle_text(self.tle or ""))
        return (first,) if self.satellites == 1 else constellation(first, self.satellites, self.planes)


def _tle_text(tle: str) -> str:
    if "\n" in tle.strip():
        return tle
    try:
        return Path(tle).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"The elements {tle} cannot be read: {error}", remedy="Give orbit.tle as both lines, or as a file of them"
        ) from error


class Imaging(Settings):
    """What is looked at.

    Attributes:
        swath_km: Width of the strip.
        duty: Share of the time in which the sensor takes images, within the sunlit half of each revolution.
        segment_s: Length in time of the pieces that are recorded, processed and sent as a whole.
        scene_km2: Area of the scenes that a segment is cut into; each has a header of its own.
        sea_share: Share of the imaged area that is sea; land is not searched for ships.
        cloud_share: Mean share of the area under clouds, under which no ship is seen. It is drawn for each segment,
            mostly near nothing or all (beta distribution with parameters that add up to one).
        attitude: ``free``: the antenna is steered by itself; ``downlink-first``: no image is taken during a contact;
            ``imaging-first``: nothing is sent while images are taken.
        slew_s: Time to turn between the sea and a station; where the antenna is steered by itself, none is needed.
        revisit_h: Time between two looks at the same water; half of it is the mean age of a picture when it is the
            newest, before the way down adds to it. None leaves it out.
    """

    swath_km: float = Field(default=20.0, gt=0, allow_inf_nan=False)
    duty: float = Field(default=0.1, gt=0, le=0.5)
    segment_s: float = Field(default=30.0, gt=0, le=600)
    scene_km2: float = Field(default=400.0, gt=0, allow_inf_nan=False)
    sea_share: float = Field(default=0.7, ge=0, le=1)
    cloud_share: float = Field(default=0.5, ge=0, le=1)
    attitude: Literal["free", "downlink-first", "imaging-first"] = "free"
    slew_s: float = Field(default=60.0, ge=0, le=3600)
    revisit_h: float | None = Field(default=None, gt=0, allow_inf_nan=False)


class Compressors(Settings):
    """Megabytes of packed raw imagery that the computer on board compresses in a second.

    The usual values are those of raw frames of the sensor spot-6 on one thread of a server, 112, 30 and 8
    (`pipelines/results/lossless.md`), at 3.5 times less speed, as for `Processing.tile_ms`.

    Attributes:
        ccsds_121: CCSDS 121.0-B.
        jpeg_ls: JPEG-LS.
        jpeg_2000: JPEG 2000.
    """

    ccsds_121: float = Field(default=32.0, gt=0, allow_inf_nan=False)
    jpeg_ls: float = Field(default=8.6, gt=0, allow_inf_nan=False)
    jpeg_2000: float = Field(default=2.3, gt=0, allow_inf_nan=False)


class Processing(Settings):
    """The computer on board.

    Attributes:
        tile_px: Side of a tile.
        tile_ms: Time that a tile takes, gate and model together, as measured on the target. The usual value stands for
            a machine of 3.5 times less speed than one thread of a server, which takes 28.5 ms (benchmarks/gate.txt).
        watts: Power while it computes.
        compress_mb_s: Where it compresses whole scenes too, how fast. None for a compressor in hardware behind the
            camera, as most missions have: it takes no time, and its energy is not counted. That of chips and regions,
            of a few hundredths of the pixels, is not counted in either case.
        recall: Share of all ships that the model finds, of its card; `recall_low` and `recall_high` bound it.
        recall_source: Which card, which data.
    """

    tile_px: int = Field(default=768, ge=16)
    tile_ms: float = Field(default=100.0, gt=0, allow_inf_nan=False)
    watts: float = Field(default=10.0, ge=0, allow_inf_nan=False)
    compress_mb_s: Compressors | None = None
    # Of models/thin_unet32_e2m3/CARD.md: ship_recall on `val`, 24 ships, 95 % bootstrap interval.
    recall: float = Field(default=0.5, ge=0, le=1)
    recall_low: float = Field(default=0.304, ge=0, le=1)
    recall_high: float = Field(default=0.692, ge=0, le=1)
    recall_source: str = "thin_unet32_e2m3, 24 ships of val"


class Urgency(Settings):
    """How a kind of product is treated.

    Attributes:
        priority: 0 goes first.
        deadline_h: Age by which it should be on the ground; only counted.
        expires_h: Age from which on it is deleted on board; None keeps it.
    """

    priority: int = Field(ge=0, le=9)
    deadline_h: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    expires_h: float | None = Field(default=None, gt=0, allow_inf_nan=False)


class Urgencies(Settings):
    """The urgency of each level of the product ladder."""

    ships: Urgency = Urgency(priority=0, deadline_h=3.0)
    mask: Urgency = Urgency(priority=1, deadline_h=6.0)
    chips: Urgency = Urgency(priority=2, deadline_h=12.0)
    regions: Urgency = Urgency(priority=3, deadline_h=12.0)
    scene: Urgency = Urgency(priority=4, deadline_h=24.0)


class Ratios(Settings):
    """How many times smaller compression makes what the sensor gives.

    The usual values are those of synthetic raw frames of the sensor spot-6 with the green difference, without it for
    JPEG 2000, whose quality is the level of the frames' own noise (`pipelines/results/lossless.md`).

    Attributes:
        ccsds_121: CCSDS 121.0-B, lossless.
        jpeg_ls: JPEG-LS, lossless.
        jpeg_2000: JPEG 2000, lossy.
        jpeg_2000_psnr_db: At which quality.
    """

    ccsds_121: float = Field(default=1.79, gt=0, allow_inf_nan=False)
    jpeg_ls: float = Field(default=1.93, gt=0, allow_inf_nan=False)
    jpeg_2000: float = Field(default=8.06, gt=0, allow_inf_nan=False)
    jpeg_2000_psnr_db: float = Field(default=55.0, gt=0, allow_inf_nan=False)


class Sessions(Settings):
    """How contacts are planned and used.

    Attributes:
        handover_s: From the end of a satellite's contact to the start of its next.
        turnaround_s: From the end of an antenna's contact to the start of its next.
        shortest_s: Contacts that would be shorter are not used.
        uplink: Whether stations that have an uplink use it to ask for lost frames.
        frame_loss: Probability that a frame is lost.
    """

    handover_s: float = Field(default=30.0, ge=0, allow_inf_nan=False)
    turnaround_s: float = Field(default=60.0, ge=0, allow_inf_nan=False)
    shortest_s: float = Field(default=60.0, ge=0, allow_inf_nan=False)
    uplink: bool = True
    frame_loss: float = Field(default=0.0, ge=0, lt=1)


def _form(given: object) -> str:
    return "name" if isinstance(given, str) else "full"


# What each is, told by its form, so that a fault is that of one of both and not of each.
StationOrName = Annotated[Annotated[str, Tag("name")] | Annotated[Station, Tag("full")], Discriminator(_form)]
SensorOrName = Annotated[Annotated[str, Tag("name")] | Annotated[Sensor, Tag("full")], Discriminator(_form)]


class Scenario(Settings):
    """All of it.

    Attributes:
        orbit: The satellites.
        stations: Names of the catalogue, or stations in full.
        start: When the simulation begins.
        days: How long it is.
        seed: Of all chance.
        storage_bytes: Room on board of each satellite.
        transmitter_w: Electrical power of the transmitter while it sends.
        sensor: Name of a sensor, or a sensor in full.
        strategies: Which of `taran_eo.downlink.strategies.STRATEGIES`; None for all.
        link: Transmitter, waveform and losses.
        imaging: What is looked at.
        processing: The computer on board.
        priorities: What goes first.
        ratios: What compression gives.
        traffic: Which scenes there are to see.
        contacts: How contacts are planned.
        wire: Frames, their coding, and file delivery. Keys of `framing` that are not given are those of
            `USUAL_FRAMING`.
    """

    orbit: Flight
    stations: tuple[StationOrName, ...]
    start: datetime = datetime(2026, 11, 20, tzinfo=UTC)
    days: float = Field(default=1.0, gt=0, le=366)
    seed: int = Field(default=0, ge=0)
    storage_bytes: int = Field(default=500 * 10**9, gt=0)
    transmitter_w: float = Field(default=40.0, ge=0, allow_inf_nan=False)
    sensor: SensorOrName = "spot-6"
    strategies: tuple[str, ...] | None = None
    link: Link = Link()
    imaging: Imaging = Imaging()
    processing: Processing = Processing()
    priorities: Urgencies = Urgencies()
    ratios: Ratios = Ratios()
    traffic: Source = Source()
    contacts: Sessions = Sessions()
    wire: Wire = Wire(framing=USUAL_FRAMING)

    @field_validator("wire", mode="before")
    @classmethod
    def _usual_framing(cls, given: Any) -> Any:  # noqa: ANN401 - whatever was given
        framing = given.get("framing", {}) if isinstance(given, dict) else None
        usual = USUAL_FRAMING.model_dump(include={"spacecraft", "interleaving"})
        return {**given, "framing": {**usual, **framing}} if isinstance(framing, dict) else given

    @model_validator(mode="after")
    def _consistent(self) -> "Scenario":
        if not self.stations:
            raise ValueError("stations = [] receive nothing; name at least one")
        codewords, segment_bytes = self.wire.framing.interleaving, self.wire.cfdp.segment_bytes
        if self.link.family == "ccsds" and codewords:
            raise ValueError(
                f"wire.framing.interleaving = {codewords}, but the modes of link.family = 'ccsds' count codes of their "
                "own; set it to 0"
            )
        if segment_bytes is not None:
            raise ValueError(
                f"wire.cfdp.segment_bytes = {segment_bytes}, but a simulation counts segments that end with frames"
            )
        return self

    @property
    def duration_s(self) -> float:
        """Length of the simulation."""
        return self.days * DAY_S

    @property
    def one_way(self) -> bool:
        """Whether no station can ask for lost frames: then counts, ships and masks go twice, as `taran-eo run` sends.

        Stations are in full, as `resolved` has them.
        """
        return not (self.contacts.uplink and any(isinstance(each, Station) and each.uplink for each in self.stations))

    @property
    def overheads(self) -> Overheads:
        """What the wire adds."""
        return Overheads(self.wire.framing, self.wire.cfdp)

    def resolved(self) -> "Scenario":
        """The same with every station and the sensor in full, as it is kept beside its results.

        Raises:
            ConfigError: A station or a sensor that nobody knows.
        """
        stations = tuple(station_named(each) if isinstance(each, str) else each for each in self.stations)
        sensor = sensor_named(self.sensor) if isinstance(self.sensor, str) else self.sensor
        return self.model_copy(update={"stations": stations, "sensor": sensor})

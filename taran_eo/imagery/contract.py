"""The input contract: what a model expects of pixels. Imagery is brought to it, or refused by name."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from taran_eo.errors import ConfigError, ContractError

GSD_RANGE_M = 0.01, 10_000.0
"""Metres a pixel from which to which a user is believed: a drone over a quay, a weather satellite."""


@dataclass(frozen=True, slots=True)
class Contract:
    """What the pixels are that a model was trained on.

    There is no mean and no deviation here: normalization is inside the graph, integer pixels go in.

    Attributes:
        bands: Names of the bands in the order of the graph's input channels.
        bit_depth: Bits of a pixel; deeper scenes are stretched to it once per scene.
        gsd_m: Ground sampling distance in metres a pixel.
        gsd_tolerance: Largest relative difference from `gsd_m` that passes without a warning.
        tone: Tone curve; "display" means grey levels as distributed for viewing (like sRGB), not radiance.
        nodata: Grey level that stands in for pixels without data.
    """

    bands: tuple[str, ...] = ("red", "green", "blue")
    bit_depth: int = 8
    gsd_m: float = 1.5
    gsd_tolerance: float = 0.2
    tone: str = "display"
    nodata: int = 0

    def __post_init__(self) -> None:
        supported: tuple[tuple[str, object, bool], ...] = (
            ("bands", self.bands, len(self.bands) >= 1 and all(isinstance(b, str) and b for b in self.bands)),
            ("bit_depth", self.bit_depth, self.bit_depth == 8),
            ("gsd_m", self.gsd_m, 0 < self.gsd_m < float("inf")),
            ("gsd_tolerance", self.gsd_tolerance, 0 < self.gsd_tolerance < 1),
            ("tone", self.tone, self.tone == "display"),
            ("nodata", self.nodata, self.nodata == 0),
        )
        for name, value, good in supported:
            if not good:
                raise ContractError(
                    f"The input contract has {name} = {value!r}, which this version cannot serve",
                    remedy=f"Use a value like the default, {_DEFAULTS[name]!r}",
                    field=name,
                    value=value,
                )

    def check_request(self, bands: tuple[int, ...] | None, gsd_m: float | None) -> None:
        """Refuse bands and a scale that no scene could be opened with; None leaves them to the scene.

        Raises:
            ConfigError: They make no sense.
        """
        if bands is not None and (len(bands) not in (1, len(self.bands)) or min(bands) < 1):
            raise ConfigError(
                f"The bands {','.join(map(str, bands))} cannot serve as {', '.join(self.bands)}",
                remedy=f"Name {len(self.bands)} bands, counted from 1, or a single one to be repeated",
                bands=bands,
            )
        finest_m, coarsest_m = GSD_RANGE_M
        if gsd_m is not None and not finest_m <= gsd_m <= coarsest_m:
            raise ConfigError(
                f"A ground sampling distance of {gsd_m:g} m makes no sense",
                remedy=f"Give metres a pixel, {finest_m:g} to {coarsest_m:g}",
                gsd_m=gsd_m,
            )

    def to_dict(self) -> dict[str, Any]:
        """This contract as plain values, for a TOML or JSON file; `from_dict` is its inverse."""
        return {**asdict(self), "bands": list(self.bands)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Contract":
        """The contract that `to_dict` wrote; absent fields have their defaults.

        Raises:
            ContractError: A field is unknown, of the wrong type, or has a value that is not supported.
        """
        unknown = sorted(set(values) - set(_DEFAULTS))
        if unknown:
            raise ContractError(
                f"The input contract has the unknown field {unknown[0]!r}",
                remedy=f"The fields are {', '.join(_DEFAULTS)}; a newer version may know more",
                field=unknown[0],
            )
        try:
            known = {name: _KINDS[name](value) for name, value in values.items()}
        except (TypeError, ValueError) as error:
            raise ContractError(
                f"The input contract has a field of the wrong type: {error}",
                remedy=f"Give values like the defaults, {_DEFAULTS}",
            ) from error
        return cls(**known)


_DEFAULTS: dict[str, Any] = {field.name: field.default for field in fields(Contract)}
_KINDS: dict[str, Any] = {name: type(value) for name, value in _DEFAULTS.items()}

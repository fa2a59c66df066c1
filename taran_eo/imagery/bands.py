"""Which bands of a file feed which channels of the contract."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from taran_eo.errors import ContractError
from taran_eo.imagery.contract import Contract


@dataclass(frozen=True, slots=True)
class BandChoice:
    """The answer of `choose_bands`.

    Attributes:
        indexes: 1-based bands to read, in the contract's order; a single one is repeated for all channels.
        warnings: What the user should know about the choice.
    """

    indexes: tuple[int, ...]
    warnings: tuple[str, ...] = ()


def choose_bands(path: Path, meanings: Sequence[str], wanted: tuple[int, ...] | None, contract: Contract) -> BandChoice:
    """Choose the bands of a file that a contract asks for.

    Without a selection, bands that the file itself names like the contract's (red, green, blue) are taken;
    else the first ones that are not alpha, with a warning where more are there than needed. A single band is
    repeated, with a warning.

    Args:
        path: The file, for messages.
        meanings: Colour interpretation of each band in the file, such as "red", "gray", "alpha", "undefined".
        wanted: 1-based bands selected by the user, as many as `contract` accepts, or None.
        contract: The input contract.

    Raises:
        ContractError: The selection names bands that are not there, or there are fewer than needed.
    """
    need = len(contract.bands)
    colours = tuple(i for i, meaning in enumerate(meanings, 1) if meaning != "alpha")
    chosen = colours if wanted is None else wanted
    if any(not 1 <= index <= len(meanings) for index in chosen):
        raise ContractError(
            f"{path} has {len(meanings)} bands, not the bands {','.join(map(str, chosen))} asked for",
            remedy=f"Name {need} bands between 1 and {len(meanings)}",
            path=path,
            bands=chosen,
        )
    if len(chosen) == 1:
        one = f"{path.name} has one band, repeated for {', '.join(contract.bands)}; expect a lower accuracy"
        return BandChoice(chosen, (one,) if need > 1 and wanted is None else ())
    if len(chosen) < need:
        raise ContractError(
            f"{path} offers {len(chosen)} bands, and the model needs {need} ({', '.join(contract.bands)})",
            remedy="Name a single one of its bands, to be repeated",
            path=path,
            bands=chosen,
        )
    if wanted is not None:
        return BandChoice(chosen)
    if all(list(meanings).count(name) == 1 for name in contract.bands):
        named = tuple(meanings.index(name) + 1 for name in contract.bands)
        return BandChoice(named, _spare(path, colours, named, contract))
    return BandChoice(colours[:need], _spare(path, colours, colours[:need], contract))


def _spare(path: Path, colours: tuple[int, ...], taken: tuple[int, ...], contract: Contract) -> tuple[str, ...]:
    if len(colours) == len(taken):
        return ()
    return (
        f"{path.name} has {len(colours)} bands; using bands {','.join(map(str, taken))} as "
        f"{', '.join(contract.bands)}; name the bands if that is wrong",
    )

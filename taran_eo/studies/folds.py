"""Labelled images dealt into folds; images that show the same water are never parted."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from taran_eo.errors import ConfigError
from taran_eo.imagery import LabelledImage


def deal(images: Sequence[LabelledImage], folds: int, water: Mapping[str, frozenset[str]]) -> list[list[LabelledImage]]:
    """Deal images into folds, so that each gets its part of large ships, small ships and empty sea.

    Images that show the same water stay together. Depends on nothing but the images and their masks.

    Raises:
        ConfigError: There are fewer groups than folds.
    """
    groups = together(images, water)
    if len(groups) < folds:
        raise ConfigError(
            f"{len(groups)} independent images cannot be dealt into {folds} folds", remedy="Ask for fewer folds"
        )
    pixels = [sum(int(image.mask().sum()) for image in group) for group in groups]
    order = sorted(range(len(groups)), key=lambda index: -pixels[index])
    dealt: list[list[LabelledImage]] = [[] for _ in range(folds)]
    for place, index in enumerate(order):
        turn, seat = divmod(place, folds)
        dealt[seat if turn % 2 == 0 else folds - 1 - seat] += groups[index]  # there and back, as teams are chosen
    return dealt


def together(images: Iterable[LabelledImage], water: Mapping[str, frozenset[str]]) -> list[list[LabelledImage]]:
    """The images in groups that show the same water, directly or by way of another image; in the order of names."""
    by_name = {image.path.name: image for image in images}
    groups: list[list[LabelledImage]] = []
    seen: set[str] = set()
    for name in sorted(by_name):
        group, near = [], [name]
        while near:
            one = near.pop()
            if one not in seen:
                seen.add(one)
                near += sorted(water.get(one, ()))
                group += [by_name[one]] if one in by_name else []
        groups += [group] if group else []
    return groups


class _Pair(BaseModel):
    image: str
    other: str


class _Water(BaseModel):
    pairs: tuple[_Pair, ...]


class _Shore(BaseModel):
    images: frozenset[str]


_Table = TypeVar("_Table", bound=BaseModel)


def shared_water(path: Path | None) -> dict[str, frozenset[str]]:
    """Read which images show the same water, by name, both ways; nothing without a file.

    Raises:
        ConfigError: The file cannot be read or has another form.
    """
    near: dict[str, frozenset[str]] = {}
    for pair in () if path is None else _read(path, _Water, "which images show the same water").pairs:
        for one, other in ((pair.image, pair.other), (pair.other, pair.image)):
            near[one] = near.get(one, frozenset()) | {other}
    return near


def near_shore(path: Path | None) -> frozenset[str]:
    """Names of the images that show land, a pier or a breakwater; none without a file.

    Raises:
        ConfigError: The file cannot be read or has another form.
    """
    return frozenset() if path is None else _read(path, _Shore, "which images show a shore").images


def _read(path: Path, table: type[_Table], what: str) -> _Table:
    try:
        return table.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise ConfigError(
            f"{path} does not tell {what}: {error}", remedy="Write it as those in pipelines/results", path=path
        ) from error


def with_water(images: Iterable[LabelledImage], water: Mapping[str, frozenset[str]]) -> frozenset[str]:
    """Names of the images and of all that share water with them."""
    names = frozenset(image.path.name for image in images)
    return names.union(*(water.get(name, frozenset()) for name in names))

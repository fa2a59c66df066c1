"""Cross-validation: every labelled tile is scored by networks that saw neither it nor the water that it shows.

What the folds have in common (everything learned from other imagery) is trained once; in each fold a reference network
goes on from there with the tiles of the other folds, and each variant goes on from the reference. All of it may be
repeated with other seeds. A study that was killed goes on where it was.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np

from taran_eo.config import load_toml, parse
from taran_eo.errors import ConfigError, DivergedError
from taran_eo.imagery import LabelledImage, read_labels
from taran_eo.provenance import Provenance
from taran_eo.studies.answer import Answer, Scored, found
from taran_eo.studies.folds import deal, near_shore, shared_water, together, with_water
from taran_eo.studies.part import LOGITS, SCORES, Costs, Report, carry_out_part
from taran_eo.studies.study import COMMON, RANDOM, REFERENCE, Extent, FoldStudy, Part, folder_name
from taran_eo.train import WEIGHTS, Recipe, Source


@dataclass(frozen=True)
class Cell:
    """A network of a study to be trained and scored.

    Attributes:
        network: Its name.
        part: What is said of it.
        fold: The tiles that it must not see; None is all of them.
        seed: What is added to that of the recipe.
        start: Folder of the run that it goes on from, within that of the study; empty where the recipe says it.
    """

    network: str
    part: Part
    fold: int | None
    seed: int
    start: str

    @property
    def place(self) -> str:
        """Its folder within that of the study."""
        return _place(self.network, self.fold, self.seed)

    @property
    def base(self) -> bool:
        """Whether others build on it: they start from it, or are read at the threshold that it tells."""
        return self.network in (COMMON, REFERENCE)


def cells(study: FoldStudy) -> Iterator[Cell]:
    """Every cell of a study, in the order in which they are carried out."""
    if study.common is not None:
        yield Cell(COMMON, study.common, None, study.seeds[0], "")
    for number, seed in enumerate(study.seeds):
        for fold in range(study.folds):
            if study.reference is not None:
                yield Cell(REFERENCE, study.reference, fold, seed, "" if study.common is None else COMMON)
        for variant in study.variants:
            if number >= (variant.seeds or len(study.seeds)):
                continue
            if variant.start == RANDOM or variant.once:
                yield Cell(variant.name, variant, None, seed, variant.start)
                continue
            for fold in range(min(variant.folds or study.folds, study.folds)):
                start = COMMON if variant.start == COMMON else _place(REFERENCE, fold, seed)
                yield Cell(variant.name, variant, fold, seed, start)


def run(
    study: FoldStudy, folder: Path, report: Callable[[str], Report], *, only: str = "*", restart: bool = False
) -> Answer:
    """Carry out a study, or what is left of it.

    Args:
        study: The study.
        folder: Where each run gets its own folder.
        report: Called with the name of each run as it begins; gives what is called after each of its steps.
        only: Which cells are carried out: a pattern (`fnmatch`) of their folders, e.g. ``fold_0/seed_0/*``; and what
            they build on, the common network and all references of their seeds. Others are told if they are there.
        restart: Whether those that match begin anew.

    Raises:
        ConfigError: A recipe or a table is missing or does not fit, or a folder holds runs of another study.
        DivergedError: The common network or a reference diverged.
    """
    tables = [read_labels(tiles.images, tiles.masks) for tiles in study.tiles]
    everything = [image for table in tables for image in table]
    twice = [name for name, count in Counter(image.path.name for image in everything).items() if count > 1]
    if twice:
        raise ConfigError(f"{twice[0]} is the name of several tiles", remedy="Give each tile a name of its own")
    water, shore = shared_water(study.shared_water), near_shore(study.near_shore)
    group_of = {image.path.name: group[0].path.name for group in together(everything, water) for image in group}
    dealt = deal(everything, study.folds, water)
    for fold, held in enumerate(dealt):
        if not any(image.ships for image in held):
            raise ConfigError(f"Fold {fold} holds no ship, so nothing can be scored in it", remedy="Take fewer folds")
    fold_of = {image.path.name: fold for fold, held in enumerate(dealt) for image in held}
    every = tuple(cells(study))
    seeds = {cell.seed for cell in every if fnmatchcase(cell.place, only)}
    seen: list[Scored] = []
    made: dict[str, Provenance] = {}
    diverged: dict[str, list[tuple[int, int]]] = {}
    costs: dict[str, list[Costs]] = {}
    judges = study.judges
    for cell in every:
        built_on = cell.base and (cell.seed in seeds or (cell.fold is None and bool(seeds)))
        wanted = built_on or fnmatchcase(cell.place, only)
        if not (wanted or (folder / cell.place / SCORES).exists()):
            continue
        held = everything if cell.fold is None else dealt[cell.fold]
        judge = judges.get(cell.network)
        done = carry_out_part(
            _recipe(cell, study, folder, tables, with_water(held, water)),
            folder / cell.place,
            held,
            report,
            wanted=wanted,
            anew=restart and fnmatchcase(cell.place, only),
            keep=cell.network in judges.values(),
            beside=None if judge is None else folder / _place(judge, cell.fold, cell.seed) / LOGITS,
        )
        if done.made is None:
            if cell.base:
                raise DivergedError(
                    f"{cell.place} diverged, and others build on it",
                    remedy="Lower schedule.learning_rate of its recipe",
                )
            diverged.setdefault(cell.network, []).append((cell.fold or 0, cell.seed))
            continue
        made[cell.place] = done.made
        if done.costs is not None:
            costs.setdefault(cell.network, []).append(done.costs)
        for name, tile in done.tiles.items():
            curve, agreed = (
                tuple(replace(one, group=group_of[name]) for one in scores) for scores in (tile.curve, tile.agreement)
            )
            seen.append(Scored(name, fold_of[name], cell.seed, cell.network, curve, agreed))
    return found(study, seen, made, diverged, shore, costs)


def _recipe(
    cell: Cell,
    study: FoldStudy,
    folder: Path,
    tables: Sequence[Sequence[LabelledImage]],
    hidden: frozenset[str],
) -> Recipe:
    """The recipe of a cell, which never sees the images that are hidden from it."""
    if isinstance(cell.part, Extent) and cell.part.tiles is not None:
        names = sorted({image.path.name for table in tables for image in table} - hidden)
        hidden |= frozenset(np.random.default_rng(cell.seed).permutation(names)[cell.part.tiles :].tolist())
    recipe = load_toml(cell.part.recipe, Recipe, cell.part.set)
    if recipe.images is not None:
        raise ConfigError(
            f"{cell.part.recipe} classifies pictures, and a study with [[tiles]] finds ships",
            remedy="Give it a recipe with [[source]], or the study [[row]]s in place of tiles",
        )
    sources = [one for source in recipe.source for one in _widened(source, study, tables)]
    start = {"": recipe.start, RANDOM: None}.get(cell.start, folder / cell.start / WEIGHTS)
    changes = {
        "name": f"{study.name}/{cell.place}",
        "seed": recipe.seed + cell.seed,
        "source": tuple(_without(source, hidden) for source in sources),
        "start": start,
        "held_out": (),
        "publication": None,
    }
    # Read once more, as its rules hold for what it has become, too.
    return parse(recipe.model_copy(update=changes).model_dump(mode="json"), Recipe, source=str(changes["name"]))


def _place(network: str, fold: int | None, seed: int) -> str:
    """The folder of a run within that of the study; without a fold it saw none of the dealt tiles."""
    word = folder_name(network)
    if fold is None:
        return word if network == COMMON else f"seed_{seed}/{word}"
    return f"fold_{fold}/seed_{seed}/{word}"


def _without(source: Source, hidden: frozenset[str]) -> Source:
    return source.model_copy(update={"exclude": (*source.exclude, *sorted(hidden))})


def _widened(source: Source, study: FoldStudy, images: Sequence[Sequence[LabelledImage]]) -> Iterator[Source]:
    """A source of labelled tiles becomes one of each folder of them, with shares by the number of images."""
    if source.images not in {tiles.images for tiles in study.tiles}:
        yield source
        return
    whole = sum(map(len, images))
    for tiles, part in zip(study.tiles, images, strict=True):
        shares = {name: getattr(source, name) * len(part) / whole for name in ("ship_share", "empty_share")}
        yield source.model_copy(update={"images": tiles.images, "masks": tiles.masks, **shares})

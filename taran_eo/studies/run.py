"""Cross-validation: every labelled tile is scored by networks that saw neither it nor the water that it shows.

What the folds have in common (everything learned from other imagery) is trained once; in each fold a reference network
goes on from there with the tiles of the other folds, and each variant goes on from the reference. All of it may be
repeated with other seeds. A study that was killed goes on where it was.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from taran_eo.config import load_toml
from taran_eo.errors import ConfigError, DivergedError
from taran_eo.imagery import LabelledImage, read_labels
from taran_eo.provenance import Provenance
from taran_eo.studies.answer import Answer, Scored, found
from taran_eo.studies.folds import deal, near_shore, shared_water, together, with_water
from taran_eo.studies.part import LOGITS, SCORES, Report, carry_out_part
from taran_eo.studies.study import COMMON, RANDOM, REFERENCE, Extent, FoldStudy, Part
from taran_eo.train import WEIGHTS, Recipe, Source


def run(study: FoldStudy, folder: Path, report: Callable[[str], Report], *, train: bool = True) -> Answer:
    """Carry out a study, or what is left of it.

    Args:
        study: The study.
        folder: Where each run gets its own folder.
        report: Called with the name of each run as it begins; gives what is called after each of its steps.
        train: Whether to carry out what is left, or only to tell what is there.

    Raises:
        ConfigError: A recipe or a table is missing or does not fit, or a folder holds runs of another study.
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
    seen: list[Scored] = []
    made: dict[str, Provenance] = {}
    diverged: dict[str, list[tuple[int, int]]] = {}
    judges = study.judges

    def carry(part: Part, network: str, fold: int | None, seed: int, start: str | None) -> None:
        place = _place(network, fold, seed)
        held = everything if fold is None else dealt[fold]
        hidden = with_water(held, water)
        if isinstance(part, Extent) and part.tiles is not None:
            names = sorted({image.path.name for image in everything} - hidden)
            hidden |= frozenset(np.random.default_rng(seed).permutation(names)[part.tiles :].tolist())
        recipe = load_toml(part.recipe, Recipe, part.set)
        sources = [one for source in recipe.source for one in _widened(source, study, tables)]
        # What comes first may go on from a run that saw none of the tiles either; its recipe says from which.
        begun = recipe.start if start is None else None if start == RANDOM else folder / start / WEIGHTS
        changes = {
            "name": f"{study.name}/{place}",
            "seed": recipe.seed + seed,
            "source": tuple(_without(source, hidden) for source in sources),
            "start": begun,
            "held_out": (),
            "publication": None,
        }
        if not train and not (folder / place / SCORES).exists():
            return
        judge = judges.get(network)
        done = carry_out_part(
            recipe.model_copy(update=changes),
            folder / place,
            held,
            report,
            keep=network in judges.values(),
            beside=None if judge is None else folder / _place(judge, fold, seed) / LOGITS,
        )
        if done.made is None:
            diverged.setdefault(network, []).append((fold or 0, seed))
            return
        made[place] = done.made
        for name, tile in done.tiles.items():
            curve, agreed = (
                tuple(replace(one, group=group_of[name]) for one in scores) for scores in (tile.curve, tile.agreement)
            )
            seen.append(Scored(name, fold_of[name], seed, network, curve, agreed))

    if study.common is not None:
        carry(study.common, COMMON, None, study.seeds[0], None)
    for place, seed in enumerate(study.seeds):
        for fold in range(study.folds):
            if study.reference is None:
                break
            carry(study.reference, REFERENCE, fold, seed, None if study.common is None else COMMON)
            if REFERENCE in diverged:
                raise DivergedError(
                    f"The reference of fold {fold} diverged, and every variant starts from it",
                    remedy="Lower schedule.learning_rate of its recipe",
                )
        for variant in study.variants:
            if place >= (variant.seeds or len(study.seeds)):
                continue
            if variant.start == RANDOM:
                carry(variant, variant.name, None, seed, RANDOM)
                continue
            for fold in range(min(variant.folds or study.folds, study.folds)):
                start = COMMON if variant.start == COMMON else _place(REFERENCE, fold, seed)
                carry(variant, variant.name, fold, seed, start)
    return found(study, seen, made, diverged, shore)


def _place(network: str, fold: int | None, seed: int) -> str:
    """The folder of a run within that of the study; without a fold it saw none of the dealt tiles."""
    word = network.replace(",", "").replace(" ", "_").replace("/", "-")
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

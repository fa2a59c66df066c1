"""Cross-validation: every labelled tile is scored by networks that saw neither it nor the water that it shows.

What the folds have in common (everything learned from other imagery) is trained once; in each fold a reference network
goes on from there with the tiles of the other folds, and each variant goes on from the reference. All of it may be
repeated with other seeds. A study that was killed goes on where it was.
"""

import csv
import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Final, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, TypeAdapter, ValidationError, model_validator

from taran_eo.config import Settings, load_toml
from taran_eo.engines import open_engine
from taran_eo.errors import ConfigError, DivergedError
from taran_eo.evaluation import Answer as Prediction
from taran_eo.evaluation import Predict, answers
from taran_eo.graph import Graph
from taran_eo.imagery import LabelledImage, read_labels
from taran_eo.metrics import Comparison, Interval, Scores, TileScore, aggregate, agreement, compare, score_tile
from taran_eo.provenance import Environment, Provenance, cores, sha256_config, sha256_file
from taran_eo.studies.publish import CONTRACT
from taran_eo.train import WEIGHTS, Progress, Recipe, Source, Trained, carry_out

COMMON: Final = "common"
REFERENCE: Final = "reference"
RANDOM: Final = "random"
SCORES = "tiles.json"
"""The scores of a network's held-out tiles, beside its weights: while it is missing, the part is not done."""

LOGITS: Final = "logits.npz"
"""The logits of its held-out tiles by name, where quantized networks are compared with it."""

PROBABILITIES = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995)
"""From which a pixel may be called ship: every held-out tile is scored at each of them."""

HALF = PROBABILITIES.index(0.5)
"""Position of the probability that is taken where none can be chosen."""

Report = Callable[[Progress], None]


class Part(Settings):
    """A training run of the study.

    Attributes:
        recipe: File of the recipe.
        set: Changes to it, as after ``--set``.
    """

    recipe: Path
    set: tuple[str, ...] = ()


class Extent(Part):
    """A part that need not be run everywhere.

    Attributes:
        control: The variant before it that it is compared with, so that they differ in one thing; None is the
            reference.
        folds: Run in so many folds only, the first ones; None is all.
        seeds: Run with so many seeds only, the first ones; None is all.
        start: Which weights it goes on from: those of the reference, or of the common network. With ``random`` it is
            trained once, like the common network without any of the dealt tiles, and scored on all of them.
        tiles: Train on so many of the dealt tiles only, drawn once; None is all that are not held out.
    """

    control: str | None = None
    folds: int | None = Field(None, ge=1)
    seeds: int | None = Field(None, ge=1)
    start: Literal["reference", "common", "random"] = "reference"
    tiles: int | None = Field(None, ge=1)


class Variant(Extent):
    """A `[[variant]]` table: a run in each fold that goes on from the reference.

    Attributes:
        name: What its scores are called.
        formats: Its formats, as in a grid; None is float.
        setting: What else it is, as in a grid.
    """

    name: str
    formats: str | None = None
    setting: str | None = None


class Grid(Extent):
    """A `[[grid]]` table: one variant for each of several formats, which differ in nothing else.

    Attributes:
        formats: Names of formats for weights and activations; ``a/b`` has weights ``a`` and activations ``b``.
        setting: What the rows have in common, in a word or two; part of their names.
    """

    formats: tuple[str, ...] = Field(min_length=1)
    setting: str

    def variants(self) -> Iterator[Variant]:
        """The variants."""
        common = {name: getattr(self, name) for name in Extent.model_fields if name != "set"}
        for formats in self.formats:
            weights, _, activations = formats.partition("/")
            changes = [f'quantization.weights="{weights}"']
            changes += [f'quantization.activations="{activations}"'] if activations else []
            yield Variant(
                name=f"{formats} {self.setting}",
                formats=formats,
                setting=self.setting,
                set=(*self.set, *changes),
                **common,
            )


class Labelled(Settings):
    """A `[[tiles]]` table: labelled tiles that are dealt into the folds.

    Attributes:
        images: Folder of the images.
        masks: CSV of their masks.
    """

    images: Path
    masks: Path


class FoldStudy(Settings):
    """A cross-validation; paths are relative to the working directory.

    Attributes:
        name: Name of the study.
        question: What it is for, in a sentence.
        folds: Parts that the tiles are dealt into.
        seeds: What is added to the seeds of the recipes, once for each repetition.
        margin: Difference in IoU within which two networks count as equivalent.
        tiles: What is dealt. A source of a recipe that reads one of these folders stands for all of them.
        shared_water: JSON with ``pairs`` of an ``image`` and an ``other`` that show the same water. Such images are in
            one fold, and whatever shares water with a held-out tile is not trained on.
        near_shore: JSON with the ``images`` that show land, a pier or a breakwater: their ships and false alarms are
            told apart from those of the open sea.
        results: Where the tables and plots go, a path without an ending; None is beside the runs.
        common: The run before the folds, without any tile. It starts from what its recipe says, and without it the
            references do: weights that saw none of the tiles, or random ones.
        reference: The run in each fold that variants start from and are compared with; None where none does.
        variant: The variants.
        grid: More of them, by formats, after the others.
        pairs: Names of two networks each, to be compared beside the controls.
    """

    name: str
    question: str
    folds: int = Field(5, ge=2)
    seeds: tuple[int, ...] = Field((0,), min_length=1)
    margin: float = Field(0.003, gt=0)
    tiles: tuple[Labelled, ...]
    shared_water: Path | None = None
    near_shore: Path | None = None
    results: Path | None = None
    common: Part | None = None
    reference: Part | None = None
    variant: tuple[Variant, ...] = ()
    grid: tuple[Grid, ...] = ()
    pairs: tuple[tuple[str, str], ...] = ()

    @cached_property
    def variants(self) -> tuple[Variant, ...]:
        """All of them."""
        return (*self.variant, *(each for grid in self.grid for each in grid.variants()))

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [COMMON, REFERENCE, *(each.name for each in self.variants)]
        if len(set(names)) < len(names):
            raise ValueError(f"each network needs a name of its own, not {names}")
        return self

    @model_validator(mode="after")
    def _starts_are_there(self) -> Self:
        for each in self.variants:
            if each.start != RANDOM and getattr(self, each.start) is None:
                raise ValueError(f"{each.name} starts from `{each.start}`, which the study has not")
        return self

    @model_validator(mode="after")
    def _controls_and_pairs_are_there(self) -> Self:
        before = [REFERENCE] if self.reference else []
        for each in self.variants:
            if each.control is not None and each.control not in before:
                raise ValueError(f"the control {each.control} of {each.name} is none of {before}")
            before.append(each.name)
        for name in (name for pair in self.pairs for name in pair if name not in before):
            raise ValueError(f"{name} of `pairs` is none of {before}")
        return self

    @property
    def controls(self) -> dict[str, str | None]:
        """What each network is compared with; None for the reference, and where there is no reference."""
        usual = REFERENCE if self.reference else None
        controls: dict[str, str | None] = {REFERENCE: None} if self.reference else {}
        if self.common:
            controls[COMMON] = usual
        return controls | {variant.name: variant.control or usual for variant in self.variants}

    @property
    def judges(self) -> dict[str, str]:
        """The float network that each quantized one should say the same as: its control, if it has one."""
        quantized = {variant.name for variant in self.variants if variant.formats is not None}
        return {name: control for name, control in self.controls.items() if name in quantized and control is not None}


@dataclass(frozen=True)
class Scored:
    """A held-out tile, scored.

    Attributes:
        image: File name of the tile.
        fold: The fold that it was dealt to, which the network was not trained on.
        seed: What was added to the seeds.
        network: Name of the variant, ``reference`` or ``common``.
        curve: Its scores at each of `PROBABILITIES`.
        agreement: For a quantized network, its pixels against those of its control at each of `PROBABILITIES`.
        position: That of the probability that was chosen without the tiles of this fold.
    """

    image: str
    fold: int
    seed: int
    network: str
    curve: tuple[TileScore, ...]
    agreement: tuple[TileScore, ...] = ()
    position: int = HALF

    @property
    def score(self) -> TileScore:
        """Its score at the chosen probability."""
        return self.curve[self.position]


@dataclass(frozen=True)
class Row:
    """What a study found of one network: the common one, the reference or a variant.

    Attributes:
        name: The network.
        control: What it is compared with; None for the reference itself, and for the common network.
        scores: Over the tiles of all its folds and seeds, with intervals over tiles, given the networks; None where
            every run diverged.
        comparison: With its control in the same folds and with the same seeds; None without a control.
        agreement: IoU of its ship pixels with those of its control; None unless it is quantized.
        iou: IoU by fold and seed; None where it is not defined.
        probabilities: From which a pixel is called ship, by fold and seed.
        diverged: Folds and seeds of the runs that diverged, which are in none of the figures.
    """

    name: str
    control: str | None
    scores: Scores | None
    comparison: Comparison | None
    agreement: Interval | None
    iou: Mapping[tuple[int, int], float | None]
    probabilities: Mapping[tuple[int, int], float]
    diverged: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Pair:
    """Two networks compared, in the folds and with the seeds that both have.

    Attributes:
        networks: Their names.
        comparison: The first less the second.
        agreement: By how much more the first agrees with its control; None unless both are quantized.
    """

    networks: tuple[str, str]
    comparison: Comparison
    agreement: Interval | None


@dataclass(frozen=True)
class Answer:
    """What a study found.

    Attributes:
        rows: One a network.
        pairs: Those that were asked for and have something in common.
        tiles: What they were computed from.
        made: How each network came to be, by its place.
    """

    rows: tuple[Row, ...]
    pairs: tuple[Pair, ...]
    tiles: tuple[Scored, ...]
    made: Mapping[str, Provenance]


@dataclass(frozen=True)
class _Tile:
    curve: tuple[TileScore, ...]
    agreement: tuple[TileScore, ...]


@dataclass(frozen=True)
class _Done:
    """A part of a study that was trained and scored.

    Attributes:
        identity: Of the recipe and its inputs.
        made: How the network came to be; None where the run diverged.
        tiles: The scores of its held-out images by name; none where the run diverged.
    """

    identity: str
    made: Provenance | None
    tiles: Mapping[str, _Tile]


_DONE = TypeAdapter(_Done)


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
    water = shared_water(study.shared_water)
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
        hidden = _with_water(held, water)
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
        done = _part(
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
    tiles = tuple(choose(seen, judges))
    rows = tuple(_row(name, control, tiles, diverged, study.margin) for name, control in study.controls.items())
    pairs = (_pair(networks, tiles, study.margin) for networks in study.pairs)
    return Answer(rows, tuple(pair for pair in pairs if pair is not None), tiles, made)


def choose(tiles: Iterable[Scored], judges: Mapping[str, str]) -> Iterator[Scored]:
    """Choose from which probability a pixel is called ship: the one of the highest IoU over all other folds.

    A quantized network is read at that of its float control, so that nothing but its arithmetic tells the two apart.

    Args:
        tiles: Scored tiles.
        judges: For a network, the one whose scores decide, in the same seed; those that are not in it decide alone.

    Yields:
        The tiles, in order, each with the position of its fold; that of one half where no other fold was scored.
    """
    tiles = tuple(tiles)
    counts: dict[tuple[str, int], dict[int, NDArray[np.int64]]] = {}
    for tile in tiles:
        one = np.array([(at.true_positive_px, at.false_positive_px + at.false_negative_px) for at in tile.curve])
        folds = counts.setdefault((tile.network, tile.seed), {})
        folds[tile.fold] = folds.get(tile.fold, np.zeros_like(one)) + one
    for tile in tiles:
        folds = counts.get((judges.get(tile.network, tile.network), tile.seed), {})
        others = sum(one for fold, one in folds.items() if fold != tile.fold)
        position = HALF if isinstance(others, int) else int(np.argmax(others[:, 0] / np.maximum(1, others.sum(axis=1))))
        yield replace(tile, position=position)


def _place(network: str, fold: int | None, seed: int) -> str:
    """The folder of a run within that of the study; without a fold it saw none of the dealt tiles."""
    word = network.replace(",", "").replace(" ", "_").replace("/", "-")
    if fold is None:
        return word if network == COMMON else f"seed_{seed}/{word}"
    return f"fold_{fold}/seed_{seed}/{word}"


def _row(
    name: str,
    control: str | None,
    tiles: Sequence[Scored],
    diverged: Mapping[str, Sequence[tuple[int, int]]],
    margin: float,
) -> Row:
    own = [tile for tile in tiles if tile.network == name]
    agreed = [tile.agreement[tile.position] for tile in own if tile.agreement]
    return Row(
        name,
        control,
        aggregate([tile.score for tile in own], rng=np.random.default_rng(0)) if own else None,
        None if control is None else _compare(tiles, name, control, margin, _score),
        aggregate(agreed, rng=np.random.default_rng(0)).iou if agreed else None,
        {place: aggregate(each, rng=np.random.default_rng(0)).iou.value for place, each in _cells(own, _score).items()},
        {(tile.fold, tile.seed): PROBABILITIES[tile.position] for tile in own},
        tuple(diverged.get(name, ())),
    )


def _pair(networks: tuple[str, str], tiles: Sequence[Scored], margin: float) -> Pair | None:
    first, second = networks
    comparison = _compare(tiles, first, second, margin, _score)
    if comparison is None:
        return None
    both = all(tile.agreement for tile in tiles if tile.network in networks)
    agreed = _compare(tiles, first, second, margin, lambda tile: tile.agreement[tile.position]) if both else None
    return Pair(networks, comparison, None if agreed is None else agreed.differences["iou"])


Score = Callable[[Scored], TileScore]


def _score(tile: Scored) -> TileScore:
    return tile.score


def _compare(tiles: Sequence[Scored], first: str, second: str, margin: float, score: Score) -> Comparison | None:
    """The first network less the second, where both were scored."""
    ones, others = (_cells([tile for tile in tiles if tile.network == name], score) for name in (first, second))
    cells = {place: (others[place], ones[place]) for place in ones if place in others}
    return compare(cells, margin=margin, rng=np.random.default_rng(0)) if cells else None


def _cells(tiles: Iterable[Scored], score: Score) -> dict[tuple[int, int], list[TileScore]]:
    """The scores of a network by fold and seed, in the order of the images' names."""
    cells: dict[tuple[int, int], list[TileScore]] = {}
    for tile in sorted(tiles, key=lambda each: each.image):
        cells.setdefault((tile.fold, tile.seed), []).append(score(tile))
    return cells


def save(answer: Answer, study: FoldStudy, folder: Path, result_file: Path) -> None:
    """Write what a study found as JSON, and in the folder of its runs ``tiles.csv``, from which it follows."""
    files = {tiles.masks for tiles in study.tiles} | ({study.shared_water} if study.shared_water else set())
    inputs = {str(path): sha256_file(path) for path in sorted(files)}
    environments: list[Environment] = []
    for part in answer.made.values():
        inputs |= part.inputs or {}
        environments += (each for each in part.environments if each not in environments)
    made = Provenance(tuple(environments), config_sha256=sha256_config(study), inputs=inputs)
    result = {
        "name": study.name,
        "question": study.question,
        "rows": {row.name: _told(row) for row in answer.rows},
        "pairs": [
            {"first": pair.networks[0], "second": pair.networks[1], "less": _differences(pair.comparison)}
            | ({} if pair.agreement is None else {"agrees more": asdict(pair.agreement)})
            for pair in answer.pairs
        ],
        "provenance": made.to_dict(),
        "recipes": {place: part.config_sha256 for place, part in answer.made.items()},
    }
    result_file.parent.mkdir(parents=True, exist_ok=True)
    result_file.write_text(json.dumps(result, indent=1) + "\n")
    with (folder / "tiles.csv").open("w", newline="") as file:
        table = csv.writer(file)
        for number, tile in enumerate(answer.tiles):
            values = {
                "image": tile.image,
                "fold": tile.fold,
                "seed": tile.seed,
                "network": tile.network,
                "probability": PROBABILITIES[tile.position],
                **asdict(tile.score),
            }
            if number == 0:
                table.writerow(values)
            table.writerow(
                [" ".join(map(str, value)) if isinstance(value, tuple) else value for value in values.values()]
            )


def _told(row: Row) -> dict[str, object]:
    return {
        "control": row.control,
        "folds and seeds": [list(place) for place in row.iou],
        "iou": list(row.iou.values()),
        "probabilities": list(row.probabilities.values()),
        "diverged": row.diverged,
        "scores": None if row.scores is None else row.scores.to_dict(),
        "less control": None if row.comparison is None else _differences(row.comparison),
        "agreement": None if row.agreement is None else asdict(row.agreement),
    }


def _differences(less: Comparison) -> dict[str, object]:
    differences = {name: {"value": each.value, "ci": each.ci} for name, each in less.differences.items()}
    return {**differences, "equivalence_p": less.equivalence, "margin": less.margin}


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


def shared_water(path: Path | None) -> dict[str, frozenset[str]]:
    """Read which images show the same water, by name, both ways.

    Raises:
        ConfigError: The file cannot be read or has another form.
    """
    if path is None:
        return {}
    near: dict[str, frozenset[str]] = {}
    try:
        for pair in json.loads(path.read_text(encoding="utf-8"))["pairs"]:
            for one, other in ((pair["image"], pair["other"]), (pair["other"], pair["image"])):
                near[one] = near.get(one, frozenset()) | {other}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path} does not tell which images show the same water ({type(error).__name__}: {error})",
            remedy="Make it with pipelines/shared_water.py",
            path=path,
        ) from error
    return near


def _with_water(images: Iterable[LabelledImage], water: Mapping[str, frozenset[str]]) -> frozenset[str]:
    """Names of the images and of all that share water with them."""
    names = frozenset(image.path.name for image in images)
    return names.union(*(water.get(name, frozenset()) for name in names))


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


def _part(
    recipe: Recipe,
    folder: Path,
    held: Sequence[LabelledImage],
    report: Callable[[str], Report],
    *,
    keep: bool,
    beside: Path | None,
) -> _Done:
    """Train a network and score it on the images held out, unless that was done already.

    Args:
        recipe: The run.
        folder: Its own.
        held: The images.
        report: As for `run`.
        keep: Whether to leave its logits.
        beside: The logits of the network that it should say the same as; without such a file there is no agreement.
    """
    path = folder / SCORES
    told = _read(path) if path.exists() else None
    left = [folder / WEIGHTS, *([folder / LOGITS] if keep else [])]
    if told is None or (told.made is not None and not all(each.exists() for each in left)):
        made, tiles = None, {}
        try:
            trained = carry_out(recipe, folder, report(recipe.name), resume=True)
        except DivergedError:
            pass
        else:
            made = trained.provenance().to_dict()
            kept: dict[str, NDArray[np.float32]] = {}
            others = np.load(beside) if beside is not None and beside.exists() else {}
            for answer in predictions(trained, held):
                name = answer.image.path.name
                curve = [asdict(each) for each in scores_of(answer, PROBABILITIES)]
                other = others.get(name)
                tiles[name] = {"curve": curve, "agreement": [] if other is None else _agreement(answer, other)}
                if keep:
                    kept[name] = answer.said.astype(np.float32)
            if keep:
                np.savez(folder / LOGITS, **kept)  # type: ignore[arg-type]
        folder.mkdir(parents=True, exist_ok=True)  # a run may diverge before it leaves anything
        unfinished = path.with_suffix(".part")
        unfinished.write_text(json.dumps({"identity": recipe.identity(), "made": made, "tiles": tiles}, indent=1))
        unfinished.replace(path)
        told = _read(path)
    if told.identity != recipe.identity():
        raise ConfigError(
            f"{folder} holds the run of another recipe, or from other masks or weights, than {recipe.name!r} as it "
            "stands now",
            remedy="Give another folder with -o, or remove this one",
            path=folder,
        )
    return told


def _agreement(answer: Prediction, other: NDArray[np.float32]) -> list[dict[str, object]]:
    limits = [math.log(each / (1 - each)) for each in PROBABILITIES]
    return [asdict(agreement(answer.said >= limit, other >= limit, answer.valid)) for limit in limits]


def _read(path: Path) -> _Done:
    try:
        return _DONE.validate_json(path.read_bytes())
    except ValidationError as error:
        raise ConfigError(
            f"{path} is damaged, or of another version", remedy="Remove it: the run is then scored again", path=path
        ) from error


def predictions(trained: Trained, images: Sequence[LabelledImage]) -> Iterator[Prediction]:
    """Run a trained network over labelled images, read and tiled as on board; by its graph, if it has one.

    Yields:
        The logits of each image.
    """
    predict = trained.logits if trained.graph is None else _integers(trained.graph)
    halo, alignment = trained.margins()
    return answers(images, predict, CONTRACT, halo=halo, alignment=alignment)


def scores_of(answer: Prediction, probabilities: Iterable[float]) -> tuple[TileScore, ...]:
    """The scores of an image at each of several probabilities from which a pixel is called ship."""
    ships, limits = list(answer.image.parts()), [math.log(each / (1 - each)) for each in probabilities]
    return tuple(score_tile(ships, answer.said >= each, answer.valid, gsd_m=answer.gsd_m) for each in limits)


def _integers(graph: Graph) -> Predict:
    engine = open_engine("auto", graph, threads=cores())
    # In float64 every logit is exact, so that a pixel is ship here if and only if it is on board.
    return lambda pixels: engine.run(pixels)[0] * graph.logit_scale

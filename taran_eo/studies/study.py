"""What a study asks: its TOML file, with the tiles, the networks, and what each is compared with."""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Final, Literal, Self

from pydantic import Field, model_validator

from taran_eo.config import Settings

COMMON: Final = "common"
REFERENCE: Final = "reference"
RANDOM: Final = "random"


def folder_name(network: str) -> str:
    """The name of a network as that of the folder of its runs."""
    return network.replace(",", "").replace(" ", "_").replace("/", "-")


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
        once: With ``common``: trained once too, not once a fold; a quantized network is then judged by the common one.
        tiles: Train on so many of the dealt tiles only, drawn once; None is all that are not held out.
    """

    control: str | None = None
    folds: int | None = Field(None, ge=1)
    seeds: int | None = Field(None, ge=1)
    start: Literal["reference", "common", "random"] = "reference"
    once: bool | None = None
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
        beside: Setting of another grid: each row is also compared with the one there that has the same weights.
    """

    formats: tuple[str, ...] = Field(min_length=1)
    setting: str
    beside: str | None = None

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

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Each row with the one beside it."""
        if self.beside is not None:
            for variant, formats in zip(self.variants(), self.formats, strict=True):
                yield variant.name, f"{formats.partition('/')[0]} {self.beside}"


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
        runs: Where the runs go, which may be shared with another study; None is ``runs/NAME``.
        results: Where the tables and plots go, a path without an ending; None is beside the runs.
        common: The run before the folds, without any tile. It starts from what its recipe says, and without it the
            references do: weights that saw none of the tiles, or random ones.
        reference: The run in each fold that variants start from and are compared with; None where none does.
        variant: The variants.
        grid: More of them, by formats, after the others.
        pairs: Names of two networks each, to be compared beside the controls; grids may ask for more.
    """

    name: str
    question: str
    folds: int = Field(5, ge=2)
    seeds: tuple[int, ...] = Field((0,), min_length=1)
    margin: float = Field(0.003, gt=0)
    tiles: tuple[Labelled, ...]
    shared_water: Path | None = None
    near_shore: Path | None = None
    runs: Path | None = None
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

    @cached_property
    def compared(self) -> tuple[tuple[str, str], ...]:
        """All pairs that are compared beside the controls."""
        return (*self.pairs, *(pair for grid in self.grid for pair in grid.pairs()))

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
            if each.once and (each.start != COMMON or each.folds is not None):
                raise ValueError(f"{each.name} is trained `once`, so it starts from `common`, and in no fold")
        return self

    @model_validator(mode="after")
    def _controls_and_pairs_are_there(self) -> Self:
        before = [REFERENCE] if self.reference else []
        for each in self.variants:
            if each.control is not None and each.control not in before:
                raise ValueError(f"the control {each.control} of {each.name} is none of {before}")
            before.append(each.name)
        for name in (name for pair in self.compared for name in pair if name not in before):
            raise ValueError(f"{name}, which is to be compared, is none of {before}")
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
        """The float network that each quantized one should say the same as: its control, if it has one.

        One that is trained once is judged by the common network. One that begins with random weights learns a network
        of its own, and is not judged.
        """
        quantized = [each for each in self.variants if each.formats is not None and each.start != RANDOM]
        found = {each.name: COMMON if each.once else self.controls[each.name] for each in quantized}
        return {name: judge for name, judge in found.items() if judge is not None}

"""What such a study asks: its TOML file, with the rows, and what each is compared with."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from taran_eo.config import Settings
from taran_eo.studies.study import COMMON, Part, folder_name


class Row(Part):
    """A `[[row]]` table: one way to train, repeated with several seeds.

    Attributes:
        name: What it is called in the tables.
        control: The row that it is compared with, or ``common``; None compares it with nothing.
        seeds: Run with so many seeds only, the first ones; None is all.
        start: Which weights it goes on from: those of the common network, or random ones.
        timed: What it is called in the file of `times`; None tells no time.
    """

    name: str
    control: str | None = None
    seeds: int | None = Field(None, ge=1)
    start: Literal["common", "random"] = "common"
    timed: str | None = None


class Published(Settings):
    """A `[[published]]` table: what others found, which is printed below the rows and compared with nothing.

    Attributes:
        label: What was trained.
        bits: Of weights and activations, e.g. ``4/4``.
        accuracy_percent: As they tell it.
        source: Where they tell it.
    """

    label: str
    bits: str
    accuracy_percent: float = Field(ge=0, le=100)
    source: str


class RowStudy(Settings):
    """A study of rows; paths are relative to the working directory.

    Attributes:
        name: Name of the study.
        question: What it is for, in a sentence.
        seeds: What is added to the seeds of the recipes, once for each repetition.
        runs: Where the runs go; None is ``runs/NAME``.
        results: Where tables and plot go, a path without an ending; None is beside the runs.
        common: The float network that rows start from, trained once, with the first seed; None where none does.
        row: The rows.
        pairs: Names of two rows each, to be compared beside the controls.
        published: What others found.
        times: JSON of what a training step of each method takes, as ``pipelines/adaqat_times.py`` writes it; None, or a
            file that is not there yet, tells no times.
        shown: Rows whose widths are plotted over the steps of their first seed.
        note: What a reader of the tables must know of the pictures; None says nothing.
    """

    name: str
    question: str
    seeds: tuple[int, ...] = Field((0,), min_length=1)
    runs: Path | None = None
    results: Path | None = None
    common: Part | None = None
    row: tuple[Row, ...] = Field(min_length=1)
    pairs: tuple[tuple[str, str], ...] = ()
    published: tuple[Published, ...] = ()
    times: Path | None = None
    shown: tuple[str, ...] = ()
    note: str | None = None

    @property
    def controls(self) -> dict[str, str | None]:
        """What each row is compared with, the common network before them."""
        common: dict[str, str | None] = {COMMON: None} if self.common else {}
        return common | {row.name: row.control for row in self.row}

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        places = [COMMON, *(folder_name(row.name) for row in self.row)]
        if len(set(places)) < len(places):
            raise ValueError(f"each row needs a name, and a folder, of its own, not {places}")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"each of the `seeds` can be run once, not {list(self.seeds)}")
        return self

    @model_validator(mode="after")
    def _what_is_named_is_there(self) -> Self:
        if self.common is None and (waiting := [row.name for row in self.row if row.start == COMMON]):
            raise ValueError(f"{waiting[0]} starts from `common`, which the study has not")
        there = self.controls
        named = [(f"the control of {row.name}", row.control) for row in self.row if row.control is not None]
        named += [("what is to be compared", name) for pair in self.pairs for name in pair]
        named += [("what is to be shown", name) for name in self.shown]
        for what, name in named:
            if name not in there:
                raise ValueError(f"{name}, {what}, is none of {list(there)}")
        for first, second in [*self.pairs, *((row.name, row.control) for row in self.row)]:
            if first == second:
                raise ValueError(f"{first} is compared with itself")
        return self

"""Every row with every seed: trained from one common float network or from random weights, and scored.

A study that was killed goes on where it was. Several processes may carry out parts of it side by side, each those whose
folders match its pattern: none begins what another is at, and what the common network is needed for waits for it.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from taran_eo.config import load_toml, parse
from taran_eo.errors import ConfigError, DivergedError
from taran_eo.studies.part import Report
from taran_eo.studies.pictures import read_right
from taran_eo.studies.rows.cell import Found, carry_out_cell, read_found
from taran_eo.studies.rows.study import RowStudy
from taran_eo.studies.study import COMMON, Part, folder_name
from taran_eo.train import WEIGHTS, Recipe
from taran_eo.train.outcome import module_formats


@dataclass(frozen=True)
class Cell:
    """A run of a study.

    Attributes:
        row: Its name.
        part: What is said of it.
        seed: What is added to that of the recipe.
        start: Where it begins: None is where its recipe says, else ``common`` or ``random``.
    """

    row: str
    part: Part
    seed: int
    start: str | None

    @property
    def place(self) -> str:
        """Its folder within that of the study."""
        return COMMON if self.start is None else f"seed_{self.seed}/{folder_name(self.row)}"


@dataclass(frozen=True)
class Seen:
    """A run that is done.

    Attributes:
        cell: The run.
        recipe: What it was trained by.
        found: What came of it.
        right: Whether each picture was given its class, ``bool[n]``; None where it failed.
    """

    cell: Cell
    recipe: Recipe
    found: Found
    right: NDArray[np.bool_] | None


def cells(study: RowStudy) -> Iterator[Cell]:
    """Every run of a study, in the order in which they are carried out."""
    if study.common is not None:
        yield Cell(COMMON, study.common, study.seeds[0], None)
    for number, seed in enumerate(study.seeds):
        for row in study.row:
            if number < (row.seeds or len(study.seeds)):
                yield Cell(row.name, row, seed, row.start)


def run(
    study: RowStudy, folder: Path, report: Callable[[str], Report], *, only: str = "*", restart: bool = False
) -> tuple[Seen, ...]:
    """Carry out a study, or what is left of it.

    Args:
        study: The study.
        folder: Where each run gets its own folder.
        report: Called with the name of each run as it begins; gives what is called after each of its steps.
        only: Which runs are carried out: a pattern (`fnmatch`) of their folders, e.g. ``seed_0/*``; and the common
            network, if one of them starts from it. Others are told if they are there.
        restart: Whether those that match begin anew.

    Returns:
        All runs that are done, in order.

    Raises:
        ConfigError: A recipe is missing or does not fit, or a folder holds a run of another recipe.
        CorruptDataError: What is kept of a run is damaged.
        DivergedError: The common network diverged.
    """
    recipes = {cell: recipe_of(cell, study, folder) for cell in cells(study)}
    _check_pictures(recipes)
    matched = {cell for cell in recipes if fnmatchcase(cell.place, only)}
    wanted = matched | {cell for cell in recipes if cell.start is None and any(one.start == COMMON for one in matched)}
    for cell, recipe in recipes.items():  # what does not fit is told before hours of training
        begun = recipe.start is None or recipe.start.exists()
        if begun and not (restart and cell in matched):
            read_found(recipe, folder / cell.place)
    for cell, recipe in recipes.items():
        if cell not in wanted:
            continue
        anew = restart and cell in matched
        carry_out_cell(recipe, folder / cell.place, report, anew=anew, waits=cell.start is None)
        if cell.start is None and (found := read_found(recipe, folder / cell.place)) and found.failed is not None:
            raise DivergedError(
                f"{cell.place} failed, and others start from it: {found.failed}",
                remedy="Lower schedule.learning_rate of its recipe, and begin it anew with --restart --only common",
            )
    # Now, as other processes have gone on meanwhile.
    return tuple(_seen(recipes, folder))


def _seen(recipes: Mapping[Cell, Recipe], folder: Path) -> Iterator[Seen]:
    for cell, recipe in recipes.items():
        if (found := read_found(recipe, folder / cell.place)) is None:
            continue
        told = found.outcome
        right = None if told is None else read_right(folder / cell.place, told.set, told.accuracy)
        yield Seen(cell, recipe, found, right)


def recipe_of(cell: Cell, study: RowStudy, folder: Path) -> Recipe:
    """The recipe of a run.

    Raises:
        ConfigError: It is missing or does not fit, or is of ships.
        FormatError: It names a format that is none.
    """
    recipe = load_toml(cell.part.recipe, Recipe, cell.part.set)
    if recipe.quantization is not None and recipe.images is not None:
        module_formats(recipe.quantization)  # a name that is none is told now
    if recipe.images is None:
        raise ConfigError(
            f"{cell.part.recipe} has no [images], and the rows of a study without [[tiles]] classify pictures",
            remedy="Take a recipe of pictures, or name labelled tiles in [[tiles]] for a study of ships",
        )
    starts = {None: recipe.start, COMMON: folder / COMMON / WEIGHTS}
    changes = {
        "name": f"{study.name}/{cell.place}",
        "seed": recipe.seed + cell.seed,
        "start": starts.get(cell.start),
    }
    # Read once more, as its rules hold for what it has become, too.
    return parse(recipe.model_copy(update=changes).model_dump(mode="json"), Recipe, source=str(changes["name"]))


def _check_pictures(recipes: Mapping[Cell, Recipe]) -> None:
    scored = {cell: (each.test, each.side, each.tuning) for cell, recipe in recipes.items() if (each := recipe.images)}
    first = next(iter(scored))
    for cell, pictures in scored.items():
        if pictures != scored[first]:
            raise ConfigError(
                f"{cell.row} is scored on other pictures than {first.row}, so that nothing can be compared",
                remedy="Give the recipes of all rows the same `images.test`, `side` and `tuning`",
            )

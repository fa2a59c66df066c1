"""From which probability a cell passes the gate: chosen on tiles of train, by gates that have not seen them.

The tiles of train are dealt into five folds; the gate of each fold is trained on the other four, by the recipe of the
one that is shipped. Of the probabilities at which at least 98 % of the ships above 100 pixels are looked at, the
highest is taken. No tile of val enters. The shape of the gate was changed once with these scores in sight: a first one,
whose first layer read the maximum of 2 x 2 pixels, lost dark ships on glittering water.

Usage, an hour and a half on 2 cores; killed and called again it goes on:
    python pipelines/ship_gate.py
It writes results/ship_gate.md, and results/ship_gate.json with the provenance.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from taran_eo.config import load_toml
from taran_eo.engines import open_engine
from taran_eo.evaluation import answers, score_looked
from taran_eo.gate import Gate, halo_of
from taran_eo.imagery import read_labels
from taran_eo.metrics import GateTile, aggregate_gate
from taran_eo.model import Model
from taran_eo.provenance import cores
from taran_eo.studies.folds import deal, shared_water, with_water
from taran_eo.studies.publish import CONTRACT
from taran_eo.train import Progress, Recipe, Trained, carry_out

RECIPE = Path("pipelines/train_ship_gate.toml")
WATER = Path("pipelines/results/shared_water.json")
TILES = Path("../shared/data/airbus/train"), Path("../shared/data/airbus/masks.csv")
RUNS, RESULT = Path("runs/ship_gate"), Path("pipelines/results/ship_gate")
FOLDS, SEEN, EMPTY = 5, 0.98, 0.78
PROBABILITIES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
HEAD = f"""The gate of `{RECIPE}` behind {FOLDS} gates of its kind, on the tiles of train that each did not see: by the
probability from which a cell passes, the ships that nobody looks at (less than half of their pixels), and the
multiplications of gate and Thin U-Net 32 as a share of those of Thin U-Net 32 alone. "At most" is the share of large
ships, above 100 pixels, that is not exceeded with a confidence of 95 %. The last column weighs tiles as the whole
competition does, {EMPTY:.0%} of them empty, with a 95 % bootstrap interval over tiles.

| probability | large ships unseen | at most | ships unseen | work, empty | work, with ships | work, {EMPTY:.0%} empty |
| --- | --- | --- | --- | --- | --- | --- |"""


def main() -> None:
    """Train what is not trained, score, and write."""
    model, images = Model.open().graph, read_labels(*TILES)
    water = shared_water(WATER)
    tiles: dict[float, list[GateTile]] = {each: [] for each in PROBABILITIES}
    made = []
    for fold, held in enumerate(deal(images, FOLDS, water)):
        trained = of_fold(fold, with_water(held, water))
        made.append(trained.provenance().to_dict())
        graph = trained.graph
        assert graph is not None  # noqa: S101 - E2M3 has one
        engine = open_engine("auto", graph, threads=cores())
        halo = halo_of(model, graph)
        for probability in PROBABILITIES:
            gate = Gate(graph, probability, engine)
            found = answers(held, gate.looked, CONTRACT, halo=halo, alignment=model.alignment)
            tiles[probability] += [score_looked(each, model, gate) for each in found]
    rows = {each: told(some) for each, some in tiles.items()}
    chosen = max(each for each, row in rows.items() if row["large_ships_unseen"] <= (1 - SEEN) * row["large_ships"])
    lines = [HEAD, *(line(each, row) for each, row in rows.items())]
    lines.append(f"\nThe highest at which {SEEN:.0%} of the large ships are looked at is {chosen:g}.")
    RESULT.with_suffix(".md").write_text("\n".join(lines) + "\n")
    result = {"chosen": chosen, "rows": {f"{each:g}": row for each, row in rows.items()}, "provenance": made}
    RESULT.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")
    print(lines[-1])


def of_fold(fold: int, hidden: frozenset[str]) -> Trained:
    """The gate that has not seen the images of a fold, nor their water."""
    recipe = load_toml(RECIPE, Recipe)
    sources = tuple(each.model_copy(update={"exclude": (*each.exclude, *sorted(hidden))}) for each in recipe.source)

    def report(done: Progress) -> None:
        if done.step % 500 == 0:
            print(f"fold {fold}: {done.step} of {done.steps}", flush=True)

    changes = {"name": f"ship_gate/fold_{fold}", "source": sources}
    return carry_out(recipe.model_copy(update=changes), RUNS / f"fold_{fold}", report, resume=True)


def told(tiles: list[GateTile]) -> dict[str, object]:
    """The scores, and the work where so many tiles are empty."""
    empty, full = ([tile for tile in tiles if bool(tile.ships) == kind] for kind in (False, True))
    rng = np.random.default_rng(0)
    draws = [
        mixed([some[k] for k in rng.integers(len(some), size=len(some))] for some in (empty, full)) for _ in range(2000)
    ]
    interval = np.percentile(draws, [2.5, 97.5]).tolist()
    return aggregate_gate(tiles).to_dict() | {"work_mixed": mixed((empty, full)), "work_mixed_ci": interval}


def mixed(kinds: Iterable[Sequence[GateTile]]) -> float:
    """Work as a share, of empty tiles and of those with ships, weighed."""
    work = [sum(tile.macs for tile in some) / sum(tile.dense_macs for tile in some) for some in kinds]
    return EMPTY * work[0] + (1 - EMPTY) * work[1]


def line(probability: float, row: dict) -> str:
    """A row of the table."""
    low, high = row["work_mixed_ci"]
    cells = (
        f"{probability:g}",
        f"{row['large_ships_unseen']} of {row['large_ships']}",
        f"{row['large_ships_unseen_at_most']:.1%}",
        f"{row['ships_unseen']} of {row['ships']}",
        f"{row['work_empty']:.3f}",
        f"{row['work_with_ships']:.3f}",
        f"{row['work_mixed']:.3f} [{low:.3f}, {high:.3f}]",
    )
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()

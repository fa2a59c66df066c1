"""From which probability the shipped models call a pixel ship: chosen by scores on train and on generated scenes.

Usage, after the references of study_formats.toml:
    taran-eo synth -o runs/threshold --scenes 6 --size 768x768 --seed 3
    python pipelines/threshold.py > pipelines/results/threshold.md
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from taran_eo.config import load_toml
from taran_eo.evaluation import answers
from taran_eo.imagery import read_labels
from taran_eo.metrics import TileScore, aggregate
from taran_eo.model import Model
from taran_eo.studies.part import PROBABILITIES, logits_of, scores_of
from taran_eo.studies.run import run
from taran_eo.studies.study import REFERENCE, FoldStudy

SCENES = Path("runs/threshold")


def main() -> None:
    """Print a line for each probability, and the best."""
    study = load_toml(Path("pipelines/study_formats.toml"), FoldStudy)
    train = {path.name for path in study.tiles[0].images.iterdir()}
    tiles = run(study, Path("runs") / study.name, lambda name: lambda done: None, only="").tiles
    real = [each.curve for each in tiles if each.network == REFERENCE and each.image in train]
    model = Model.open()
    found = answers(
        read_labels(SCENES, SCENES / "masks.csv"),
        logits_of(model.graph),
        model.contract,
        halo=model.graph.halo,
        alignment=model.graph.alignment,
    )
    generated = [scores_of(each, PROBABILITIES) for each in found]
    print(
        "IoU of ship pixels by the probability from which a pixel is ship: of the float networks of study_formats.toml"
    )
    print("on the tiles of train that they did not see, and of the 6-bit model on generated scenes.\n")
    print("| probability | train | generated | mean |\n| --- | --- | --- | --- |")
    means = {}
    for place, probability in enumerate(PROBABILITIES):
        both = iou(curve[place] for curve in real), iou(curve[place] for curve in generated)
        means[probability] = sum(both) / 2
        print(f"| {probability:g} | {both[0]:.4f} | {both[1]:.4f} | {means[probability]:.4f} |")
    print(f"\nThe mean is highest at {max(means, key=means.__getitem__):g}.")


def iou(tiles: Iterable[TileScore]) -> float:
    """Of all ship pixels of the tiles."""
    return aggregate(list(tiles), rng=np.random.default_rng(0), resamples=1).iou.value or 0.0


if __name__ == "__main__":
    main()

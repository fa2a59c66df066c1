"""Scores of a ship segmentation, each with its interval.

A tile is boiled down once to the integers of a `TileScore`; every score is a ratio of sums of them, so that
the bootstrap resamples a small integer matrix and never touches a pixel again.

**Ships.** A predicted ship is an 8-connected component of the predicted mask; a true ship is one instance
of the label (one RLE row). Only valid pixels count: a true ship without a valid pixel was not to be seen
and is left out, of the others the valid part is compared. Pairs are formed one to one, greedily by falling
intersection over union (IoU); ties go to the earlier true ship, then to the earlier component. A ship is
**found** when its partner has an IoU above 0.3: at the right place and of the right order of size. A stricter limit
would turn correct detections of small boats into misses, as labels are loose by one to three pixels; a mere touch
would reward one blob over a whole harbour. A component without a found partner is a **false alarm**. Beside the recall
of all ships stands that of **large** ones, of more than 100 pixels.

**The Kaggle score** (`f2`) counts a pair as a hit at threshold t when its IoU exceeds t, for t = 0.50, 0.55,
... 0.95, takes F2 = 5 TP / (5 TP + 4 FN + FP), and averages over the thresholds and then over the tiles; a
tile without ships scores 1 when left empty, else 0. Read it only beside `baseline_empty`, the score of an
answer that never finds anything.

**Intervals** are 95 % percentile bootstrap intervals over tiles, or over groups of tiles where they overlap.
A resample in which a score is undefined (no ship drawn) is left out. An interval is widened to hold its
point value where resampling is so skewed that it would not. A count of zero resamples to zero: for a
false-alarm rate of 0, read the area, not the interval. Where all that a score counts lies in one group there is
no interval; over a handful of groups it is too narrow, so read the counts beside it.

**Classes of pictures** are scored by the share that is right (`Accuracy`), with Wilson's 95 % interval.

Source: Airbus Ship Detection Challenge (Kaggle, 2018), evaluation page; Efron and Tibshirani, An
Introduction to the Bootstrap (1993), chapters 8 and 13.
"""

from taran_eo.metrics.classes import Accuracy, wilson
from taran_eo.metrics.gate import GateScores, GateTile, aggregate_gate, score_gate, upper_bound
from taran_eo.metrics.paired import mean_difference, mean_right
from taran_eo.metrics.scores import Cell, Comparison, Interval, Scores, aggregate, compare
from taran_eo.metrics.tile import (
    FOUND_IOU_PERCENT,
    KAGGLE_IOU_PERCENT,
    LENGTH_BIN_NAMES,
    LENGTH_BINS_M,
    TileScore,
    agreement,
    score_tile,
)

__all__ = [
    "FOUND_IOU_PERCENT",
    "KAGGLE_IOU_PERCENT",
    "LENGTH_BINS_M",
    "LENGTH_BIN_NAMES",
    "Accuracy",
    "Cell",
    "Comparison",
    "GateScores",
    "GateTile",
    "Interval",
    "Scores",
    "TileScore",
    "aggregate",
    "aggregate_gate",
    "agreement",
    "compare",
    "mean_difference",
    "mean_right",
    "score_gate",
    "score_tile",
    "upper_bound",
    "wilson",
]

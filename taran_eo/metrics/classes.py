"""The share of pictures that are given their class."""

from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist
from typing import Any

from taran_eo.metrics.gate import CONFIDENCE
from taran_eo.metrics.scores import Interval


@dataclass(frozen=True)
class Accuracy:
    """How many of a set of pictures are given their class.

    Attributes:
        pictures: Pictures in the set.
        right: Those that are given their class.
    """

    pictures: int
    right: int

    @property
    def share(self) -> Interval:
        """Share of the pictures that are right; its interval is for other pictures, not for another training."""
        return wilson(self.right, self.pictures)

    def __str__(self) -> str:
        return f"right {self.share}, {self.right} of {self.pictures} pictures"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        share = self.share
        return {"pictures": self.pictures, "right": self.right, "accuracy": share.value, "accuracy_ci": share.ci}


def wilson(events: int, trials: int) -> Interval:
    """The share of so many events in so many trials, with its 95 % score interval; undefined without trials.

    Source: Wilson, Journal of the American Statistical Association 22 (1927), page 209.

    Example:
        >>> print(wilson(81, 263))
        0.308 [0.255, 0.366]
    """
    if not trials:
        return Interval(None, None, None)
    share, square = events / trials, NormalDist().inv_cdf((1 + CONFIDENCE) / 2) ** 2
    middle = (events + square / 2) / (trials + square)
    reach = sqrt(square * (trials * share * (1 - share) + square / 4)) / (trials + square)
    return Interval(share, min(share, max(0.0, middle - reach)), max(share, min(1.0, middle + reach)))

"""Trainings compared on the same pictures: intervals that hold for other seeds and for other pictures.

A resample draws seeds and, independently, pictures, both with replacement, the same for both of two ways to train. The
interval of n seeds is too narrow where the spread comes from the training: it is resampled with (n - 1) / n of its
variance, and n is small. That of a single seed holds for other pictures, and says nothing of another training.

Source: Owen, The pigeonhole bootstrap, Annals of Applied Statistics 1 (2007), page 386.
"""

import numpy as np
from numpy.typing import NDArray

from taran_eo.errors import ContractError
from taran_eo.metrics.scores import Interval

RESAMPLES = 2000


def mean_right(right: NDArray[np.bool_], *, rng: np.random.Generator, resamples: int = RESAMPLES) -> Interval:
    """The share of pictures that are right, over several trainings, with its 95 % interval.

    Args:
        right: Whether each is, ``bool[seeds, pictures]``.
        rng: Source of the resampling.
        resamples: Number of bootstrap resamples.

    Raises:
        ContractError: There are none.
    """
    return _interval(right.astype(np.int8), rng, resamples)


def mean_difference(
    first: NDArray[np.bool_], second: NDArray[np.bool_], *, rng: np.random.Generator, resamples: int = RESAMPLES
) -> Interval:
    """By how much more pictures the first is right on than the second, of the same seeds and pictures.

    Args:
        first: Whether it is right, ``bool[seeds, pictures]``.
        second: The same of the other one.
        rng: Source of the resampling.
        resamples: Number of bootstrap resamples.

    Raises:
        ContractError: They are of different seeds or pictures, or of none.
    """
    if first.shape != second.shape:
        raise ContractError(
            f"Answers of {list(first.shape)} and of {list(second.shape)} seeds and pictures have no paired difference",
            remedy="Score both on the same pictures",
        )
    return _interval(first.astype(np.int8) - second.astype(np.int8), rng, resamples)


def resampled_means(
    scores: NDArray[np.int8], rng: np.random.Generator, resamples: int = RESAMPLES
) -> NDArray[np.float64]:
    """Means ``float64[resamples]`` of ``int8[seeds, pictures]``, seeds and pictures drawn with replacement."""
    seeds, pictures = scores.shape
    # Pictures with the same scores are alike, so that a draw counts the few kinds of them and not 10,000 pictures.
    kinds, counts = np.unique(scores, axis=1, return_counts=True)
    times_of_kinds = rng.multinomial(pictures, counts / pictures, size=resamples)
    times_of_seeds = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=resamples)
    sums: NDArray[np.int64] = np.einsum("rs,sk,rk->r", times_of_seeds, kinds.astype(np.int64), times_of_kinds)
    means: NDArray[np.float64] = sums / (seeds * pictures)
    return means


def _interval(scores: NDArray[np.int8], rng: np.random.Generator, resamples: int) -> Interval:
    if not scores.size:
        raise ContractError(
            "There is no picture to score", remedy="Train with one seed, and score one picture, at least"
        )
    value = float(scores.mean(dtype=np.float64))
    low, high = np.percentile(resampled_means(scores, rng, resamples), (2.5, 97.5))
    return Interval(value, min(float(low), value), max(float(high), value))

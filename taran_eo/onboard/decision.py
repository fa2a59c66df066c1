"""From logits to ship or not, and to scores, in whole numbers: the same on every machine."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from taran_eo.errors import ConfigError
from taran_eo.graph import logit_at

SCORE_UNIT = 1 / 65535
"""What one unit of a score is as a probability."""

_ENTRIES = 256
_COVERED = 8.0
"""Real logits of -8 to 8 are told apart, probabilities of 0.0003 to 0.9997; beyond, nothing is left to tell."""


@dataclass(frozen=True, eq=False, slots=True)
class Decision:
    """A probability threshold and a score table, made once for a model.

    Attributes:
        threshold: Smallest integer logit that is a ship.
        shift: Bits that are dropped of a logit to find its score.
        scores: uint16[256], the score of each shifted logit from -128 to 127, in `SCORE_UNIT`.
    """

    threshold: int
    shift: int
    scores: NDArray[np.uint16]

    @classmethod
    def of(cls, probability: float, logit_scale: float) -> "Decision":
        """The decision that a pixel is a ship from `probability` on.

        Args:
            probability: The threshold, above 0 and below 1.
            logit_scale: Real logit of the integer logit 1.

        Raises:
            ConfigError: The probability is not between 0 and 1.
        """
        if not 0.0 < probability < 1.0:
            raise ConfigError(
                f"A threshold of {probability} is no probability between 0 and 1",
                remedy="Give a threshold such as 0.5; higher means fewer and surer ships",
                threshold=probability,
            )
        shift = max(0, math.ceil(math.log2(_COVERED / (_ENTRIES / 2 * logit_scale))))
        codes = np.arange(_ENTRIES) - _ENTRIES // 2
        # The middle of the logits that share a code.
        logits = (codes * 2.0**shift + (2.0**shift - 1.0) / 2.0) * logit_scale
        scores = np.rint(1.0 / (1.0 + np.exp(-logits)) / SCORE_UNIT).astype(np.uint16)
        return cls(logit_at(probability, logit_scale), shift, scores)

    def score(self, logits: NDArray[np.int32]) -> NDArray[np.uint16]:
        """The score of each logit, uint16 in the shape given."""
        half = _ENTRIES // 2
        found: NDArray[np.uint16] = self.scores[np.clip(logits >> self.shift, -half, half - 1) + half]
        return found

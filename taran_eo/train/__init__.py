"""Training on the ground, with torch: a recipe in, weights and a graph out."""

from taran_eo.train.loop import Progress
from taran_eo.train.outcome import WEIGHTS, Trained, carry_out, formats, load_float
from taran_eo.train.recipe import Publication, Quantization, Recipe, Source

__all__ = [
    "WEIGHTS",
    "Progress",
    "Publication",
    "Quantization",
    "Recipe",
    "Source",
    "Trained",
    "carry_out",
    "formats",
    "load_float",
]

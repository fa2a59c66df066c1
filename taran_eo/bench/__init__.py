"""How fast a network runs here: our engines, and other runtimes where they are installed, side by side."""

from taran_eo.bench.contenders import CONTENDERS, Contender
from taran_eo.bench.measure import SWATH_KM, Bench, Row, measure

__all__ = ["CONTENDERS", "SWATH_KM", "Bench", "Contender", "Row", "measure"]

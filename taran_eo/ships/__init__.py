"""From ship pixels to ships: connected components across tile borders, and their geometry."""

from taran_eo.ships.components import Component, Components
from taran_eo.ships.geometry import Ship, feature_collection, ships_of

__all__ = ["Component", "Components", "Ship", "feature_collection", "ships_of"]

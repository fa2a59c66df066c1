"""From ship pixels to ships: connected components across tile borders, and their geometry."""

from taran_eo.ships.components import Component, Components, label_components
from taran_eo.ships.geometry import Ship, feature_collection, oriented_length_px, ships_in, ships_of

__all__ = [
    "Component",
    "Components",
    "Ship",
    "feature_collection",
    "label_components",
    "oriented_length_px",
    "ships_in",
    "ships_of",
]

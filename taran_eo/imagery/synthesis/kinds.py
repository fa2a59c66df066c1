"""The kinds of ships, as a table: their measures, shapes and colours.

Lengths, slenderness and looks are drawn from common merchant, service and leisure craft as seen from above.
"""

from dataclasses import dataclass

from taran_eo.imagery.synthesis.canvas import Colour


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of ship: its measures, its shape and its colours.

    Attributes:
        name: What it is.
        share: Relative frequency.
        length_m: Shortest and longest.
        slender: Least and greatest length over width.
        bow: Part of the length, from the stern, where the bow begins to narrow.
        sharp: Exponent of the bow's outline; below 2 pointed, above round.
        stern: Width of the stern over that amidships.
        decks: Colours of the deck.
        house: Begin and end of the superstructure as parts of the length; equal for none.
        layout: What is on the deck.
        moving: How often it is under way.
        froth: Brightness of its wake, 0 to 1.
    """

    name: str
    share: float
    length_m: tuple[float, float]
    slender: tuple[float, float]
    bow: float
    sharp: float
    stern: float
    decks: tuple[Colour, ...]
    house: tuple[float, float]
    layout: str
    moving: float
    froth: float


RED, BROWN, GREEN, GREY = (142, 66, 56), (104, 78, 66), (62, 92, 78), (122, 126, 128)
WHITE, BLUE, DARK, SAND = (216, 218, 214), (58, 82, 116), (58, 58, 60), (170, 158, 134)
KINDS: tuple[Kind, ...] = (
    Kind(
        "tanker",
        2.4,
        (90, 300),
        (5.2, 6.6),
        0.9,
        2.6,
        0.7,
        (RED, BROWN, GREEN, GREY),
        (0.05, 0.17),
        "pipes",
        0.5,
        0.65,
    ),
    Kind(
        "bulk carrier",
        2.4,
        (90, 295),
        (5.6, 7.0),
        0.9,
        2.6,
        0.75,
        (RED, BROWN, GREEN, GREY, SAND),
        (0.04, 0.15),
        "hatches",
        0.5,
        0.65,
    ),
    Kind(
        "container ship",
        1.8,
        (110, 300),
        (6.0, 7.6),
        0.74,
        1.9,
        0.85,
        (DARK, BROWN, GREY),
        (0.16, 0.24),
        "boxes",
        0.6,
        0.6,
    ),
    Kind(
        "coaster",
        1.6,
        (45, 120),
        (4.8, 6.6),
        0.84,
        2.0,
        0.8,
        (RED, BROWN, GREEN, GREY, BLUE, SAND),
        (0.05, 0.2),
        "hatches",
        0.6,
        0.6,
    ),
    Kind(
        "ferry", 0.7, (40, 220), (4.6, 7.0), 0.78, 1.9, 0.9, (WHITE, (190, 194, 196)), (0.1, 0.85), "houses", 0.7, 0.8
    ),
    Kind(
        "naval ship",
        0.5,
        (60, 180),
        (7.4, 9.5),
        0.6,
        1.7,
        0.75,
        ((112, 118, 122), (92, 98, 104)),
        (0.3, 0.65),
        "helipad",
        0.6,
        0.7,
    ),
    Kind(
        "barge",
        0.7,
        (25, 100),
        (2.6, 4.6),
        0.97,
        4.0,
        0.98,
        (BROWN, GREY, SAND, DARK, (128, 84, 62)),
        (0.0, 0.0),
        "piles",
        0.2,
        0.2,
    ),
    Kind(
        "workboat",
        1.3,
        (15, 60),
        (2.8, 4.6),
        0.62,
        2.0,
        0.85,
        (GREEN, BLUE, GREY, WHITE, RED),
        (0.5, 0.74),
        "gear",
        0.6,
        0.7,
    ),
    Kind(
        "yacht",
        0.9,
        (12, 60),
        (3.2, 5.0),
        0.42,
        1.7,
        0.85,
        (WHITE, (228, 228, 224), (196, 196, 190)),
        (0.22, 0.62),
        "cockpit",
        0.6,
        1.0,
    ),
    Kind(
        "boat",
        1.2,
        (10, 26),
        (2.6, 4.4),
        0.45,
        1.8,
        0.8,
        (WHITE, (188, 176, 158), BLUE, BROWN, GREY),
        (0.2, 0.5),
        "cockpit",
        0.65,
        1.0,
    ),
)

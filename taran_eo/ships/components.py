"""Connected components of a mask that arrives tile by tile, with memory for one row of tiles.

Pixels that touch by a side or a corner belong together (8-connectivity), across tile borders as well. Within
a tile, runs of ship pixels are joined by union-find over run labels; between tiles, only the labels along
open borders are kept. All sums are whole numbers and outlines are convex hulls of whole numbers, so that the
result does not depend on the size of the tiles, to the last bit.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from taran_eo.imagery.window import Window

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False, slots=True)
class Component:
    """One connected set of ship pixels.

    Attributes:
        pixels: Number of pixels.
        row_sum: Sum of their rows.
        col_sum: Sum of their columns.
        score_sum: Sum of their scores, in the unit that was given.
        first: Row and column of the first pixel in row-major order.
        hull: int64[corners, 2], row and column of the corners of the convex hull of the pixels' squares.
    """

    pixels: int
    row_sum: int
    col_sum: int
    score_sum: int
    first: tuple[int, int]
    hull: Ints

    def joined(self, other: "Component") -> "Component":
        """Both as one."""
        return Component(
            self.pixels + other.pixels,
            self.row_sum + other.row_sum,
            self.col_sum + other.col_sum,
            self.score_sum + other.score_sum,
            min(self.first, other.first),
            convex_hull(np.concatenate([self.hull, other.hull])),
        )


def convex_hull(points: Ints) -> Ints:
    """The corners of the convex hull, without collinear ones, in a fixed order from the first row and column.

    Args:
        points: int64[count, 2]: row, column; at least three that are not on one line.

    Source: Andrew's monotone chain (1979), on whole numbers and therefore exact.
    """
    points = points[np.lexsort((points[:, 1], points[:, 0]))]
    # Only the outermost points of each row can be corners.
    starts = np.flatnonzero(np.diff(points[:, 0], prepend=points[0, 0] - 1))
    stops = np.append(starts[1:], len(points)) - 1
    left = points[starts].tolist()
    right = points[stops].tolist()
    lower = _chain([corner for pair in zip(left, right, strict=True) for corner in pair])
    upper = _chain([corner for pair in zip(right[::-1], left[::-1], strict=True) for corner in pair])
    return np.array(lower[:-1] + upper[:-1], dtype=np.int64)


def _chain(points: list[list[int]]) -> list[list[int]]:
    chain: list[list[int]] = []
    for point in points:
        while len(chain) >= 2:
            (row_0, col_0), (row_1, col_1) = chain[-2], chain[-1]
            if (row_1 - row_0) * (point[1] - col_0) - (col_1 - col_0) * (point[0] - row_0) > 0:
                break
            chain.pop()
        chain.append(point)
    return chain


def corners(rows: Ints, starts: Ints, stops: Ints) -> Ints:
    """The corners of the squares at both ends of some runs of pixels, int64[4 * runs, 2]: row, column."""
    return np.stack([rows, starts, rows, stops, rows + 1, starts, rows + 1, stops], axis=1).reshape(-1, 2)


def _roots(count: int, one: Ints, other: Ints) -> Ints:
    """The smallest member of each of the sets that the pairs (one, other) join, int64[count]."""
    parent = np.arange(count)
    while True:
        a, b = parent[one], parent[other]
        apart = a != b
        if not apart.any():
            return parent
        np.minimum.at(parent, np.maximum(a, b)[apart], np.minimum(a, b)[apart])
        while not np.array_equal(above := parent[parent], parent):
            parent = above


@dataclass(eq=False, slots=True)
class Components:
    """The components of a scene, fed core by core in row-major order.

    Args:
        cols: Columns of the scene.

    Example:
        >>> scene = np.array([[1, 1, 0, 0], [0, 0, 1, 0]], dtype=bool)
        >>> components = Components(cols=4)
        >>> done = []
        >>> for col in (0, 2):
        ...     tile = scene[:, col : col + 2]
        ...     done += components.feed(Window(0, col, 2, 2), tile, np.ones(tile.sum(), dtype=np.int64))
        >>> done += components.finish()
        >>> [component.pixels for component in done]
        [3]
    """

    cols: int
    _open: dict[int, Component] = field(default_factory=dict)
    _parent: dict[int, int] = field(default_factory=dict)
    _next: int = 1
    _above: Ints = field(init=False)
    _below: Ints = field(init=False)
    _left: Ints | None = None
    _due: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        # Label of each pixel in the last row of the tiles above, and of those of this row of tiles; 0 is sea.
        self._above = np.zeros(self.cols, dtype=np.int64)
        self._below = np.zeros(self.cols, dtype=np.int64)

    def feed(self, core: Window, ship: NDArray[np.bool_], scores: NDArray[np.integer]) -> Iterator[Component]:
        """Take the next core and give the components that are complete by now.

        Args:
            core: Where the pixels lie in the scene. Cores come in row-major order without gaps.
            ship: bool[rows, cols], the ship pixels of the core.
            scores: integers[ship pixels], the score of each ship pixel of the core in row-major order.

        Raises:
            ValueError: The core is not the next one.
        """
        if (core.row, core.col) != self._due:
            raise ValueError(f"expected the core at {self._due}, got the one at {(core.row, core.col)}")
        complete = self._absorb(core, ship, scores)
        if core.col_stop == self.cols:
            self._due = (core.row_stop, 0)
            complete += self._end_of_row()
        else:
            self._due = (core.row, core.col_stop)
        return iter(complete)

    def finish(self) -> Iterator[Component]:
        """Give the components that are still open when the last core was fed."""
        complete = list(self._open.values())
        self._open, self._parent = {}, {}
        self._above[:] = 0
        return iter(complete)

    def _absorb(self, core: Window, ship: NDArray[np.bool_], scores: NDArray[np.integer]) -> list[Component]:
        """Label one core, tie it to its neighbours, return the components that touch none of its borders."""
        left = self._left if core.col > 0 else None
        self._left = None
        if not ship.any():
            self._below[core.col : core.col_stop] = 0
            return []
        rows, starts, stops, labels = runs(ship)
        components = _components(core, rows, starts, stops, labels, scores)
        names = self._next + np.arange(len(components))
        self._next += len(components)
        named = names[labels]

        top, bottom = np.zeros((2, core.cols), dtype=np.int64)
        for edge, row in ((top, 0), (bottom, core.rows - 1)):
            for run in np.flatnonzero(rows == row):
                edge[starts[run] : stops[run]] = named[run]
        west, east = np.zeros((2, core.rows), dtype=np.int64)
        west[rows[starts == 0]] = named[starts == 0]
        east[rows[stops == core.cols]] = named[stops == core.cols]

        on_border = np.unique(np.concatenate([top, bottom, west, east]))
        border = set(on_border[on_border > 0].tolist())
        interior = []
        for name, component in zip(names.tolist(), components, strict=True):
            if name in border:
                self._open[name] = component
                self._parent[name] = name
            else:
                interior.append(component)
        # One more column on each side: corners touch too.
        around = np.zeros(core.cols + 2, dtype=np.int64)
        reach = slice(max(core.col - 1, 0), core.col_stop + 1)
        offset = reach.start - (core.col - 1)
        above = self._above[reach]
        around[offset : offset + above.size] = above
        self._tie(top, around)
        if left is not None:
            self._tie(west, np.concatenate([[0], left, [0]]))
        self._below[core.col : core.col_stop] = bottom
        self._left = east
        return interior

    def _tie(self, edge: Ints, beyond: Ints) -> None:
        """Join what touches across a border: edge[i] meets beyond[i], beyond[i + 1] and beyond[i + 2]."""
        pairs = np.concatenate([np.stack([edge, beyond[shift : shift + edge.size]], axis=1) for shift in range(3)])
        for one, other in np.unique(pairs[(pairs > 0).all(axis=1)], axis=0).tolist():
            a, b = self._root(one), self._root(other)
            if a != b:
                self._parent[b] = a
                self._open[a] = self._open[a].joined(self._open.pop(b))

    def _root(self, name: int) -> int:
        while self._parent[name] != name:
            self._parent[name] = self._parent[self._parent[name]]
            name = self._parent[name]
        return name

    def _end_of_row(self) -> list[Component]:
        """Close what does not reach the last pixel row, and forget the names of all the rest but one each."""
        names, places = np.unique(self._below, return_inverse=True)
        roots = np.array([self._root(name) if name > 0 else 0 for name in names.tolist()], dtype=np.int64)
        self._above = roots[places]
        alive = set(roots.tolist())
        complete = [component for name, component in self._open.items() if name not in alive]
        self._open = {name: component for name, component in self._open.items() if name in alive}
        self._parent = {name: name for name in self._open}
        self._below = np.zeros(self.cols, dtype=np.int64)
        self._left = None
        return complete


def label_components(ship: NDArray[np.bool_]) -> tuple[NDArray[np.int32], int]:
    """Number the components of an image that is there as a whole.

    Args:
        ship: bool[rows, cols].

    Returns:
        int32[rows, cols], 0 outside and 1, 2, ... in the row-major order of first pixels; and their number.
    """
    numbers = np.zeros(ship.shape, dtype=np.int32)
    _, starts, stops, labels = runs(ship)
    numbers[ship] = np.repeat(labels + 1, stops - starts)
    return numbers, int(labels.max(initial=-1)) + 1


def runs(ship: NDArray[np.bool_]) -> tuple[Ints, Ints, Ints, Ints]:
    """Row, start, stop and label (from 0, without gaps) of each run of ship pixels, in row-major order."""
    rows, cols = ship.shape
    width = cols + 1
    flat = np.zeros(1 + rows * width, dtype=np.bool_)
    flat[1:].reshape(rows, width)[:, :cols] = ship
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    starts, stops = edges[::2], edges[1::2]
    row = starts // width
    # A run meets those of the row above that end at or behind its start and begin at or before its end.
    lowest = np.searchsorted(stops, starts - width, side="left")
    highest = np.searchsorted(starts, stops - width, side="right")
    touching = np.maximum(highest - lowest, 0)
    one = np.repeat(np.arange(row.size), touching)
    before = np.cumsum(touching) - touching
    other = np.arange(touching.sum()) + np.repeat(lowest - before, touching)
    roots = _roots(row.size, one, other)
    _, labels = np.unique(roots, return_inverse=True)
    return row, starts - row * width, stops - row * width, labels


def _components(
    core: Window, rows: Ints, starts: Ints, stops: Ints, labels: Ints, scores: NDArray[np.integer]
) -> list[Component]:
    """The components of one core, in the order of their labels."""
    count = int(labels.max()) + 1
    lengths = stops - starts
    # Sums over whole numbers of at most 2**40, exact in int64.
    at = np.cumsum(lengths) - lengths
    sums = np.zeros((4, count), dtype=np.int64)
    for total, values in zip(
        sums,
        (
            lengths,
            lengths * (rows + core.row),
            lengths * (2 * core.col + starts + stops - 1) // 2,
            np.add.reduceat(scores.astype(np.int64), at),
        ),
        strict=True,
    ):
        np.add.at(total, labels, values)
    order = np.argsort(labels, kind="stable")
    row, start, stop = rows[order] + core.row, starts[order] + core.col, stops[order] + core.col
    points = corners(row, start, stop)
    bounds = np.searchsorted(labels[order], np.arange(count + 1)).tolist()
    return [
        Component(
            pixels=int(sums[0, label]),
            row_sum=int(sums[1, label]),
            col_sum=int(sums[2, label]),
            score_sum=int(sums[3, label]),
            first=(int(row[low]), int(start[low])),
            hull=convex_hull(points[4 * low : 4 * high]),
        )
        for label, (low, high) in enumerate(itertools.pairwise(bounds))
    ]

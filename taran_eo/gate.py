"""Where the model runs: a gate looks at everything, and the model only at what it lets pass."""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from taran_eo.engines import Engine
from taran_eo.errors import ConfigError, ModelError
from taran_eo.graph import Graph, logit_at
from taran_eo.imagery.window import Window
from taran_eo.model import Model

AROUND = 2
"""Cells around one that fires that pass with it: the rest of a ship, and a ship that begins just beside."""

RIM = 40
"""Pixels around a region that running it costs as much as: the surroundings that its answers depend on. Thin U-Net 32
takes for a square of side ``b`` in the middle of a tile nearly what it takes for a tile of side ``b + 2 * RIM``."""

Cells = NDArray[np.bool_]


class Gate:
    """A gate's network on an engine, with its threshold.

    Cells are squares of the scene, counted from its origin, so that what passes does not depend on tiles.

    Args:
        graph: The network; gives one logit a cell.
        threshold: Probability from which a cell fires.
        engine: An engine that runs the graph.
    """

    def __init__(self, graph: Graph, threshold: float, engine: Engine) -> None:
        self.graph = graph
        self.cell = 1 << graph.level
        self._engine = engine
        self._limit = logit_at(threshold, graph.logit_scale)

    def passing(self, pixels: NDArray[np.uint8], core: Window) -> Cells:
        """The cells of a tile's core in which a ship may be: those that fire, and `AROUND` cells around them.

        Args:
            pixels: ``uint8[bands, rows, cols]`` of the tile, its halo not below `halo_of`.
            core: Within the tile; begins at a corner of a cell.

        Returns:
            ``bool[rows, cols]``, one for each cell that the core has a part of.
        """
        cell = self.cell
        row, col = core.row // cell, core.col // cell
        cells = Window(row, col, -(-core.row_stop // cell) - row, -(-core.col_stop // cell) - col)
        wanted = cells.grown(AROUND).clipped(pixels.shape[1] // cell, pixels.shape[2] // cell)
        fires = self._engine.run(pixels, wanted)[0] >= self._limit
        return _spread(_spread(fires).T).T[cells.relative_to(wanted).slices]

    def looked(self, pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """The pixels ``bool[rows, cols]`` of a tile that pass; those at its rim do not know their surroundings."""
        _, rows, cols = pixels.shape
        return self.in_pixels(self.passing(pixels, Window(0, 0, rows, cols)), rows, cols)

    def in_pixels(self, cells: Cells, rows: int, cols: int) -> NDArray[np.bool_]:
        """Cells as the pixels ``bool[rows, cols]`` in them."""
        return cells.repeat(self.cell, axis=0).repeat(self.cell, axis=1)[:rows, :cols]

    def macs(self, model: Graph, looked: NDArray[np.bool_]) -> int:
        """Multiplications of a gate and of a model behind it, for a scene in one tile.

        Args:
            model: The model.
            looked: ``bool[rows, cols]`` from `looked`.
        """
        rows, cols = (-(-side // model.alignment) * model.alignment for side in looked.shape)
        parts = regions(looked[:: self.cell, :: self.cell], self.cell)
        wanted = ((part.row, part.col, part.rows, part.cols) for part in parts)
        return self.graph.macs(rows, cols) + sum(model.macs_of(rows, cols, part) for part in wanted)


def check_model(model: Model) -> None:
    """Refuse a model that does not tell ships from everything else.

    Raises:
        ModelError: It does not give one logit a pixel.
    """
    if (model.graph.classes, model.graph.level) != (1, 0):
        raise ModelError(
            f"{model.path} does not give one logit a pixel, ship against everything else",
            remedy="Use a model for ship segmentation; a gate belongs to --gate",
            path=model.path,
        )


def check_gate(gate: Model, model: Model) -> None:
    """Refuse a gate that was not made for what a model sees.

    Raises:
        ModelError: It is no gate.
        ConfigError: It takes other pixels, or tiles that are not the model's.
    """
    if gate.graph.classes != 1 or gate.graph.level == 0:
        raise ModelError(
            f"{gate.path} is no gate: it does not give one logit for each of larger cells",
            remedy="Give --gate a model that was trained with `gate = true`, or none",
            path=gate.path,
        )
    if gate.contract != model.contract or model.graph.alignment % gate.graph.alignment:
        raise ConfigError(
            f"The gate {gate.name} does not fit the model {model.name}: it takes other pixels, or has cells that do "
            "not fit into its tiles",
            remedy="Give --gate none, or a gate of the same contract",
            gate=gate.name,
            model=model.name,
        )


def halo_of(model: Graph, gate: Graph | None) -> int:
    """The margin around a tile, in pixels, that makes the answers of a model behind a gate independent of tiles."""
    if gate is None:
        return model.halo
    reach = gate.reach + (AROUND << gate.level)
    return max(model.halo, -(-reach // model.alignment) * model.alignment)


def regions(cells: Cells, cell: int, *, rim: int = RIM) -> Iterator[Window]:
    """Rectangles that cover the cells that pass, in pixels; together nearly as cheap as can be.

    The rectangle around all of them is split where that saves most, and so are its parts.

    Args:
        cells: ``bool[rows, cols]``.
        cell: Side of a cell in pixels.
        rim: Pixels around a region that running it costs as much as.
    """
    around = 2 * rim / cell
    waiting = [Window(0, 0, *cells.shape)]
    while waiting:
        window = _shrunk(cells, waiting.pop())
        if window is None:
            continue
        inside = cells[window.slices]
        (down, row), (across, col) = _split(inside, around), _split(inside.T, around)
        if min(down, across) >= (window.rows + around) * (window.cols + around):
            yield Window(*(each * cell for each in (window.row, window.col, window.rows, window.cols)))
        elif down <= across:
            waiting.append(Window(window.row, window.col, row, window.cols))
            waiting.append(Window(window.row + row, window.col, window.rows - row, window.cols))
        else:
            waiting.append(Window(window.row, window.col, window.rows, col))
            waiting.append(Window(window.row, window.col + col, window.rows, window.cols - col))


def _split(inside: Cells, around: float) -> tuple[float, int]:
    """The least cost of what passes in the rows before a split and in those behind it, and the row of that split.

    Something passes in the first row and in the last.
    """
    if len(inside) == 1:
        return math.inf, 0
    cols = inside.shape[1]
    passes: Cells = np.asarray(inside.any(axis=1))
    left = np.where(passes, inside.argmax(axis=1), cols)
    right = np.where(passes, cols - inside[:, ::-1].argmax(axis=1), 0)

    def costs(order: slice) -> NDArray[np.float64]:
        """Of the rectangle around what passes in the first rows, for any number of them."""
        height = np.maximum.accumulate(np.where(passes[order], np.arange(1, len(passes) + 1), 0))
        width = np.maximum.accumulate(right[order]) - np.minimum.accumulate(left[order])
        cost: NDArray[np.float64] = (height + around) * (width + around)
        return cost

    both = costs(slice(None))[:-1] + costs(slice(None, None, -1))[-2::-1]
    row = int(both.argmin())
    return float(both[row]), row + 1


def _shrunk(cells: Cells, window: Window) -> Window | None:
    """The part of a window around what passes in it."""
    inside = cells[window.slices]
    rows, cols = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    if not len(rows):
        return None
    row, col = int(rows[0]), int(cols[0])
    return Window(window.row + row, window.col + col, int(rows[-1]) + 1 - row, int(cols[-1]) + 1 - col)


def _spread(fires: Cells) -> Cells:
    """Each row, or one of `AROUND` above or below it."""
    padded = np.pad(fires, ((AROUND, AROUND), (0, 0)))
    return np.asarray(np.lib.stride_tricks.sliding_window_view(padded, 2 * AROUND + 1, axis=0).any(axis=-1))

"""Run-length encodings of a binary mask: the Kaggle text form and the uncompressed COCO form.

Both count pixels in column-major order (top to bottom, then left to right). Kaggle: ``start length start
length ...`` with 1-based starts (Airbus Ship Detection Challenge, 2018). COCO: the lengths of alternating
runs, beginning with the zeros, which may be none (pycocotools, uncompressed RLE).
"""

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, TypeGuard

import numpy as np
from numpy.typing import NDArray

from taran_eo.errors import CorruptDataError
from taran_eo.imagery.window import Part, Window


def _edges(mask: NDArray[np.bool_]) -> NDArray[np.intp]:
    """0-based starts and stops of the runs of True, alternating: intp[2 * runs]."""
    flat = np.zeros(mask.size + 2, dtype=np.bool_)
    flat[1:-1] = mask.reshape(-1, order="F")
    return np.flatnonzero(flat[1:] != flat[:-1])


def _filled(starts: NDArray[np.int64], stops: NDArray[np.int64], rows: int, cols: int) -> NDArray[np.bool_]:
    step = np.zeros(rows * cols + 1, dtype=np.int8)
    # Adjacent runs share an edge, so the steps are added, not assigned.
    np.add.at(step, starts, 1)
    np.add.at(step, stops, -1)
    return np.cumsum(step[:-1], dtype=np.int8).astype(np.bool_).reshape(rows, cols, order="F")


def _corrupt(what: str, **facts: object) -> NoReturn:
    raise CorruptDataError(what, remedy="Restore the file that holds it from its source", **facts)


def kaggle_encode(mask: NDArray[np.bool_]) -> str:
    """Encode a mask as Kaggle run lengths; no pixel gives the empty string.

    Args:
        mask: bool[rows, cols].

    Example:
        >>> kaggle_encode(np.array([[0, 1], [1, 1]], dtype=bool))
        '2 3'
    """
    return kaggle_encode_part((Window(0, 0, *mask.shape), mask), len(mask))


def kaggle_encode_part(part: Part, rows: int) -> str:
    """Encode the pixels of a window as Kaggle run lengths on the scene; the scene itself is never in memory.

    Args:
        part: A window of the scene, and its pixels.
        rows: Rows of the scene.
    """
    window, mask = part
    # Where the window leaves room below, a row of it keeps runs from going on in the next column.
    padded = mask if window.rows == rows else np.pad(mask, ((0, 1), (0, 0)))
    edges = _edges(padded)
    starts, lengths = edges[::2], edges[1::2] - edges[::2]
    cols_in, rows_in = np.divmod(starts, len(padded))
    placed = (window.col + cols_in) * rows + window.row + rows_in + 1
    return " ".join(map(str, np.stack([placed, lengths], axis=1).reshape(-1).tolist()))


def kaggle_decode(text: str, rows: int, cols: int) -> NDArray[np.bool_]:
    """Decode Kaggle run lengths, the inverse of `kaggle_encode`.

    Returns:
        bool[rows, cols].

    Raises:
        CorruptDataError: As for `kaggle_decode_part`.
    """
    mask = np.zeros((rows, cols), dtype=np.bool_)
    window, part = kaggle_decode_part(text, rows, cols)
    mask[window.slices] = part
    return mask


def kaggle_decode_part(text: str, rows: int, cols: int) -> Part:
    """Decode Kaggle run lengths into the smallest window around them.

    Args:
        text: Pairs of 1-based start and length, ascending, without overlap; may be empty.
        rows: Rows of the scene.
        cols: Columns of the scene.

    Returns:
        The window and its pixels; a window of no rows and columns where there is no pixel.

    Raises:
        CorruptDataError: The text holds something else, or runs that leave the mask or overlap.
    """
    words = text.split()
    if not all(word.isascii() and word.isdigit() and len(word) <= 18 for word in words):
        _corrupt(f"A run-length text holds something that is no number: {text[:60]!r}", text=text)
    if len(words) % 2:
        _corrupt(f"A run-length text has {len(words)} numbers, not pairs of start and length", text=text)
    numbers = np.array(words, dtype=np.int64)
    starts = numbers[::2] - 1
    stops = starts + numbers[1::2]
    if (numbers[1::2] < 1).any() or (starts < 0).any() or (stops > rows * cols).any():
        _corrupt(f"A run-length text has a run outside the {rows} x {cols} mask", rows=rows, cols=cols)
    if (starts[1:] < stops[:-1]).any():
        _corrupt("A run-length text has runs that overlap or go backwards", text=text)
    if not starts.size:
        return Window(0, 0, 0, 0), np.zeros((0, 0), dtype=np.bool_)
    first, last = starts // rows, (stops - 1) // rows
    top, bottom = int((starts % rows).min()), int(((stops - 1) % rows).max()) + 1
    if (first != last).any():  # a run goes on in the next column
        top, bottom = 0, rows
    window = Window(top, int(first[0]), bottom - top, int(last[-1] - first[0]) + 1)
    shift = window.col * window.rows + first * (rows - window.rows) + window.row
    return window, _filled(starts - shift, stops - shift, window.rows, window.cols)


def coco_encode(mask: NDArray[np.bool_]) -> dict[str, list[int]]:
    """Encode a mask as uncompressed COCO run lengths.

    Args:
        mask: bool[rows, cols].

    Example:
        >>> coco_encode(np.array([[0, 1], [1, 1]], dtype=bool))
        {'size': [2, 2], 'counts': [1, 3]}
    """
    edges = _edges(mask)
    if edges.size and edges[-1] == mask.size:
        edges = edges[:-1]
    counts = np.diff(np.concatenate([[0], edges, [mask.size]]))
    return {"size": [int(mask.shape[0]), int(mask.shape[1])], "counts": counts.tolist()}


def coco_decode(encoded: Mapping[str, Any]) -> NDArray[np.bool_]:
    """Decode uncompressed COCO run lengths, the inverse of `coco_encode`.

    Args:
        encoded: ``{"size": [rows, cols], "counts": [zeros, ones, zeros, ...]}``.

    Returns:
        bool[rows, cols].

    Raises:
        CorruptDataError: A key is missing, a count is no number of pixels, or they do not add up to the size.
    """
    size, counts = encoded.get("size"), encoded.get("counts")
    if not _are_counts(size) or len(size) != 2 or not _are_counts(counts):
        _corrupt("A COCO run-length mask lacks a size of two numbers or a list of counts", keys=sorted(encoded))
    rows, cols = size
    if sum(counts) != rows * cols:
        _corrupt(f"The counts of a COCO mask add up to {sum(counts)}, not to {rows} x {cols} pixels")
    edges = np.cumsum(np.array([*counts, *([0] * (len(counts) % 2))], dtype=np.int64))
    return _filled(edges[::2], edges[1::2], rows, cols)


def _are_counts(values: object) -> TypeGuard[Sequence[int]]:
    return (
        isinstance(values, Sequence)
        and not isinstance(values, str | bytes)
        and all(isinstance(v, int) and not isinstance(v, bool) and 0 <= v < 2**48 for v in values)
    )

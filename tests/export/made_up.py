"""Archives that no network made: tables that a reader must accept, in an order that nobody would choose."""

import struct
from dataclasses import dataclass
from zlib import crc32

import numpy as np

from taran_eo.export.archive import _HEADER, _RANGE, _STEP, MAGIC, VERSION


def sealed(data):
    """An archive with its size and its checksum set right."""
    data = data[:12] + struct.pack("<I", len(data)) + data[16:-4]
    return data + struct.pack("<I", crc32(data))


@dataclass
class Made:
    """A tensor."""

    lane: int
    level: int
    channels: int
    is_read: bool = False


def made_up(rng):
    """One of them; its text is no graph."""
    while True:
        archive = _attempt(rng)
        if archive is not None:
            return archive


def _attempt(rng):
    bits = int(rng.integers(1, 9))
    values = bytes([bits]) + rng.bytes(2 << bits)
    lane, bands = int(rng.integers(1, 3)), int(rng.integers(1, 7))
    tensors = [Made(lane, 0, -(-bands // 4) * 4)]
    steps = [_STEP.pack(0, lane, 0, 0, bands, 0, 0)]
    for _ in range(rng.integers(0, 9)):
        place = int(rng.choice([i for i, each in enumerate(tensors) if not each.is_read] or len(tensors)))
        source = tensors[place]
        kind = int(rng.integers(1, 4))
        level = source.level + (0, 0, 1, -1)[kind]
        if kind == 1:
            steps.append(_convolution(rng, tensors, place, bits, logits=False))
        elif 0 <= level <= 4:
            source.is_read = True
            tensors.append(Made(source.lane, level, source.channels))
            steps.append(_STEP.pack(kind, 0, 0, 0, 0, 1, 0) + struct.pack("<H", place))
    steps.append(_convolution(rng, tensors, len(tensors) - 1, bits, logits=True))
    if not all(each.is_read for each in tensors):
        return None
    text = b"{}"
    head = _HEADER.pack(MAGIC, VERSION, 0, bytes(32), 1, len(steps), len(text))
    return sealed(head + values + b"".join(steps) + text + bytes(4))


def _convolution(rng, tensors, place, bits, *, logits):
    first = tensors[place]
    alike = [i for i, each in enumerate(tensors) if (each.lane, each.level) == (first.lane, first.level)]
    if not logits:
        alike = rng.choice(alike, rng.integers(0, 3)).tolist()
    sources = [place, *(int(each) for each in alike[:7])]
    kernel, channels = int(rng.choice([1, 3, 5, 7])), int(rng.integers(1, 20))
    for source in sources:
        tensors[source].is_read = True
    padded = -(-channels // 16) * 16
    count = kernel * kernel * padded * sum(tensors[source].channels for source in sources)
    lane = 4 if logits else int(rng.integers(1, 3))
    low, high = {1: (-128, 127), 2: (-(2**15), 2**15 - 1), 4: (0, 0)}[lane] if rng.integers(2) else (0, 100)
    mantissa = int(rng.choice([0, 3, 15, 255]))
    if not logits:
        tensors.append(Made(lane, first.level, padded))
    return b"".join(
        (
            _STEP.pack(1, lane, kernel, 0, channels, len(sources), mantissa),
            np.array(sources, "<u2").tobytes(),
            _RANGE.pack(low, high),
            rng.integers(-(2**31), 2**31, channels).astype("<i4").tobytes(),
            rng.choice([1, 3, 2**24 - 1], channels).astype("<i4").tobytes(),
            rng.integers(0, 57, channels).astype(np.uint8).tobytes(),
            rng.bytes(-(-count * bits // 8)),
        )
    )

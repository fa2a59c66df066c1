"""Archives that no network made: tables that a reader must accept, however odd their order, or must refuse."""

import struct
from dataclasses import dataclass
from zlib import crc32

import numpy as np

from taran_eo.export.archive import _HEADER, _RANGE, _STEP, MAGIC, VERSION

LOAD, CONVOLVE, POOL, UPSAMPLE = range(4)


def sealed(data):
    """An archive with its size and its checksum set right."""
    data = data[:12] + struct.pack("<I", len(data)) + data[16:-4]
    return data + struct.pack("<I", crc32(data))


def archive(steps, bits=1, values=bytes(4)):
    """Of one format; its text is no graph."""
    head = _HEADER.pack(MAGIC, VERSION, 0, bytes(32), 1, len(steps), 2)
    return sealed(head + bytes([bits]) + values + b"".join(steps) + b"{}" + bytes(4))


def load(*, lane=1, bands=3):
    """The first step."""
    return _STEP.pack(LOAD, lane, 0, 0, bands, 0, 0)


def resize(kind, source):
    """A pool or an upsample."""
    return _STEP.pack(kind, 0, 0, 0, 0, 1, 0) + struct.pack("<H", source)


def convolve(
    sources,
    *,
    reads,
    lane=4,
    kernel=1,
    place=0,
    mantissa=255,
    low=0,
    high=100,
    shifts=(0,),
    multipliers=(1,),
    code=None,
):
    """A convolution with as many channels as shifts, whose sources have `reads`; its codes are one bit, 0, or given."""
    channels = len(shifts)
    numbers = kernel * kernel * reads * -(-channels // 16) * 16
    return b"".join(
        (
            _STEP.pack(CONVOLVE, lane, kernel, place, channels, len(sources), mantissa),
            np.array(sources, "<u2").tobytes(),
            _RANGE.pack(low, high),
            np.full(channels, 2**31 - 1, "<i4").tobytes(),
            np.resize(np.array(multipliers, "<i4"), channels).tobytes(),
            np.array(shifts, np.uint8).tobytes(),
            bytes(-(-numbers // 8)) if code is None else code(numbers),
        )
    )


@dataclass
class Made:
    """A tensor."""

    lane: int
    level: int
    channels: int
    is_read: bool = False


def made_up(rng):
    """One that must be accepted."""
    while True:
        made = _attempt(rng)
        if made is not None:
            return made


def _attempt(rng):
    bits = int(rng.integers(1, 9))
    lane, bands = int(rng.integers(1, 3)), int(rng.integers(1, 7))
    tensors = [Made(lane, 0, -(-bands // 4) * 4)]
    steps = [load(lane=lane, bands=bands)]
    for _ in range(rng.integers(0, 9)):
        place = int(rng.choice([i for i, each in enumerate(tensors) if not each.is_read] or len(tensors)))
        source, kind = tensors[place], int(rng.integers(1, 4))
        level = source.level + (0, 0, 1, -1)[kind]
        if kind == CONVOLVE:
            steps.append(_convolution(rng, tensors, place, bits, logits=False))
        elif 0 <= level <= 4:
            source.is_read = True
            tensors.append(Made(source.lane, level, source.channels))
            steps.append(resize(kind, place))
    steps.append(_convolution(rng, tensors, len(tensors) - 1, bits, logits=True))
    return archive(steps, bits, rng.bytes(2 << bits)) if all(each.is_read for each in tensors) else None


def _convolution(rng, tensors, place, bits, *, logits):
    first = tensors[place]
    alike = [i for i, each in enumerate(tensors) if (each.lane, each.level) == (first.lane, first.level)]
    if not logits:
        alike = rng.choice(alike, rng.integers(0, 3)).tolist()
    sources = [place, *(int(each) for each in alike[:7])]
    for source in sources:
        tensors[source].is_read = True
    reads = sum(tensors[source].channels for source in sources)
    shifts = rng.integers(0, 57, rng.integers(1, 20))
    lane = 4 if logits else int(rng.integers(1, 3))
    if not logits:
        tensors.append(Made(lane, first.level, -(-len(shifts) // 16) * 16))
    low, high = {1: (-128, 127), 2: (-(2**15), 2**15 - 1), 4: (0, 0)}[lane] if rng.integers(2) else (0, 100)
    return convolve(
        sources,
        reads=reads,
        lane=lane,
        kernel=int(rng.choice([1, 3, 5, 7])),
        mantissa=int(rng.choice([0, 3, 15, 255])),
        low=low,
        high=high,
        shifts=shifts,
        multipliers=rng.choice([1, 3, 2**24 - 1], len(shifts)),
        code=lambda numbers: rng.bytes(-(-numbers * bits // 8)),
    )

"""Decoders of other people's, each run where it can do no harm: in a process with a limit of memory and of time.

A downlink may carry anything, and a codestream with a right checksum can still be made to hang or to crash a decoder:
CharLS 2.4.3 never returns from some damaged scans, and OpenJPH 0.26.3 reports some errors to nobody. What happens in
there ends as a `CorruptDataError` here. The process is started when it is first needed, which loads the library once
more, and stays: an image then costs no more than its way through two pipes.
"""

import atexit
import json
import os
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import IO

import numpy as np

from taran_eo.codec.confined_process import MOST_TOLD, REPLY
from taran_eo.codec.image_shape import ImageShape, Pixels, corrupt, imagecodecs

_PROCESS = Path(__file__).with_name("confined_process.py")
_MEMORY_BYTES = 1 << 30
"""Of the interpreter and its libraries, generously."""
_MEMORY_BYTES_SAMPLE = 32
"""OpenJPEG takes the most: two planes of 32 bits, the codestream and the samples."""
_TIME_S = 5.0
_TIME_S_SAMPLE = 2e-6
"""Twenty times what the slowest decoder takes on an idle core."""


class _Cell:
    """The process and the way to ask it; one for all threads, and none that a fork would share."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, request: dict[str, object], body: bytes, most: int, time_s: float) -> tuple[bool, bytes]:
        """The answer: whether it went well, and at most `most` bytes of samples, or why it did not.

        Raises:
            OSError: The process ended, or was ended because it took too long or wanted to say too much.
        """
        with self._lock:
            process, requests, replies = self._running()
            alarm = threading.Timer(time_s, process.kill)
            alarm.start()
            try:
                requests.write(json.dumps(request).encode() + b"\n" + body)
                requests.flush()
                head = replies.read(REPLY.size)
                if len(head) < REPLY.size:
                    raise OSError("the decoder crashed or hung")
                well, size = REPLY.unpack(head)
                if size > max(most, MOST_TOLD):
                    raise OSError(f"the decoder gave {size} bytes")
                told = replies.read(size)
                if len(told) < size:
                    raise OSError("the decoder hung")
            except OSError:
                self.close()
                raise
            finally:
                alarm.cancel()
        return well, told

    def close(self) -> None:
        """End the process, if it is ours."""
        if self._process is not None:
            self._process.kill()
            for pipe in self._pipes():
                with suppress(OSError):
                    pipe.close()
            self._process.wait()
        self._process = None

    def forget(self) -> None:
        """Begin anew in a fork: the process belongs to the parent, and so may the lock."""
        if self._process is not None:
            self._process.returncode = 0  # so that nobody waits for it here
        self._lock, self._process = threading.Lock(), None

    def _running(self) -> tuple[subprocess.Popen[bytes], IO[bytes], IO[bytes]]:
        """The process, started where there is none, and its pipes."""
        if self._process is not None and self._process.poll() is not None:
            self.close()  # somebody else ended it
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-P", str(_PROCESS)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
            )
            self._pipes()[1].readline()  # it is ready: its start does not count as decoding
        return self._process, *self._pipes()

    def _pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            raise OSError("the decoder has no pipes")
        return process.stdin, process.stdout


_CELL = _Cell()
atexit.register(_CELL.close)
if sys.platform != "win32":
    os.register_at_fork(after_in_child=_CELL.forget)


def decode(decoder: str, body: bytes, shape: ImageShape, *, samples: int | None = None, **options: object) -> Pixels:
    """What a decoder of imagecodecs makes of a codestream.

    Args:
        decoder: Name of the function.
        body: The codestream; its header has been checked against the shape.
        shape: What is expected of it.
        samples: How many are expected where the codestream holds more than the shape.
        **options: Options of the function.

    Returns:
        The samples in their order, one-dimensional, of the shape's type.

    Raises:
        CorruptDataError: The decoder refused it, crashed, took too long, or gave something else.
        MissingExtraError: imagecodecs is not installed.
    """
    imagecodecs()
    expected = (shape.samples if samples is None else samples) * shape.dtype.itemsize
    memory_bytes = _MEMORY_BYTES + _MEMORY_BYTES_SAMPLE * shape.samples + len(body)
    request = {"decoder": decoder, "options": options, "bytes": len(body), "memory_bytes": memory_bytes}
    try:
        well, told = _CELL.ask(request, body, expected, _TIME_S + _TIME_S_SAMPLE * shape.samples)
    except OSError as error:
        raise corrupt(f"An image cannot be expanded: {error}") from error
    if not well:
        raise corrupt(f"An image cannot be expanded ({told.decode(errors='replace') or decoder})")
    if len(told) != expected:
        raise corrupt(f"A codestream of an image holds {len(told)} bytes of samples instead of {expected}")
    pixels: Pixels = np.frombuffer(told, dtype=shape.dtype)
    return pixels

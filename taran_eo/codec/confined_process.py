"""The process in which codestreams are decoded: started by `taran_eo.codec.confined`, imports nothing of ours.

It reads requests from standard input until that ends: a line of JSON (decoder, options, bytes of the body, bytes of
memory), then the body. It answers each with a head (`REPLY`) and the samples in their order, or why there are none.
"""

import json
import struct
import sys
from typing import Any

REPLY = struct.Struct("<?7xQ")
"""Whether it went well; bytes that follow."""
MOST_TOLD = 200
"""Bytes of an error."""


def main() -> None:
    """Decode until nobody asks any more."""
    import imagecodecs
    import numpy as np

    swallowed: list[str] = []

    def heard(unraisable: Any) -> None:  # noqa: ANN401 sys.UnraisableHookArgs is no class to import
        """Some errors are raised where Python must swallow them; they end the decoding all the same."""
        swallowed.append(str(unraisable.exc_value))

    sys.unraisablehook = heard
    requests, replies = sys.stdin.buffer, sys.stdout.buffer
    replies.write(b"\n")
    replies.flush()
    for line in requests:
        request = json.loads(line)
        body = requests.read(request["bytes"])
        _limit(request["memory_bytes"])
        swallowed.clear()
        try:
            decoded = getattr(imagecodecs, request["decoder"])(body, **request["options"])
        except (RuntimeError, ValueError, TypeError, OSError, MemoryError) as error:
            # What the library raises. Anything else ends this process, and the owner tells of a decoder that crashed.
            swallowed.append(str(error))
        if swallowed:
            told = swallowed[0].encode()[:MOST_TOLD]
            replies.write(REPLY.pack(False, len(told)) + told)
        else:
            samples = decoded.tobytes() if isinstance(decoded, np.ndarray) else decoded
            replies.write(REPLY.pack(True, len(samples)))
            replies.write(samples)
        replies.flush()


def _limit(memory_bytes: int) -> None:
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, resource.getrlimit(resource.RLIMIT_AS)[1]))


if __name__ == "__main__":
    main()

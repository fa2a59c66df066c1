"""One zstandard frame without its magic number, whose length is known to whoever opens it.

The length of the content is kept outside the frame, so that it is checked before anything is allocated:
a frame that claims, or grows to, more than that is refused, whatever its own header says.
"""

import zstandard

from taran_eo.errors import CorruptDataError

_LEVEL = 19
_LARGEST_WINDOW = 1 << 23
"""What level 19 asks for (8 MiB); a frame that wants more memory than this is none of ours."""


def _raw(dictionary: bytes | None) -> zstandard.ZstdCompressionDict | None:
    if dictionary is None:
        return None
    return zstandard.ZstdCompressionDict(dictionary, dict_type=zstandard.DICT_TYPE_RAWCONTENT)


def close(content: bytes, *, dictionary: bytes | None = None) -> bytes:
    """The frame of `content`; `dictionary` is text that the content is likely to repeat."""
    parameters = zstandard.ZstdCompressionParameters.from_level(
        _LEVEL,
        source_size=len(content),
        dict_size=len(dictionary) if dictionary is not None else 0,
        format=zstandard.FORMAT_ZSTD1_MAGICLESS,
        write_content_size=0,
        write_checksum=0,
        write_dict_id=0,
    )
    compressor = zstandard.ZstdCompressor(compression_params=parameters, dict_data=_raw(dictionary))
    return compressor.compress(content)


def open_(data: bytes, size: int, *, dictionary: bytes | None = None) -> bytes:
    """The `size` bytes of content in a frame that `close` made with the same dictionary.

    Raises:
        CorruptDataError: The frame is no zstandard frame, or holds more or less than `size` bytes.
    """
    decompressor = zstandard.ZstdDecompressor(
        dict_data=_raw(dictionary),
        max_window_size=_LARGEST_WINDOW,
        format=zstandard.FORMAT_ZSTD1_MAGICLESS,
    )
    try:
        with decompressor.stream_reader(data) as reader:
            content = reader.read(size + 1)
    except (zstandard.ZstdError, MemoryError) as error:
        raise CorruptDataError(
            f"The compressed data cannot be expanded ({error})", remedy="Fetch the data again"
        ) from error
    if len(content) != size:
        found = "more" if len(content) > size else f"only {len(content)}"
        raise CorruptDataError(
            f"The compressed data should hold {size} bytes but holds {found}", remedy="Fetch the data again"
        )
    return bytes(content)

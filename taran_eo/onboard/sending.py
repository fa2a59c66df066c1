"""What a run has finished, on its way down: products in bundles, and bundles in frames."""

from collections.abc import Iterator
from pathlib import Path

from taran_eo import journal
from taran_eo.codec import Bundle, Product, bundles, unpack
from taran_eo.errors import CorruptDataError, OutputError
from taran_eo.outputs import PRODUCT, place


def products(folder: Path) -> Iterator[Product]:
    """The products of all scenes that the journal of an output folder tells of, by name.

    Raises:
        OutputError: The folder holds no journal, or a product is missing.
        CorruptDataError: The journal or a product was changed.
    """
    for name in sorted(journal.read(folder).finished):
        path = place(folder, name, PRODUCT)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise OutputError(
                f"{path} cannot be read: {error.strerror}", remedy="Run again with --resume to make it anew", path=path
            ) from error
        try:
            yield unpack(data)
        except CorruptDataError as error:
            raise CorruptDataError(
                f"{path} is damaged: {error.what}", remedy="Run again with --resume to make it anew", path=path
            ) from error


def bundled(folder: Path, *, twice: bool) -> Iterator[Bundle]:
    """The bundles of a run; see `taran_eo.codec.bundles`, and `products` for what may be wrong.

    Raises:
        OutputError: Nothing is finished in the folder.
    """
    if not journal.read(folder).finished:
        raise OutputError(
            f"{folder} holds no finished scene that could go down", remedy="Name the output folder of `taran-eo run`"
        )
    return bundles(lambda: products(folder), twice=twice)

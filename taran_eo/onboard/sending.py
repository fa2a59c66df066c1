"""What a run has finished, on its way down: products in bundles, bundles in files, files in frames."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from taran_eo import journal
from taran_eo.codec import Product, bundles, unpack
from taran_eo.errors import CorruptDataError, OutputError
from taran_eo.outputs import PRODUCT, place, together, writing
from taran_eo.wire import File, Wire, send

FOLDER = "downlink"
FRAMES = "frames.bin"
SENT = "sent.json"


@dataclass(frozen=True, slots=True)
class Sent:
    """What was put into frames.

    Attributes:
        path: The frames.
        files: Names and sizes in bytes of the files in them.
        file_bytes: Bytes of all files.
        wire_bytes: Bytes of all frames, with markers and check symbols.
    """

    path: Path
    files: dict[str, int]
    file_bytes: int
    wire_bytes: int


def products(folder: Path) -> Iterator[Product]:
    """The products of all scenes that the journal of an output folder tells of, by name.

    Raises:
        OutputError: A product is missing.
        CorruptDataError: The journal or a product was changed.
    """
    for name in sorted(journal.read(folder).finished):
        path = place(folder, name, PRODUCT)
        try:
            yield unpack(path.read_bytes())
        except OSError as error:
            raise OutputError(
                f"{path} cannot be read: {error.strerror}", remedy="Run again with --resume to make it anew", path=path
            ) from error
        except CorruptDataError as error:
            raise CorruptDataError(
                f"{path} is damaged: {error.what}", remedy="Run again with --resume to make it anew", path=path
            ) from error


def files(folder: Path, *, twice: bool) -> Iterator[File]:
    """The files that carry the products of a run down, what matters most first; raises as `products`.

    Args:
        folder: The output folder of the run.
        twice: Whether counts, ships and masks go again at the end, as is wise without an uplink.

    Raises:
        OutputError: Nothing is finished in the folder.
    """
    if not journal.read(folder).finished:
        raise OutputError(
            f"{folder} holds no finished scene that could go down",
            remedy="Name the output folder of `taran-eo run`",
            path=folder,
        )
    return (File(bundle.name, bundle.data) for bundle in bundles(lambda: products(folder), twice=twice))


def write_frames(folder: Path, wire: Wire) -> Sent:
    """Put the products of a run into frames, said once for a link without an uplink (CFDP class 1).

    Memory holds one product and one bundle.

    Args:
        folder: The output folder of the run; the frames go to a folder in it.
        wire: How files travel.

    Raises:
        OutputError: Nothing is finished in the folder, or the frames cannot be written.
        CorruptDataError: A product was changed.
    """
    frames, record = folder / FOLDER / FRAMES, folder / FOLDER / SENT
    sizes: dict[str, int] = {}

    def counted() -> Iterator[File]:
        for file in files(folder, twice=True):
            sizes[file.name] = len(file.data)
            yield file

    with together(folder, (frames, record)) as temporaries:
        with writing(frames), temporaries[frames].open("wb") as stream:
            for piece in send(counted(), wire.framing, wire.cfdp):
                stream.write(piece)
            sent = Sent(frames, sizes, sum(sizes.values()), stream.tell())
        told = asdict(sent) | {"path": FRAMES, "wire": wire.model_dump(mode="json")}
        with writing(record):
            temporaries[record].write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    return sent

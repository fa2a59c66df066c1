"""Sent and received, side by side: masks by the SHA-256 of their labels, with and without loss on the way."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import rasterio
from rasterio.errors import RasterioError
from rasterio.windows import Window as RasterWindow

from taran_eo import journal
from taran_eo.errors import CorruptDataError
from taran_eo.ground.landing import Landing
from taran_eo.imagery.mask import MASK_SUFFIX
from taran_eo.imagery.source import gdal
from taran_eo.outputs import place

_ROWS = 256


@dataclass(frozen=True, slots=True)
class Compared:
    """A mask on board and the one on the ground.

    Attributes:
        name: Name of the scene.
        sent: SHA-256 of the labels on board.
        received: SHA-256 of the labels on the ground, None where there is no mask.
    """

    name: str
    sent: str
    received: str | None

    @property
    def identical(self) -> bool:
        """Whether both have the same labels everywhere."""
        return self.sent == self.received


def compare(sent: Path, received: Path, landing: Landing) -> Iterator[Compared]:
    """The mask of every scene that a run has finished and sent, and that of the same scene on the ground.

    Args:
        sent: Output folder of the run.
        received: Folder of the ground.
        landing: What `land` told of that folder.

    Raises:
        CorruptDataError: A mask cannot be read, or the journal of the run was changed.
    """
    history = journal.read(sent)
    if history.identity is not None and history.identity.get("level") in ("counts", "ships"):
        return
    landed = {scene.scene: scene for scene in landing.scenes}
    for name in sorted(history.finished):
        outputs = landed[name].outputs if name in landed else {}
        mask = next((received / output for output in outputs if output.endswith(MASK_SUFFIX)), None)
        yield Compared(name, _digest(place(sent, name, MASK_SUFFIX)), None if mask is None else _digest(mask))


def _digest(mask: Path) -> str:
    """SHA-256 of the size and the labels of a mask, a strip at a time: the same for any way of storing them."""
    try:
        with gdal(), rasterio.open(mask, driver="GTiff") as dataset:
            digest = hashlib.sha256(f"{dataset.height} x {dataset.width}\n".encode())
            for row in range(0, dataset.height, _ROWS):
                strip = RasterWindow(0, row, dataset.width, min(_ROWS, dataset.height - row))
                digest.update(dataset.read(1, window=strip).tobytes())
    except RasterioError as error:
        raise CorruptDataError(f"{mask} cannot be read ({error})", remedy="Make it again", path=mask) from error
    return digest.hexdigest()

"""The way back in one screen: bytes of files go in; what they hold of each scene comes out, and what is missing."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

from taran_eo.codec import Product, gather, scan
from taran_eo.errors import CorruptDataError
from taran_eo.ground.scene import settle
from taran_eo.outputs import LONGEST_NAME_BYTES, writing
from taran_eo.provenance import sha256_file

REPORT = "reception.json"


@dataclass(frozen=True, slots=True)
class Landed:
    """What is there of a scene.

    Attributes:
        scene: Its name on board.
        key: What its parts know one another by, hexadecimal.
        ships: Ships that the satellite found.
        outputs: SHA-256 of each file, by its path within the folder.
        missing: What has not arrived, or arrived unreadable, a line each; empty where all is there.
    """

    scene: str
    key: str
    ships: int
    outputs: dict[str, str]
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Landing:
    """What has come of all files.

    Attributes:
        scenes: The scenes, in the order in which their headers came.
        lost: What came of scenes whose headers did not, and parts that no encoder of ours wrote, a line each.
        findings: What was wrong with the files and on the way, a line each.
    """

    scenes: tuple[Landed, ...]
    lost: tuple[str, ...]
    findings: tuple[str, ...]

    @property
    def whole(self) -> bool:
        """Whether all that is known of is there."""
        return not self.lost and not any(scene.missing for scene in self.scenes)


def land(files: Iterable[bytes], folder: Path, *, findings: Sequence[str] = ()) -> Landing:
    """Write what arrived of products to a folder: per scene its mask, ships, pixels and preview; and a report.

    What is missing of a mask is written as no data. Files may overlap, repeat one another, and have holes.

    Args:
        files: The bytes of files, zeros where they have holes.
        folder: Where the outputs go; scenes of the same name from earlier calls are replaced.
        findings: What is known to be wrong with the files, for the report.

    Raises:
        OutputError: The folder cannot be written.
    """
    gathered = gather(part for data in files for part in scan(data))
    landed = tuple(
        _landed(product, name, folder)
        for name, product in zip(_names(gathered.products), gathered.products, strict=True)
    )
    lost = (*gathered.orphans, *(f"a part that cannot be read: {fault.what}" for fault in gathered.faults))
    landing = Landing(landed, lost, tuple(findings))
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / REPORT).write_text(json.dumps(asdict(landing), indent=2) + "\n", encoding="utf-8")
    return landing


def _landed(product: Product, name: str, folder: Path) -> Landed:
    header = product.header
    try:
        files, unreadable = settle(product, folder, name)
    except CorruptDataError as error:
        files, unreadable = (), (error.what,)
    outputs = {file.relative_to(folder).as_posix(): sha256_file(file) for file in files}
    return Landed(header.scene, header.key.hex(), header.ships, outputs, (*product.missing(), *unreadable))


def _names(products: Sequence[Product]) -> list[str]:
    """A name for the outputs of each: that of its scene where it can be one, with the key where others have it too."""
    names, taken = list[str](), set[str]()
    for product in products:
        header = product.header
        name = header.scene if _is_name(header.scene) else f"scene_{header.key.hex()}"
        if name.casefold() in taken:
            name = f"{name}~{header.key.hex()}"
        taken.add(name.casefold())
        names.append(name)
    return names


def _is_name(scene: str) -> bool:
    """Whether a scene's name, which came from afar, names files below the output folder and nothing else."""
    path = PurePosixPath(scene)
    plain = path.as_posix() == scene and not path.is_absolute() and ".." not in path.parts and scene.isprintable()
    return plain and scene not in ("", ".") and all(len(part.encode()) <= LONGEST_NAME_BYTES for part in path.parts)

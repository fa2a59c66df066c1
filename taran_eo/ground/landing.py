"""The way back in one screen: bytes of files go in; what they hold of each scene comes out, and what is missing."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from unicodedata import category

from taran_eo import journal
from taran_eo.codec import Part, Product, gather, scan
from taran_eo.errors import CorruptDataError, OutputError
from taran_eo.ground.scene import settle
from taran_eo.outputs import LONGEST_NAME_BYTES, together, writing
from taran_eo.provenance import sha256_file

REPORT = "reception.json"
_OURS = (".tif", ".json", ".geojson", ".png")
_LONGEST = 1000
"""Letters of a name with its folders; file systems take some four thousand bytes."""


@dataclass(frozen=True, slots=True)
class Landed:
    """What is there of a scene.

    Attributes:
        scene: Its name on board.
        key: What its parts know one another by, hexadecimal.
        ships: Ships that the satellite found.
        levels: What the satellite sent of it, above its counts.
        outputs: SHA-256 of each file, by its path within the folder.
        missing: What has not arrived, or arrived unreadable, a line each; empty where all is there.
    """

    scene: str
    key: str
    ships: int
    levels: tuple[str, ...]
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
        """Whether there is a scene, and all that is known of is there."""
        return bool(self.scenes) and not self.lost and not any(scene.missing for scene in self.scenes)


def land(files: Iterable[bytes], folder: Path, *, findings: Sequence[str] = ()) -> Landing:
    """Write what arrived of products to a folder: per scene its mask, ships, pixels and preview; and a report.

    What is missing of a mask is written as no data. Files may overlap, repeat one another, and have holes.

    Args:
        files: The bytes of files, zeros where they have holes.
        folder: Where the outputs go; what its report tells of an earlier call is removed.
        findings: What is known to be wrong with the files, for the report.

    Raises:
        OutputError: The folder cannot be written, or holds the outputs of a run.
    """
    if (folder / journal.NAME).exists():
        raise OutputError(
            f"{folder} holds the outputs of a run, which those of the ground would replace",
            remedy="Choose another folder",
            path=folder,
        )
    _clear(folder)
    faults: list[str] = []
    gathered = gather(part for data in files for part in _scanned(data, faults))
    lost = (*gathered.orphans, *faults, *(f"a part that cannot be used: {fault.what}" for fault in gathered.faults))
    landed: list[Landed] = []
    try:
        for name, product in zip(_names(gathered.products), gathered.products, strict=True):
            landed.append(_landed(product, name, folder))
    finally:
        # Whatever stops this, a full disk above all: the report tells what is there already.
        landing = Landing(tuple(landed), lost, tuple(findings))
        with together(folder, [folder / REPORT]) as temporaries:
            text = json.dumps(asdict(landing), indent=2) + "\n"
            temporaries[folder / REPORT].write_text(text, encoding="utf-8")
    return landing


def _clear(folder: Path) -> None:
    """Remove what an earlier call wrote, by its report, so that nothing old passes for received."""
    report = folder / REPORT
    try:
        scenes = json.loads(report.read_bytes())["scenes"]
        earlier = [folder / output for scene in scenes for output in scene["outputs"]]
    except FileNotFoundError:
        return
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OutputError(
            f"{report} is no report of the ground", remedy="Choose another folder, or delete it", path=report
        ) from error
    for path in earlier:
        # A report that was changed may name other files.
        if path.resolve().is_relative_to(folder.resolve()):
            with writing(path):
                path.unlink(missing_ok=True)


def _scanned(data: bytes, faults: list[str]) -> Iterator[Part]:
    try:
        yield from scan(data)
    except CorruptDataError as error:
        faults.append(error.what)


def _landed(product: Product, name: str, folder: Path) -> Landed:
    header = product.header
    try:
        files, unreadable = settle(product, folder, name)
    except CorruptDataError as error:
        files, unreadable = (), (error.what,)
    outputs = {file.relative_to(folder).as_posix(): sha256_file(file) for file in files}
    missing = (*product.missing(), *unreadable)
    return Landed(header.scene, header.key.hex(), header.ships, tuple(header.levels), outputs, missing)


def _names(products: Sequence[Product]) -> list[str]:
    """A name for the outputs of each: that of its scene where it can be one, else one of its key."""
    names, taken = list[str](), set[str]()
    for product in products:
        scene, key = product.header.scene, product.header.key.hex()
        tries = (scene, f"{scene}~{key}") if _is_name(scene) else ()
        names.append(next(name for name in (*tries, f"scene_{key}") if name.casefold() not in taken))
        taken.add(names[-1].casefold())
    return names


def _is_name(scene: str) -> bool:
    """Whether a scene's name, which came from afar, names files below the output folder and nothing else.

    No folder of it may have a name that a file of ours could have.
    """
    path = PurePosixPath(scene) if len(scene) <= _LONGEST else PurePosixPath()
    plain = path.as_posix() == scene and not path.is_absolute() and not {"", ".", ".."} & {scene, *path.parts}
    printable = not any(category(letter).startswith("C") for letter in scene)
    apart = not any(folder.endswith(_OURS) for folder in path.parts[:-1])
    return plain and printable and apart and all(len(part.encode()) <= LONGEST_NAME_BYTES for part in path.parts)

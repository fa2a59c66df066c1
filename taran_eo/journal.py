"""The journal of an output folder: what a run has finished, so that it goes on exactly there after any end.

One JSON object a line, each with the CRC-32 of all else in it. The first line is the identity of the run;
then one line a scene, finished (with the digests of its outputs) or skipped (with the reason). A line is on
disk before the next scene is counted. The last line may be torn when the power fails, and is then dropped; any
other bad line means that the file was changed, and is an error.
"""

import fcntl
import json
import os
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, Literal, Self

from pydantic import Field, JsonValue, TypeAdapter, ValidationError

from taran_eo.config import Settings
from taran_eo.errors import CorruptDataError, OutputError
from taran_eo.provenance import sha256_file

NAME = "journal.jsonl"


@dataclass(frozen=True, slots=True)
class Input:
    """What an input file was when it was read: by this a changed file is told.

    Attributes:
        size: Bytes.
        mtime_ns: Time of the last change, nanoseconds since 1970.
    """

    size: int
    mtime_ns: int

    @classmethod
    def of(cls, path: Path) -> "Input":
        """The file as it is now; raises `OSError` where there is none."""
        stat = path.stat()
        return cls(stat.st_size, stat.st_mtime_ns)


@dataclass(frozen=True, slots=True)
class Finished:
    """A scene whose outputs are complete.

    Attributes:
        name: Name of the scene among the outputs.
        file: Path of the scene's file, links resolved.
        input: The file when it was read.
        outputs: SHA-256 of each output, by its path within the folder.
        tiles: Tiles of the scene.
        ships: Ships found.
        bytes_in: Bytes of its raw pixels.
        bytes_out: Bytes of its product.
    """

    name: str
    file: str
    input: Input
    outputs: dict[str, str]
    tiles: int
    ships: int
    bytes_in: int
    bytes_out: int

    def stands(self, folder: Path, file: Path) -> bool:
        """Whether the outputs are all there, unchanged, and `file` is still what was read."""
        try:
            return self.input == Input.of(file) and all(
                sha256_file(folder / output) == digest for output, digest in self.outputs.items()
            )
        except OSError:
            return False


@dataclass(frozen=True, slots=True)
class Skipped:
    """A scene that gave no outputs, and why.

    Attributes:
        name: Name that the scene would have among the outputs.
        file: Path of the scene's file, as it was given.
        reason: What was wrong, and what to do.
    """

    name: str
    file: str
    reason: str


class _Run(Settings):
    kind: Literal["run"]
    identity: dict[str, JsonValue]


class _Finished(Settings):
    kind: Literal["finished"]
    scene: Finished


class _Skipped(Settings):
    kind: Literal["skipped"]
    scene: Skipped


_LINE: TypeAdapter[Any] = TypeAdapter(Annotated[_Run | _Finished | _Skipped, Field(discriminator="kind")])


@dataclass(frozen=True)
class History:
    """What a journal says; of several lines on one scene the last one counts.

    Attributes:
        identity: The identity of the run, None for a journal without a complete first line.
        finished: The finished scenes by name.
        skipped: The skipped scenes by name.
        length: Bytes of the journal's complete lines.
    """

    identity: dict[str, JsonValue] | None = None
    finished: dict[str, Finished] = field(default_factory=dict)
    skipped: dict[str, Skipped] = field(default_factory=dict)
    length: int = 0


def read(folder: Path) -> History:
    """Read the journal of an output folder; a folder without one has an empty history.

    Raises:
        CorruptDataError: A line before the last one is not what was written.
        OutputError: The journal is there but cannot be read.
    """
    path = folder / NAME
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except FileNotFoundError:
        return History()
    except OSError as error:
        raise OutputError(
            f"The journal {path} cannot be read: {error.strerror}",
            remedy="Check that the output folder is a folder and may be read",
            path=path,
        ) from error
    identity: dict[str, JsonValue] | None = None
    finished: dict[str, Finished] = {}
    skipped: dict[str, Skipped] = {}
    length = 0
    for number, line in enumerate(lines, start=1):
        entry = _parse(line)
        if entry is None and number == len(lines):
            break
        if entry is None or isinstance(entry, _Run) != (number == 1):
            raise CorruptDataError(
                f"Line {number} of the journal {path} is not what was written there",
                remedy="Restore the journal, or delete it and run again without --resume: all is then redone",
                path=path,
                line=number,
            )
        length += len(line)
        if isinstance(entry, _Run):
            identity = entry.identity
            continue
        for book in (finished, skipped):
            book.pop(entry.scene.name, None)
        if isinstance(entry, _Finished):
            finished[entry.scene.name] = entry.scene
        else:
            skipped[entry.scene.name] = entry.scene
    return History(identity, finished, skipped, length)


class Journal:
    """A journal to append to; a context manager.

    Args:
        folder: The output folder; it is made if missing.
        identity: What must be equal for results to belong together, as plain JSON values.

    Raises:
        OutputError: The folder cannot be written, another run writes to it, or it holds the results of a run with
            another identity.
        CorruptDataError: The journal in the folder was changed.
    """

    def __init__(self, folder: Path, identity: Mapping[str, JsonValue]) -> None:
        self.path = folder / NAME
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("ab", buffering=0)
        except OSError as error:
            raise self._failed(error) from error
        try:
            self._lock()
            self.history = read(folder)
            self._refuse_other(dict(identity))
            self._begin(dict(identity))
        except BaseException:
            self._file.close()
            raise

    def finish(self, scene: Finished) -> None:
        """Record a finished scene, durably.

        Raises:
            OutputError: The disk is full or was taken away.
        """
        self._append({"kind": "finished", "scene": asdict(scene)})

    def skip(self, scene: Skipped) -> None:
        """Record a skipped scene, durably.

        Raises:
            OutputError: The disk is full or was taken away.
        """
        self._append({"kind": "skipped", "scene": asdict(scene)})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def _lock(self) -> None:
        """Keep other runs out until the file is closed; the system does that even for a killed process."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OutputError(
                f"Another run is writing to {self.path.parent}",
                remedy="Wait for its end, or choose another output folder",
                path=self.path.parent,
            ) from error
        except OSError as error:
            raise self._failed(error) from error

    def _begin(self, identity: dict[str, JsonValue]) -> None:
        try:
            self._file.truncate(self.history.length)
            sync_folder(self.path.parent)
        except OSError as error:
            raise self._failed(error) from error
        if self.history.identity is None:
            self._append({"kind": "run", "identity": identity})

    def _append(self, entry: dict[str, Any]) -> None:
        line = _line(entry)
        try:
            if self._file.write(line) != len(line):
                raise OSError("the line was written only in part")
            os.fsync(self._file.fileno())
        except OSError as error:
            raise self._failed(error) from error

    def _refuse_other(self, identity: dict[str, JsonValue]) -> None:
        # Through JSON, so that a tuple and the list that was read back are the same.
        mine, theirs = json.loads(json.dumps(identity)), self.history.identity
        if theirs is None or theirs == mine:
            return
        differing = sorted(key for key in {*mine, *theirs} if mine.get(key) != theirs.get(key))
        told = "; ".join(f"{key} was {theirs.get(key)!r} and is {mine.get(key)!r}" for key in differing)
        raise OutputError(
            f"{self.path.parent} holds the results of another run: {told}",
            remedy="Choose another output folder, or empty this one, or run with the same options",
            path=self.path.parent,
            differing=tuple(differing),
        )

    def _failed(self, error: OSError) -> OutputError:
        return OutputError(
            f"The journal {self.path} cannot be written: {error.strerror or error}",
            remedy="Check that the output folder may be written and that the disk has room; then use --resume",
            path=self.path,
            errno=error.errno,
        )


def sync_folder(folder: Path) -> None:
    """Make new names in a folder durable; raises `OSError`."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _line(entry: Mapping[str, Any]) -> bytes:
    return _text({**entry, "crc32": f"{zlib.crc32(_text(entry)):08x}"}) + b"\n"


def _text(entry: Mapping[str, Any]) -> bytes:
    return json.dumps(entry, sort_keys=True, separators=(",", ":")).encode("ascii")


def _parse(line: bytes) -> _Run | _Finished | _Skipped | None:
    """The entry of a line, None where it is not byte for byte what `_line` makes."""
    try:
        fields = json.loads(line)
        if not isinstance(fields, dict) or fields.pop("crc32", None) is None or _line(fields) != line:
            return None
        entry: _Run | _Finished | _Skipped = _LINE.validate_json(_text(fields))
    except (ValueError, ValidationError, RecursionError):
        return None
    return entry

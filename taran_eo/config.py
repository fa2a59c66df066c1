"""Configuration: one TOML file becomes one frozen, strictly checked value, or a message that can be acted on.

Files are parsed here, once; behind this border nobody asks whether a key is there or of which type it is.
TOML has the value types of JSON, so a file is judged as pydantic judges JSON in strict mode: an array may
become a tuple and a string a path, but "3" is no number and 1 is no truth value.
"""

import difflib
import json
import tomllib
from collections.abc import Mapping, Sequence
from datetime import date, time
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from taran_eo.errors import ConfigError


class Settings(BaseModel):
    """The base of all configuration models: immutable, no unknown keys, no silent conversion."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


M = TypeVar("M", bound=BaseModel)


def load_toml(path: Path, model: type[M], overrides: Sequence[str] = ()) -> M:
    """Read a TOML file as a `model`.

    A file may begin with ``extends = "other.toml"``, a path from its own folder: then it needs to say only what
    differs.

    Args:
        path: The file.
        model: The pydantic model to fill; derive it from `Settings`.
        overrides: Texts ``a.b=value`` as given to ``--set``, applied in order before the check.

    Returns:
        The checked value.

    Raises:
        ConfigError: Unreadable file, no TOML, unknown or missing key, or a value of the wrong kind; the
            message names the file, the key, the value and what to do.
    """
    return parse(override(_read(path), overrides), model, source=str(path))


def load_json(path: Path, model: type[M]) -> M:
    """Read a JSON file as a `model`.

    Raises:
        ConfigError: Unreadable file, no JSON, or as for `parse`.
    """
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(
            f"{path} is not readable as JSON: {error}", remedy="Check the path, or make the file again", path=path
        ) from error
    return parse(table, model, source=str(path))


def _read(path: Path, descendants: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The table of a file, over that of the file that it extends."""
    if path.resolve() in descendants:
        raise ConfigError(f"{path} extends itself", remedy="Take `extends` out of one of the files", path=path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path} cannot be read: {error}",
            remedy="Check the path, the permissions, and that the file is UTF-8 text",
            path=path,
        ) from error
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # a number of too many digits, brackets without end
        raise ConfigError(
            f"{path} is not TOML: {error}",
            remedy="Mend the line that the message names",
            path=path,
        ) from error
    parent = table.pop("extends", None)
    return table if parent is None else _over(_read(path.parent / str(parent), (*descendants, path.resolve())), table)


def _over(parent: Mapping[str, Any], child: Mapping[str, Any]) -> dict[str, Any]:
    """Tables are joined key by key; any other value of the child replaces the parent's."""
    joined = dict(parent)
    for key, value in child.items():
        before = parent.get(key)
        both = isinstance(before, Mapping) and isinstance(value, Mapping)
        joined[key] = _over(before, value) if both else value  # type: ignore[arg-type]
    return joined


def parse(table: Mapping[str, Any], model: type[M], *, source: str) -> M:
    """Check a table of plain values against `model`; `source` says in messages where it came from.

    Raises:
        ConfigError: As for `load_toml`; all faults are listed, the remedy is that of the first.
    """
    try:
        return model.model_validate_json(json.dumps(table, default=_iso))
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False)
        keys = [".".join(map(str, fault["loc"])) for fault in faults]
        said = [_fault(fault, key) for fault, key in zip(faults, keys, strict=True)]
        raise ConfigError(
            f"{source}: {'; '.join(said)}",
            remedy=_remedy(faults[0], keys[0], model),
            source=source,
            keys=tuple(keys),
        ) from error


def override(table: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """A copy of `table` with ``a.b=value`` texts applied; `table` itself stays as it is.

    The value is read as TOML (``3``, ``0.5``, ``true``, ``[1, 2]``, ``"text"``); what is no TOML value is
    taken as the text that it is, so that ``name=run7`` needs no quotes. Missing tables on the way are made.

    Raises:
        ConfigError: No equals sign, an empty key, or a key that leads through something that is no table.

    Example:
        >>> override({"train": {"epochs": 9, "seed": 1}}, ["train.epochs=2", "name=trial"])
        {'train': {'epochs': 2, 'seed': 1}, 'name': 'trial'}
    """
    result = dict(table)
    for text in overrides:
        key, equals, value = text.partition("=")
        steps = [step.strip() for step in key.split(".")]
        if not equals or not all(steps):
            raise ConfigError(
                f"The setting {text!r} is not of the form key=value",
                remedy="Write it as --set table.key=value, without spaces around the equals sign",
                setting=text,
            )
        here = result
        for step in steps[:-1]:
            below = here.get(step, {})
            if not isinstance(below, Mapping):
                raise ConfigError(
                    f"The setting {text!r} leads through {step!r}, which is the value {below!r} and no table",
                    remedy=f"Set {step!r} itself, or name a key that is a table",
                    setting=text,
                )
            here[step] = dict(below)
            here = here[step]
        here[steps[-1]] = _value(value.strip())
    return result


def _value(text: str) -> Any:  # noqa: ANN401  what TOML holds
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    # A line break in the text could smuggle in further keys: then it is no single value, but a text.
    return parsed["value"] if len(parsed) == 1 else text


def _iso(value: object) -> str:
    if isinstance(value, date | time):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} is not a TOML value")


def _fault(fault: Any, key: str) -> str:  # noqa: ANN401  pydantic's ErrorDetails is not public
    if fault["type"] == "missing":
        return f"{key} is missing"
    if fault["type"] == "extra_forbidden":
        return f"{key} = {fault['input']!r} is not a known key"
    if fault["type"] == "value_error":  # a rule over several keys, which says itself what it wants
        return str(fault["msg"]).removeprefix("Value error, ")
    return f"{key} = {fault['input']!r}: {fault['msg']}"


def _remedy(fault: Any, key: str, model: type[BaseModel]) -> str:  # noqa: ANN401
    last = key.rpartition(".")[2]
    if fault["type"] == "missing":
        return f"Add the key {last} to that table"
    if fault["type"] == "extra_forbidden":
        table, paths = key.rpartition(".")[0], _paths(model)
        near = difflib.get_close_matches(last, [path.rpartition(".")[2] for path in paths], n=1)
        if not near:
            return f"Remove it; known keys are {', '.join(paths)}"
        # A key that belongs into another table is told with that.
        meant = [path for path in paths if path.rpartition(".")[2] == near[0]]
        here = any(path.rpartition(".")[0] == table for path in meant)
        return f"Did you mean {near[0] if here else meant[0]}?"
    if fault["type"] == "value_error":
        return "Change one of the keys that it names"
    return f"Give {key} a value of that kind"


def _paths(model: type[BaseModel], table: str = "") -> list[str]:
    """All keys that a model and the models inside it know, with their tables, for a suggestion."""
    paths: list[str] = []
    for name, field in model.model_fields.items():
        paths.append(f"{table}{name}")
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            paths.extend(_paths(kind, f"{table}{name}."))
    return paths

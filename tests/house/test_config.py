"""Configuration files: strict, with messages that name file, key, value and remedy."""

import re
from pathlib import Path

import pytest
from pydantic import Field, ValidationError

from taran_eo.config import Settings, load_toml, override
from taran_eo.errors import ConfigError
from taran_eo.provenance import environment, sha256_config


class Optimizer(Settings):
    rate: float = Field(default=0.001, gt=0)
    betas: tuple[float, float] = (0.9, 0.99)


class Recipe(Settings):
    epochs: int
    images: Path = Path("images")
    optimizer: Optimizer = Optimizer()


def load(tmp_path: Path, text: str, *overrides: str) -> Recipe:
    path = tmp_path / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return load_toml(path, Recipe, overrides)


def test_a_file_becomes_a_frozen_value(tmp_path: Path) -> None:
    recipe = load(tmp_path, 'epochs = 3\nimages = "a/b"\n[optimizer]\nbetas = [0.5, 1]\n', "optimizer.rate=2")
    assert recipe == Recipe(epochs=3, images=Path("a/b"), optimizer=Optimizer(rate=2.0, betas=(0.5, 1.0)))
    with pytest.raises(ValidationError, match="frozen"):
        recipe.epochs = 4


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("epochs = \n", "recipe.toml is not TOML"),
        ("", r"epochs is missing. Add the key epochs"),
        ('epochs = "3"\n', r"epochs = '3': .*integer"),
        ("epochs = true\n", r"epochs = True: .*integer"),
        ("epochs = 3\nepoch = 3\n", r"epoch = 3 is not a known key. Did you mean epochs\?"),
        ("epochs = 3\nrate = 1\n", r"rate = 1 is not a known key. Did you mean optimizer.rate\?"),
        ("epochs = 3\n[optimizer]\nrat = 1\n", r"optimizer.rat = 1 is not a known key. Did you mean rate\?"),
        ("epochs = 3\n[optimizer]\nrate = 0\n", r"optimizer.rate = 0: .*greater than 0"),
        ("epochs = 3\nzzz = 1\n", r"zzz = 1 .*known keys are epochs, images, optimizer"),
        ("epochs = 2026-01-01\n", r"epochs = '2026-01-01'"),
    ],
)
def test_faults_name_the_file_the_key_and_the_remedy(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        load(tmp_path, text)
    assert str(tmp_path / "recipe.toml") in str(caught.value)


def test_a_file_says_only_what_differs_from_the_one_it_extends(tmp_path: Path) -> None:
    (tmp_path / "parent.toml").write_text("epochs = 3\n[optimizer]\nrate = 0.5\nbetas = [0.1, 0.2]\n")
    recipe = load(tmp_path, 'extends = "parent.toml"\nepochs = 4\n[optimizer]\nbetas = [0.3, 0.4]\n')
    assert recipe == Recipe(epochs=4, optimizer=Optimizer(rate=0.5, betas=(0.3, 0.4)))
    with pytest.raises(ConfigError, match="extends itself"):
        load(tmp_path, 'extends = "recipe.toml"\n')


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"{tmp_path / 'absent.toml'} cannot be read")):
        load_toml(tmp_path / "absent.toml", Recipe)
    (tmp_path / "latin.toml").write_bytes(b"name = '\xe9'")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_toml(tmp_path / "latin.toml", Recipe)


def test_overrides_leave_their_input_as_it_is() -> None:
    table = {"a": {"b": 1, "c": 2}}
    changed = override(table, ["a.b=[1, 2]", "a.d=text", "e.f.g=true", "h=1\nb = 2"])
    assert changed == {"a": {"b": [1, 2], "c": 2, "d": "text"}, "e": {"f": {"g": True}}, "h": "1\nb = 2"}
    assert table == {"a": {"b": 1, "c": 2}}


@pytest.mark.parametrize("text", ["a.b", "=1", "a..b=1", "a.b.c=1"])
def test_bad_overrides_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(repr(text))):
        override({"a": {"b": 1}}, [text])


def test_the_digest_tells_values_not_spelling(tmp_path: Path) -> None:
    first = load(tmp_path, "epochs = 3\n[optimizer]\nrate = 1\n")
    second = load(tmp_path, "[optimizer]\nrate = 1.0\n", "epochs=3")
    assert sha256_config(first) == sha256_config(second) != sha256_config(Recipe(epochs=4))


def test_the_environment_is_told() -> None:
    here = environment()
    assert here.cores >= 1
    assert "numpy" in here.packages
    assert here.commit is None or re.fullmatch(r"[0-9a-f]{40}(-dirty)?", here.commit)

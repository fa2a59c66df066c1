"""The constraints file pins exactly what the package asks for, and what it pins is what is installed."""

import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def test_every_dependency_is_pinned_within_its_range(repository: Path) -> None:
    pinned = {}
    for line in (repository / "constraints.txt").read_text().splitlines():
        if not line.startswith("#"):
            name, _, version = line.partition("==")
            pinned[name] = version
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    for text in asked:
        requirement = Requirement(text)
        if requirement.name != project["name"]:
            assert requirement.specifier.contains(pinned[canonicalize_name(requirement.name)]), text
    assert metadata.version("torch").partition("+")[0] == pinned["torch"]

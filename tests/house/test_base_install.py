"""The base install has no torch: everything but training must import, and the command must start, without it."""

import subprocess
import sys
from pathlib import Path

BLOCKED = """
import importlib, pkgutil, sys

class Refuse:
    names = {"torch", "torchvision", "albumentations", "scipy", "cv2", "segmentation_models_pytorch", "tensorboard",
             "matplotlib", "imagecodecs", "itur"}

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"{name} is not in the base install", name=name)
        return None

sys.meta_path.insert(0, Refuse())
"""
EVERYTHING = """
import taran_eo
NAMES = ("part", "run", "answer", "result", "tables", "plots", "pictures", "rows")
STUDIES = tuple(f"taran_eo.studies.{name}" for name in NAMES)
TRAINING = ("taran_eo.nn", "taran_eo.train", *STUDIES)
seen = []
for module in pkgutil.walk_packages(taran_eo.__path__, "taran_eo.", onerror=lambda name: None):
    if not module.name.startswith(TRAINING) and not module.name.endswith("__main__"):
        importlib.import_module(module.name)
        seen.append(module.name)
assert "taran_eo.cli" in seen, seen
print(len(seen))
"""
COMMAND = """
from taran_eo.cli import main
sys.argv = ["taran-eo", "--help"]
main()
"""


def run(script: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    # Away from the checkout, so that only what is installed is found.
    return subprocess.run(
        [sys.executable, "-c", BLOCKED + script], capture_output=True, text=True, timeout=120, cwd=cwd
    )


def test_everything_outside_training_imports_without_torch(tmp_path: Path) -> None:
    done = run(EVERYTHING, tmp_path)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 20


def test_the_block_works(tmp_path: Path) -> None:
    done = run("import torch", tmp_path)
    assert "not in the base install" in done.stderr


def test_the_command_starts_without_torch(tmp_path: Path) -> None:
    done = run(COMMAND, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "run" in done.stdout
    assert "evaluate" in done.stdout

"""What an installed wheel holds: one importable package, the default model, the licence, and nothing else."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from taran_eo.model import DEFAULT_GATE, DEFAULT_NAME, Model


@pytest.fixture(scope="module")
def wheel(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    done = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, repository],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = folder.glob("*.whl")
    return path


def test_only_one_package_with_its_model(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names}
    (info,) = (top for top in tops if top.endswith(".dist-info"))
    assert tops == {"taran_eo", info}
    assert f"{info}/licenses/LICENSE" in names
    models = [
        f"models/{name}/{file}"
        for name in (DEFAULT_NAME, DEFAULT_GATE)
        for file in ("flight.safetensors", "SHA256SUMS")
    ]
    exports = ("deploy/leon3/start.S", "deploy/instructions.json", "c_runtime/taran.c", "c_runtime/export/Makefile.in")
    pages = ("export/ARCHIVE.md", "codec/PRODUCT.md", "export/scripts/replay.py")
    data = ("downlink/stations.toml", "downlink/traffic.json")
    for needed in ("py.typed", *pages, *data, *models, *exports):
        assert f"taran_eo/{needed}" in names
    assert not [name for name in names if name.endswith((".pyc", ".csv", ".jpg", ".tif"))]


def test_the_model_inside_opens_away_from_the_checkout(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path)
    # The editable install of this checkout would answer before the path does.
    script = (
        "import sys; sys.meta_path[:] = [each for each in sys.meta_path if 'taran' not in type(each).__module__];"
        "from taran_eo.model import Model; model = Model.open(); print(model.path, model.graph.digest)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    path, digest = done.stdout.split()
    assert Path(path) == tmp_path / "taran_eo" / "models" / "thin_unet32_e2m3"
    assert digest == Model.open().graph.digest

"""Every bash and python block of the README is run, in order, in one empty folder.

A block that sets up the machine (it holds ``make `` or ``pip install``) is left out, as is one with the
line ``<!-- not run: reason -->`` just before it.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

FENCE = re.compile(
    r"^(?:<!-- not run: (?P<reason>[^\n]+?) -->\n+)?```(?P<kind>bash|python)\n(?P<text>.*?)^```$", re.M | re.S
)
SETS_UP = ("make ", "pip install")


def test_the_blocks_of_the_readme_run(repository: Path, tmp_path: Path) -> None:
    blocks = list(FENCE.finditer((repository / "README.md").read_text(encoding="utf-8")))
    ran = []
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    for block in blocks:
        kind, text = block["kind"], block["text"]
        if block["reason"] or any(word in text for word in SETS_UP):
            continue
        command = ["bash", "-c", f"set -euo pipefail\n{text}"] if kind == "bash" else [sys.executable, "-c", text]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
        said = f"This block of README.md failed:\n{text}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        assert done.returncode == 0, said
        ran.append(kind)
    assert "bash" in ran, "README.md shows no command that runs"
    assert "python" in ran, "README.md shows no Python that runs"

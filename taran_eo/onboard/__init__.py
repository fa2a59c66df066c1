"""On board: scenes in; masks, ships and products out.

`process` does one scene and tells the whole story in one screen; `run` does all of them, keeps a journal and goes
on after any end; `verify` checks what they wrote.
"""

from taran_eo.onboard.batch import Progress, Summary, run
from taran_eo.onboard.crew import Options
from taran_eo.onboard.decision import Decision
from taran_eo.onboard.scene import Outcome, classify, process
from taran_eo.onboard.sending import Sent, files, write_frames
from taran_eo.onboard.verify import Finding, Verification, verify

__all__ = [
    "Decision",
    "Finding",
    "Options",
    "Outcome",
    "Progress",
    "Sent",
    "Summary",
    "Verification",
    "classify",
    "files",
    "process",
    "run",
    "verify",
    "write_frames",
]

"""A model in the forms that other programs run: ONNX, QONNX, a packed archive, and C.

`export` writes a folder that is complete for who receives it, in one of the `FORMS`, and `replay` checks one. `to_onnx`
is the exact ONNX that the engine ``onnxruntime`` runs too.
"""

from taran_eo.export.fit import Fit, fit, remedies
from taran_eo.export.folder import export, open_export, replay
from taran_eo.export.forms import FORMS, form_named
from taran_eo.export.onnx_program import to_onnx
from taran_eo.export.readme import exactness

__all__ = ["FORMS", "Fit", "exactness", "export", "fit", "form_named", "open_export", "remedies", "replay", "to_onnx"]

"""A graph in the forms that other programs read. `to_onnx` is the exact one that ONNX Runtime runs."""

from taran_eo.export.onnx_program import to_onnx

__all__ = ["to_onnx"]

"""Export of models to ONNX, and prediction from the exported files without PyTorch.

`export` writes a model as ONNX files and a description of its modalities. `Predictor` reads them, and predicts any
modality from any subset of the others with numpy and onnxruntime alone.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from polymodal.onnx.exporting import export
    from polymodal.onnx.predictor import Predictor

__all__ = ["Predictor", "export"]

_FILES = {"Predictor": "predictor", "export": "exporting"}


def __getattr__(name: str) -> Any:
    if name not in _FILES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return globals().setdefault(name, getattr(import_module(f"{__name__}.{_FILES[name]}"), name))

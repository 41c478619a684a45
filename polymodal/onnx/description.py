"""The description of an export, `schema.json`: names of tensors, and what the numbers of each modality mean."""

from __future__ import annotations

from typing import Any

from polymodal.modalities import MODALITIES, Modality
from polymodal.models import Model
from polymodal.onnx.schema_file import FORMAT

__all__ = ["FILES", "describe"]

FILES = ("decode.onnx", "encode.onnx", "schema.json", "translate.onnx", "weights.bin")
"""Names of the files of an export."""

KEPT = {
    "audio": ("frames", "mels", "rate"),
    "image": ("channels", "height", "width"),
    "label": ("classes", "names"),
    "text": ("length", "vocabulary", "spellings", "glued", "capitalized", "dates"),
    "vector": ("size", "center", "scale", "log", "limits", "formats", "names", "partial"),
}
"""Arguments of a modality that its description has."""


def describe(model: Model, *, version: str, opset: int) -> dict[str, Any]:
    """Returns the contents of `schema.json`.

    Arguments:
        model: The exported model.
        version: Version of polymodal.
        opset: Version of the operators of ONNX.
    """
    return {
        "format": FORMAT,
        "polymodal": version,
        "model": model.name,
        "members": model.member_count,
        "opset": opset,
        "observed": "observed",
        "code": {"name": "code", "size": model.code_dim},
        "modalities": [_describe(name, one, m) for m, (name, one) in enumerate(model.schema.items())],
    }


def _describe(name: str, modality: Modality, place: int) -> dict[str, Any]:
    kind = next((key for key, made in MODALITIES.items() if type(modality) is made and key in KEPT), "custom")
    is_label = modality.levels is not None and not modality.shape
    return {
        "name": name,
        "kind": kind,
        "shape": list(modality.shape),
        "dtype": "float32" if modality.levels is None else "int64",
        "input": f"value_{place}",
        "output": f"prediction_{place}",
        **({"probabilities": f"probabilities_{place}"} if is_label else {}),
        **{key: getattr(modality, key) for key in KEPT.get(kind, ())},
    }

"""Reads and checks the description of an export, `schema.json`, which may come from anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

from polymodal.io.json_files import read_json
from polymodal.runtime.formatting import brief

__all__ = ["FORMAT", "read_document"]

FORMAT = 1
"""Format version of `schema.json`."""
MOST_ELEMENTS = 2**28
"""Largest accepted number of elements of a value."""

DOCUMENT: dict[str, Any] = {
    "format": int,
    "polymodal": str,
    "model": str,
    "members": int,
    "opset": int,
    "observed": str,
    "code": dict,
    "modalities": list,
}
"""Keys of the description, and the types of their values."""
COMMON: dict[str, Any] = {"name": str, "kind": str, "shape": list, "dtype": str, "input": str, "output": str}
"""Keys of every modality."""
OWN: dict[str, dict[str, Any]] = {
    "audio": {"frames": int, "mels": int, "rate": int},
    "custom": {},
    "image": {"channels": int, "height": int, "width": int},
    "label": {"classes": int, "names": (list, None), "probabilities": str},
    "text": {
        "length": int,
        "vocabulary": list,
        "spellings": (list, None),
        "glued": (list, None),
        "capitalized": (bool, None),
        "dates": (str, None),
    },
    "vector": {"size": int, "center": (list, None), "scale": (list, None), "log": bool, "partial": bool},
}
"""Further keys of the modalities of a kind; None where a value may be missing."""


def read_document(path: Path) -> dict[str, Any]:
    """Reads and checks a description.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The file is damaged, or a value has another type or size than expected.
    """
    document = read_json(path)
    _check_keys(str(path), document, DOCUMENT)
    if document["format"] != FORMAT:
        raise ValueError(f"{path} must have the format {FORMAT}; got {document['format']}; export the model again")
    if not document["modalities"]:
        raise ValueError(f"{path} must have modalities; got none")
    _check_keys(f"code of {path}", document["code"], {"name": str, "size": int})
    for modality in document["modalities"]:
        if not isinstance(modality, Mapping):
            raise ValueError(f"a modality of {path} must be an object; got {brief(repr(modality), 60)}")
        _check_modality(path, modality)
    names = [modality["name"] for modality in document["modalities"]]
    if len({*names}) < len(names):
        raise ValueError(f"the modalities of {path} must have different names; got {brief(', '.join(names))}")
    return document


def _check_keys(where: str, document: Mapping[str, Any], keys: Mapping[str, Any]) -> None:
    for key, kinds in keys.items():
        kinds = kinds if isinstance(kinds, tuple) else (kinds,)
        value = document.get(key)
        if not any(value is None if kind is None else type(value) is kind for kind in kinds):
            expected = " or ".join("null" if kind is None else kind.__name__ for kind in kinds)
            raise ValueError(f"{key!r} of {where} must be {expected}; got {brief(repr(value), 60)}")


def _check_modality(path: Path, modality: Mapping[str, Any]) -> None:
    _check_keys(f"a modality of {path}", modality, COMMON)
    name, kind = brief(repr(modality["name"]), 60), modality["kind"]
    where = f"{name} of {path}"
    if kind not in OWN:
        raise ValueError(f"the kind of {where} must be one of {', '.join(OWN)}; got {brief(kind, 60)}")
    _check_keys(where, modality, OWN[kind])
    shape = modality["shape"]
    if not all(type(size) is int and size > 0 for size in shape) or prod(shape) > MOST_ELEMENTS:
        raise ValueError(f"the shape of {where} must be positive whole numbers; got {brief(repr(shape), 60)}")
    if modality["dtype"] not in ("float32", "int64"):
        raise ValueError(f"the dtype of {where} must be float32 or int64; got {brief(modality['dtype'], 60)}")
    expected = {
        "audio": lambda: [1, modality["frames"], modality["mels"]],
        "image": lambda: [modality["channels"], modality["height"], modality["width"]],
        "label": list,
        "text": lambda: [modality["length"]],
        "vector": lambda: [modality["size"]],
    }.get(kind, lambda: shape)()
    if shape != expected:
        raise ValueError(f"the shape of {where} must be {expected}; got {brief(repr(shape), 60)}")
    _check_lists(where, modality)


def _check_lists(where: str, modality: Mapping[str, Any]) -> None:
    """Checks the lists of numbers and of texts of a modality, and their lengths."""
    words = len(modality["vocabulary"]) if modality["kind"] == "text" else 0
    lengths = {
        "center": modality.get("size"),
        "scale": modality.get("size"),
        "names": modality.get("classes") if modality["kind"] == "label" else None,
        "spellings": words,
    }
    for key in ("center", "scale", "names", "vocabulary", "spellings", "glued"):
        value = modality.get(key)
        if value is None:
            continue
        kinds = (int, float) if key in ("center", "scale") else (str,)
        if type(value) is not list or not all(type(part) in kinds for part in value):
            raise ValueError(f"{key!r} of {where} must be a list of {kinds[-1].__name__}")
        if lengths.get(key) is not None and len(value) != lengths[key]:
            raise ValueError(f"{key!r} of {where} must have {lengths[key]} entries; got {len(value)}")
    if modality.get("scale") is not None and min(modality["scale"]) <= 0:
        raise ValueError(f"'scale' of {where} must be positive; got {min(modality['scale'])}")

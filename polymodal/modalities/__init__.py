"""Modalities: types of values such as images, texts and labels.

To add a modality to the package, add a file to this folder and a line to each table below. To use a custom one, add it
to `MODALITIES` in your program.

Classes are imported when they are first used, because files that only convert values work without PyTorch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from polymodal.modalities.audio import Audio
    from polymodal.modalities.base import Modality
    from polymodal.modalities.image import Image
    from polymodal.modalities.label import Label
    from polymodal.modalities.network import Network
    from polymodal.modalities.profile import Candidate
    from polymodal.modalities.text import Text
    from polymodal.modalities.vector import Vector

    MODALITIES: dict[str, type[Modality]]

__all__ = ["MODALITIES", "NETWORKS", "Audio", "Candidate", "Image", "Label", "Modality", "Network", "Text", "Vector"]

_FILES = {
    "Audio": "audio",
    "Candidate": "profile",
    "Image": "image",
    "Label": "label",
    "Modality": "base",
    "Network": "network",
    "Text": "text",
    "Vector": "vector",
}
"""Files of the classes."""
_TYPES = {"audio": "Audio", "image": "Image", "label": "Label", "text": "Text", "vector": "Vector"}
"""Names of the classes in `MODALITIES`, by their type name in model files."""

NETWORKS: dict[str, type[Network]] = {}
"""Custom network classes by their type name in model files. It is empty until users register their own."""


def __getattr__(name: str) -> Any:
    if name == "MODALITIES":  # modality classes by their type name in model files
        value: Any = {key: getattr(import_module(f"{__name__}.{_FILES[made]}"), made) for key, made in _TYPES.items()}
    elif name in _FILES:
        value = getattr(import_module(f"{__name__}.{_FILES[name]}"), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return globals().setdefault(name, value)

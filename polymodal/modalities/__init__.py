"""Modalities: types of values such as images, texts and labels.

To add a modality to the package, add a file to this folder and an entry to `MODALITIES`. To use a custom one, add it
to `MODALITIES` in your program.
"""

from polymodal.modalities.audio import Audio
from polymodal.modalities.base import Modality
from polymodal.modalities.image import Image
from polymodal.modalities.label import Label
from polymodal.modalities.network import Network
from polymodal.modalities.profile import Candidate
from polymodal.modalities.text import Text
from polymodal.modalities.vector import Vector

__all__ = ["MODALITIES", "NETWORKS", "Audio", "Candidate", "Image", "Label", "Modality", "Network", "Text", "Vector"]

MODALITIES: dict[str, type[Modality]] = {
    "audio": Audio,
    "image": Image,
    "label": Label,
    "text": Text,
    "vector": Vector,
}
"""Modality classes by their type name in model files."""

NETWORKS: dict[str, type[Network]] = {}
"""Custom network classes by their type name in model files. It is empty until users register their own."""

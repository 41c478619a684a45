"""What values are. To add one: a file here, and a line in MODALITIES. Your own: a line in your program."""

from polymodal.modalities.audio import Audio
from polymodal.modalities.base import Modality
from polymodal.modalities.image import Image
from polymodal.modalities.label import Label
from polymodal.modalities.network import Network
from polymodal.modalities.text import Text
from polymodal.modalities.vector import Vector

__all__ = ["MODALITIES", "NETWORKS", "Audio", "Image", "Label", "Modality", "Network", "Text", "Vector"]

MODALITIES: dict[str, type[Modality]] = {
    "audio": Audio,
    "image": Image,
    "label": Label,
    "text": Text,
    "vector": Vector,
}
"""Modalities by the name under which a model's file names them."""

NETWORKS: dict[str, type[Network]] = {}
"""Networks in place of modalities' own, by the name under which a model's file names them; there are only users'."""

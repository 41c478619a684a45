"""Networks from tensors to tensors, independent of modalities."""

from polymodal.networks.conditioner import Conditioner
from polymodal.networks.conv import (
    image_decoder,
    image_encoder,
    image_widths,
    spectrogram_decoder,
    spectrogram_encoder,
)
from polymodal.networks.cpu.chain import apply_fused
from polymodal.networks.evaluating import answering, evaluating
from polymodal.networks.factors import Factors
from polymodal.networks.flow import CodeFlow
from polymodal.networks.fusion import Fusion
from polymodal.networks.inception import Inception
from polymodal.networks.mlp import mlp
from polymodal.networks.one_hot import OneHot
from polymodal.networks.transformer import TokenEncoder

__all__ = [
    "CodeFlow",
    "Conditioner",
    "Factors",
    "Fusion",
    "Inception",
    "OneHot",
    "TokenEncoder",
    "answering",
    "apply_fused",
    "evaluating",
    "image_decoder",
    "image_encoder",
    "image_widths",
    "mlp",
    "spectrogram_decoder",
    "spectrogram_encoder",
]

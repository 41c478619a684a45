"""A transformer encoder for sequences of tokens."""

from __future__ import annotations

from math import log, sqrt

import torch
from torch import Tensor, nn

from polymodal.networks.cpu.linear import Linear

__all__ = ["TokenEncoder"]


class TokenEncoder(nn.Module):
    """Token and position embeddings, transformer layers, and one linear layer over all positions.

    Padded positions, except the first, are masked in attention, and set to zero before the linear layer, both in
    training and in evaluation. PyTorch's fast path sets them to zero in evaluation only, which would make the two modes
    differ.

    Arguments:
        vocabulary: Number of tokens.
        length: Number of positions L; the input is `(N, L)` int64.
        features: Size of the output, `(N, features)`.
        padding: Token that pads a text to length L.
        width: Size of an embedding.
        layers: Number of transformer layers.
        heads: Attention heads per layer.
        feedforward: Size of the hidden layer in each transformer layer.
        dropout: Dropout probability, after the embeddings and in the transformer layers.

    Example:
        >>> TokenEncoder(7, 5, 3, padding=0, width=8, layers=1, heads=2, feedforward=8)(torch.ones(2, 5).long()).shape
        torch.Size([2, 3])

    Source: MAC-WAE, appendix, table of networks. Positions: Vaswani et al. (2017), section 3.5.
    """

    positions: Tensor

    def __init__(
        self,
        vocabulary: int,
        length: int,
        features: int,
        *,
        padding: int,
        width: int = 512,
        layers: int = 4,
        heads: int = 4,
        feedforward: int = 1024,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.padding = padding
        self.scale = sqrt(width)
        self.embedding = nn.Embedding(vocabulary, width)
        nn.init.uniform_(self.embedding.weight, -0.1, 0.1)
        self.register_buffer("positions", sinusoids(length, width), persistent=False)
        self.dropout = nn.Dropout(dropout)
        layer = nn.TransformerEncoderLayer(width, heads, feedforward, dropout, batch_first=True)
        layer.linear1.__class__ = layer.linear2.__class__ = Linear  # keeps their weights
        self.transformer = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.head = Linear(length * width, features)

    def forward(self, tokens: Tensor) -> Tensor:
        """Encodes tokens `(N, L)` int64 to `(N, features)`."""
        absent = tokens == self.padding
        absent[:, 0] = False  # a row with all positions masked would be NaN
        h = self.dropout(self.embedding(tokens) * self.scale + self.positions)
        h = self.transformer(h, src_key_padding_mask=absent)
        return self.head(h.masked_fill(absent[..., None], 0).flatten(1))


def sinusoids(length: int, width: int) -> Tensor:
    """Returns sinusoidal position embeddings, sines in even and cosines in odd columns, `(length, width)`.

    Example:
        >>> sinusoids(2, 3)
        tensor([[0.0000, 1.0000, 0.0000],
                [0.8415, 0.5403, 0.0022]])
    """
    position = torch.arange(length)[:, None]
    angle = position * torch.exp(torch.arange(0, width, 2) * (-log(10_000) / width))
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)[:, :width]

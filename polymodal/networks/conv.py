"""Convolutional networks for images and spectrograms of any size.

Each strided layer of an encoder halves the height and width of an image, or the number of frames of a spectrogram. The
decoder mirrors the encoder's sizes layer by layer, so inputs need no padding or cropping. For 28x28 and 64x64 images
and for 32x128 spectrograms the layers are those of the paper's appendix.
"""

from __future__ import annotations

from itertools import pairwise
from math import ceil, log2, prod
from typing import TYPE_CHECKING

from torch import nn

from polymodal.networks.cpu.deconvolution import Deconvolution
from polymodal.networks.cpu.linear import Linear

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "image_decoder",
    "image_encoder",
    "image_widths",
    "spectrogram_decoder",
    "spectrogram_encoder",
]


def image_widths(height: int, width: int) -> tuple[int, ...]:
    """Returns the channels per layer (32, 64, 128, then 256) that reduce the longer side to at most 4 pixels.

    Example:
        >>> image_widths(28, 28), image_widths(64, 64), image_widths(17, 40)
        ((32, 64, 128), (32, 64, 128, 256), (32, 64, 128, 256))
    """
    layers = max(1, ceil(log2(max(height, width, 5) / 4)))
    return tuple(min(32 * 2**i, 256) for i in range(layers))


def image_encoder(shape: tuple[int, int, int], widths: Sequence[int], features: int) -> nn.Sequential:
    """Builds convolutions (kernel 3, stride 2, padding 1), then two linear layers: `(N, *shape) -> (N, features)`.

    Source: MAC-WAE, appendix, table of networks.
    """
    channels, *size = shape
    sizes = _halvings(size, len(widths))
    layers: list[nn.Module] = []
    for a, b in pairwise([channels, *widths]):
        layers += [nn.Conv2d(a, b, 3, stride=2, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, *_flat(widths[-1] * prod(sizes[-1]), features))


def image_decoder(latent_dim: int, shape: tuple[int, int, int], widths: Sequence[int]) -> nn.Sequential:
    """Builds transposed convolutions that mirror `image_encoder`: `(N, latent_dim) -> (N, *shape)`.

    The last layer is linear.

    Source: MAC-WAE, appendix, table of networks.
    """
    channels, *size = shape
    sizes = _halvings(size, len(widths))
    layers = _unflat(latent_dim, (widths[-1], *sizes[-1]))
    for (a, b), target in zip(pairwise([*reversed(widths), channels]), reversed(sizes[:-1]), strict=True):
        # A transposed convolution (kernel 3, stride 2, padding 1) maps size n to 2n - 1, or to 2n with output padding.
        padding = (1 - target[0] % 2, 1 - target[1] % 2)
        layers += [Deconvolution(a, b, 3, stride=2, padding=1, output_padding=padding), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def spectrogram_encoder(shape: tuple[int, int, int], widths: Sequence[int], features: int) -> nn.Sequential:
    """Builds a convolution over all mels, then strided ones over time: `(N, 1, frames, mels) -> (N, features)`.

    Source: MAC-WAE, appendix, table of networks.
    """
    channels, frames, mels = shape
    lengths = _floor_halvings(frames, len(widths) - 1)
    layers: list[nn.Module] = [nn.Conv2d(channels, widths[0], (1, mels)), nn.ReLU()]
    used = widths[: len(lengths)]
    for a, b in pairwise(used):
        layers += [nn.Conv2d(a, b, (4, 1), stride=(2, 1), padding=(1, 0)), nn.ReLU()]
    return nn.Sequential(*layers, *_flat(used[-1] * lengths[-1], features))


def spectrogram_decoder(latent_dim: int, shape: tuple[int, int, int], widths: Sequence[int]) -> nn.Sequential:
    """Builds transposed convolutions that mirror `spectrogram_encoder`: `(N, latent_dim) -> (N, 1, frames, mels)`.

    The last layer is linear.

    Source: MAC-WAE, appendix, table of networks.
    """
    channels, frames, mels = shape
    lengths = _floor_halvings(frames, len(widths) - 1)
    used = widths[: len(lengths)]
    layers = _unflat(latent_dim, (used[-1], lengths[-1], 1))
    for (a, b), target in zip(pairwise(reversed(used)), reversed(lengths[:-1]), strict=True):
        # A transposed convolution (kernel 4, stride 2, padding 1) maps size n to 2n, or to 2n + 1 with output padding.
        layers += [
            Deconvolution(a, b, (4, 1), stride=(2, 1), padding=(1, 0), output_padding=(target % 2, 0)),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers, Deconvolution(used[0], channels, (1, mels)))


def _halvings(size: Sequence[int], times: int) -> list[tuple[int, ...]]:
    sizes = [tuple(size)]
    for _ in range(times):
        sizes.append(tuple((side + 1) // 2 for side in sizes[-1]))
    return sizes


def _floor_halvings(length: int, times: int) -> list[int]:
    lengths = [length]
    while len(lengths) <= times and lengths[-1] > 1:
        lengths.append(lengths[-1] // 2)
    return lengths


def _flat(n: int, features: int) -> list[nn.Module]:
    return [nn.Flatten(), Linear(n, features), nn.ReLU(), Linear(features, features)]


def _unflat(latent_dim: int, shape: tuple[int, ...]) -> list[nn.Module]:
    return [Linear(latent_dim, prod(shape)), nn.ReLU(), nn.Unflatten(1, shape)]

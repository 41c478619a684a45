"""Recordings as spectrograms."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["cut", "mel_bands", "spectrograms"]

FLOOR = -80.0
"""Of a spectrogram, in decibels relative to its loudest place."""

CHUNK = 256
"""Recordings that are transformed at once, for the memory's sake."""


def cut(samples: np.ndarray, lengths: np.ndarray, size: int) -> Tensor:
    """Recordings of different lengths, one behind another, each from its start: cut, or with zeros at its end.

    Arguments:
        samples: Of all recordings, `(T,)` int16.
        lengths: Samples of each, `(N,)`; their sum is T.
        size: How many samples each is to have.

    Returns:
        `(N, size)` float32 in [-1, 1].

    Example:
        >>> (cut(np.array([1, 2, 3, 4], np.int16), np.array([3, 1]), 2) * 2**15).tolist()
        [[1.0, 2.0], [4.0, 0.0]]
    """
    starts = np.cumsum(lengths, dtype=np.int64) - lengths
    waves = np.zeros((len(lengths), size), np.float32)
    for wave, start, length in zip(waves, starts, np.minimum(lengths, size), strict=True):
        wave[:length] = samples[start : start + length]
    return torch.from_numpy(waves) / 2**15


def spectrograms(waves: Tensor, rate: float, *, window: int = 1024, hop: int = 256, bands: int = 128) -> Tensor:
    """Mel spectrograms, in decibels relative to the loudest place of each, of which -80 to 0 become 0 to 1.

    There is a frame for every `hop` samples, and its Hann window has them in its middle: each wave is given
    `(window - hop) / 2` zeros at either end, so that there are exactly `T / hop` frames.

    Arguments:
        waves: `(N, T)` float; T is a multiple of hop.
        rate: Samples per second.
        window: Samples under a window.
        hop: Samples from one frame to the next.
        bands: Of frequency, from 0 to half of the rate, as in `mel_bands`.

    Returns:
        `(N, 1, T / hop, bands)`, low frequencies first; power below the floor, and all of a silent recording, is 0.

    Example:
        >>> tone = torch.sin(2 * torch.pi * 1000 * torch.arange(8192) / 8000)
        >>> spectrograms(tone[None], 8000).shape
        torch.Size([1, 1, 32, 128])
    """
    edge = (window - hop) // 2
    hann = torch.hann_window(window, dtype=waves.dtype)
    filters = mel_bands(bands, window, rate).to(waves.dtype)
    parts = []
    for part in F.pad(waves, (edge, edge)).split(CHUNK):
        spectrum = torch.stft(part, window, hop, window=hann, center=False, return_complex=True)
        power = spectrum.abs().square().mT @ filters  # (n, frames, bands)
        loudest = power.amax((1, 2), keepdim=True)
        relative = power / torch.where(loudest > 0, loudest, 1)
        parts.append(1 - 10 * relative.clamp(10 ** (FLOOR / 10), 1).log10() / FLOOR)
    return torch.cat(parts)[:, None].clamp(0, 1)  # of rounding alone


@lru_cache(maxsize=8)
def mel_bands(bands: int, window: int, rate: float) -> Tensor:
    """Triangles of height 1 over the frequencies of a Fourier transform, evenly spaced in mels from 0 to rate / 2.

    Mels are HTK's, 2595 log10(1 + f / 700), f in Hz. The feet of a triangle are the tops of its neighbours.

    Arguments:
        bands: How many.
        window: Samples of the transform.
        rate: Samples per second.

    Returns:
        `(window // 2 + 1, bands)` float64.

    Source:
        The HTK Book (Young et al., 2006), section 5.4; straight lines in Hz, not in mels as there.
    """
    top = 2595 * np.log10(1 + rate / 2 / 700)
    tops = 700 * (10 ** (np.linspace(0, top, bands + 2) / 2595) - 1)  # in Hz, with the outermost feet
    hertz = np.arange(window // 2 + 1)[:, None] * rate / window
    rising = (hertz - tops[:-2]) / np.diff(tops)[:-1]
    falling = (tops[2:] - hertz) / np.diff(tops)[1:]
    return torch.from_numpy(np.minimum(rising, falling).clip(0))

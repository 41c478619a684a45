"""Mel spectrograms of audio recordings.

With the power P(t, m) of a recording in frame t and mel band m, and its maximum P_max, the spectrogram is

    S(t, m) = 1 + max(10 log10(P(t, m) / P_max), -80) / 80
    P(t, m) = sum_f W(f, m) |X(t, f)|^2

where X(t, f) is the short-time Fourier transform at frequency f with a Hann window, and W(f, m) are the triangular
filters of `mel_bands`.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from polymodal.modalities.sound_files import compute_mel_filters

__all__ = ["cut", "mel_bands", "spectrograms"]

FLOOR = -80.0
"""Lower limit of a spectrogram, in decibels relative to its maximum."""

CHUNK = 256
"""Number of recordings that are transformed at once, to limit memory use."""


def cut(samples: np.ndarray, lengths: np.ndarray, size: int) -> Tensor:
    """Splits concatenated recordings of different lengths, and truncates or zero-pads each to the same length.

    Arguments:
        samples: Samples of all recordings, `(T,)` int16.
        lengths: Number of samples of each recording, `(N,)`; their sum is T.
        size: Number of samples of each recording in the result.

    Returns:
        The recordings, `(N, size)` float32 in [-1, 1].

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
    """Computes mel spectrograms in decibels relative to the maximum of each, scaled from [-80, 0] to [0, 1].

    There is one frame per `hop` samples, and its Hann window is centred on them. Each wave is padded with
    `(window - hop) / 2` zeros at both ends, which gives exactly `T / hop` frames.

    Arguments:
        waves: Samples of N recordings, `(N, T)` float; T is a multiple of `hop`.
        rate: Sampling rate in samples per second.
        window: Number of samples in a window.
        hop: Number of samples between successive frames.
        bands: Number of mel bands from 0 to half of the rate; see `mel_bands`.

    Returns:
        The spectrograms, `(N, 1, T / hop, bands)`, low frequencies first. Power below -80 decibels is 0, and so are
        silent recordings.

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
    return torch.cat(parts)[:, None].clamp(0, 1)  # only rounding errors are outside


@lru_cache(maxsize=8)
def mel_bands(bands: int, window: int, rate: float) -> Tensor:
    """Computes a mel filter bank: triangular filters of height 1, evenly spaced in mel from 0 to rate / 2.

    The mel scale is that of HTK, `mel(f) = 2595 log10(1 + f / 700)` with f in Hz. Each triangle ends at the peaks of
    its neighbours.

    Arguments:
        bands: Number of filters.
        window: Number of samples of the Fourier transform.
        rate: Sampling rate in samples per second.

    Returns:
        The filters, `(window // 2 + 1, bands)` float64.

    Source:
        The HTK Book (Young et al., 2006), section 5.4. The triangles are linear in Hz here, and in mel there.
    """
    return torch.from_numpy(compute_mel_filters(bands, window, rate))

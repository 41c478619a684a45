"""Reads audio files as waves, without PyTorch."""

from __future__ import annotations

import io
from math import ceil
from pathlib import Path

import numpy as np

from polymodal.runtime.formatting import brief
from polymodal.runtime.validation import check_file

__all__ = ["HOP", "compute_mel_filters", "read_wave"]

HOP = 256
"""Number of samples between successive frames of a spectrogram of an audio file."""
FASTEST = 1_000_000
"""Maximum sampling rate of audio files that are read, in samples per second."""
FILTER = 24
"""Number of samples, at the lower of the two rates, that are read beyond the end for resampling. scipy needs 10."""
CANCELLED = 0.01
"""Fraction of the loudest channel's peak below which the mean of channels is only rounding noise."""
BROKEN = (OSError, ValueError, TypeError, RuntimeError, MemoryError, ArithmeticError, AssertionError)
"""Exceptions that soundfile raises for damaged files and for files that are not audio."""


def read_wave(file: str | Path | bytes, size: int, rate: int) -> np.ndarray:
    """Reads the beginning of an audio file; short audio is padded with silence.

    Arguments:
        file: Name or bytes of the file.
        size: Number of samples of the result.
        rate: Sampling rate of the result, in samples per second.

    Returns:
        `(size,)` float32, with a peak of about 0.5 to 1.

    Raises:
        FileNotFoundError: The file does not exist.
        ImportError: soundfile is not installed.
        ValueError: It is not a readable audio file, it is empty, or a sample is not finite.
    """
    from scipy.signal import resample_poly

    sound, own = _read_audio(file, size, rate)
    wave = resample_poly(_normalize_peak(sound), rate, own).astype(np.float32)[:size]
    return np.pad(wave, (0, size - len(wave)))


def compute_mel_filters(bands: int, window: int, rate: float) -> np.ndarray:
    """Computes the filters of `polymodal.modalities.spectrograms.mel_bands`, `(window // 2 + 1, bands)` float64."""
    top = 2595 * np.log10(1 + rate / 2 / 700)
    tops = 700 * (10 ** (np.linspace(0, top, bands + 2) / 2595) - 1)  # in Hz, including the two outer ends
    hertz = np.arange(window // 2 + 1)[:, None] * rate / window
    rising = (hertz - tops[:-2]) / np.diff(tops)[:-1]
    falling = (tops[2:] - hertz) / np.diff(tops)[1:]
    return np.minimum(rising, falling).clip(0)


def _read_audio(file: str | Path | bytes, size: int, rate: int) -> tuple[np.ndarray, int]:
    """Reads an audio file's samples, `(T,)`, and its sampling rate.

    Arguments:
        file: Name or bytes of the file.
        size: Number of samples needed after resampling. The rest of the file is not read.
        rate: Sampling rate after resampling.

    Raises:
        FileNotFoundError: The file does not exist.
        ImportError: soundfile is not installed.
        ValueError: It is not a readable audio file, it is empty, or a sample is not finite.
    """
    try:
        import soundfile
    except ImportError as error:
        raise ImportError("audio files are read by soundfile; pip install 'polymodal[audio]'") from error
    if not isinstance(file, bytes):
        check_file(file)
    try:
        with soundfile.SoundFile(io.BytesIO(file) if isinstance(file, bytes) else file) as opened:
            own = opened.samplerate
            if not 1 <= own <= FASTEST:
                raise ValueError(f"the samples per second must be in 1..{FASTEST}; got {own}")
            reach = FILTER * max(1, ceil(own / rate))  # further samples for the resampling filter
            samples = opened.read(ceil(size * own / rate) + reach, always_2d=True)
    except (soundfile.SoundFileError, *BROKEN) as error:
        why = brief(getattr(error, "error_string", error), 100)
        where = "" if isinstance(file, bytes) else f"; {brief(file)}"
        raise ValueError(f"this is not a readable audio file: {why}{where}") from error
    if not samples.size:
        raise ValueError("audio must have samples; this file has none")
    if not np.isfinite(samples).all():
        raise ValueError(f"the samples of audio must be finite; got {samples[~np.isfinite(samples)][0]}")
    return _mono(samples), own


def _mono(samples: np.ndarray) -> np.ndarray:
    """Returns the mean of channels `(T, C)`; if they cancel each other, the loudest channel."""
    mean = samples.mean(1)
    loudest = np.abs(samples).max(0)
    return samples[:, loudest.argmax()] if np.abs(mean).max() < CANCELLED * loudest.max() else mean


def _normalize_peak(sound: np.ndarray) -> np.ndarray:
    """Scales audio by a power of two to a peak in [0.5, 1), because floats may have any scale.

    Spectrograms are relative to their maximum, so the scaling leaves them bit-identical.
    """
    return np.ldexp(sound, -int(np.frexp(np.abs(sound).max())[1]))

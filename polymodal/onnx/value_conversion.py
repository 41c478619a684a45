"""Converts users' values to the arrays of an export and back, as `Modality.read` and `Modality.write` do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from polymodal.modalities.conversions import find_class, read_pixels, write_pixels, write_tokens
from polymodal.modalities.sound_files import HOP, compute_mel_filters, read_wave
from polymodal.modalities.spelling import Spelling
from polymodal.modalities.tokens import load_tokenizer

__all__ = ["is_missing", "read_value", "write_value"]

WINDOW = 1024
"""Number of samples of a window of a spectrogram."""
FLOOR = -80.0
"""Lower limit of a spectrogram, in decibels relative to its maximum."""


def is_missing(raw: Any) -> bool:
    """Returns whether a value is None or NaN; a list or an array is missing if all its numbers are.

    Example:
        >>> is_missing(None), is_missing(float("nan")), is_missing([1.0, float("nan")]), is_missing("")
        (True, True, False, False)
    """
    if raw is None:
        return True
    if isinstance(raw, float | np.floating):
        return bool(np.isnan(raw))
    if isinstance(raw, list | tuple | np.ndarray):
        try:
            numbers = np.asarray(raw, np.float64)
        except (TypeError, ValueError):
            return False
        return bool(numbers.size) and bool(np.isnan(numbers).all())
    return False


def read_value(modality: Mapping[str, Any], raw: Any) -> np.ndarray:
    """Converts a user's value to an array `(*shape)` for the graph.

    Arguments:
        modality: Entry of a modality in `schema.json`.
        raw: The value: an image, its file name, bytes or array; the name or index of a class; a text; numbers in users'
            units; an audio file or a spectrogram.

    Raises:
        ValueError: The value does not fit the modality.

    Example:
        >>> size = {"kind": "vector", "name": "size", "size": 1, "center": [3.0], "scale": [2.0], "log": False}
        >>> read_value(size, 7.0)
        array([2.], dtype=float32)
    """
    kind = modality["kind"]
    if kind == "image":
        return read_pixels(raw, *modality["shape"]).astype(np.float32) / np.float32(255)
    if kind == "label":
        return np.array(find_class(raw, modality["names"], modality["classes"]), np.int64)
    if kind == "text":
        vocabulary = tuple(modality["vocabulary"])
        return np.array(load_tokenizer(vocabulary, modality["length"]).encode(raw).ids, np.int64)
    if kind == "vector":
        return _read_numbers(modality, raw)
    if kind == "audio" and isinstance(raw, str | Path | bytes):
        wave = read_wave(raw, modality["frames"] * HOP, modality["rate"])
        return _compute_spectrogram(wave, modality["rate"], modality["mels"])
    value = np.asarray(raw, modality["dtype"])
    if kind == "audio" and value.shape == tuple(modality["shape"][1:]):
        value = value[None]
    if value.shape != tuple(modality["shape"]):
        raise ValueError(f"a value must be {tuple(modality['shape'])}; got {value.shape}")
    if value.dtype.kind == "f" and not np.isfinite(value).all():
        raise ValueError(f"a value must be finite; got {float(value[~np.isfinite(value)][0])}")
    return value


def write_value(modality: Mapping[str, Any], value: np.ndarray) -> Any:
    """Converts a predicted array `(*shape)` to the user's type and unit.

    Returns:
        A PIL image; the name of a class, or its index if it has none; a text; numbers, `(size,)` float64; a spectrogram
        `(frames, mels)`; an array for a custom modality.
    """
    kind = modality["kind"]
    if kind == "image":
        return write_pixels(value)
    if kind == "label":
        return int(value) if modality["names"] is None else modality["names"][int(value)]
    if kind == "text":
        spellings = modality["spellings"]
        spelling = None
        if spellings is not None:
            spelling = Spelling(tuple(spellings), tuple(modality["glued"] or ()), bool(modality["capitalized"]))
        return write_tokens(value.tolist(), tuple(modality["vocabulary"]), spelling, modality["dates"])
    if kind == "vector":
        center, scale = _units(modality)
        raw = value.astype(np.float64) * scale + center
        return np.expm1(raw) if modality["log"] else raw
    return value[0].astype(np.float32) if kind == "audio" else value


def _units(modality: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    size = modality["size"]
    center, scale = modality["center"] or [0.0] * size, modality["scale"] or [1.0] * size
    return np.array(center, np.float64), np.array(scale, np.float64)


def _read_numbers(modality: Mapping[str, Any], raw: Any) -> np.ndarray:
    numbers = np.asarray(raw, np.float64).reshape(-1)
    if len(numbers) != modality["size"]:
        raise ValueError(f"a vector must have {modality['size']} numbers; got {len(numbers)}")
    known = numbers[~np.isnan(numbers)] if modality.get("partial") else numbers
    if not np.isfinite(known).all():
        raise ValueError(f"numbers must be finite; got {float(known[~np.isfinite(known)][0])}")
    if modality["log"] and (known <= -1).any():
        raise ValueError(f"numbers with log must be above -1; got {float(known[known <= -1][0])}")
    center, scale = _units(modality)
    return ((np.log1p(numbers) if modality["log"] else numbers) - center).__truediv__(scale).astype(np.float32)


def _compute_spectrogram(wave: np.ndarray, rate: int, bands: int) -> np.ndarray:
    """Computes the mel spectrogram of a wave, `(1, frames, bands)`; see `polymodal.modalities.spectrograms`."""
    edge = (WINDOW - HOP) // 2
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(wave, (edge, edge)), WINDOW)[::HOP]
    hann = np.hanning(WINDOW + 1)[:-1]
    power = np.abs(np.fft.rfft(frames * hann)) ** 2 @ compute_mel_filters(bands, WINDOW, rate)
    loudest = power.max()
    relative = (power / (loudest if loudest > 0 else 1)).clip(10 ** (FLOOR / 10), 1)
    return (1 - 10 * np.log10(relative) / FLOOR).clip(0, 1).astype(np.float32)[None]

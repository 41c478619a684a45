"""Digits as images, pen trajectories, and spoken words: the modalities of MHD, all from real recordings.

The shapes are those of the Multimodal Handwritten Digits (Vasco, Yin, Melo and Paiva, 2022).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from polymodal.datasets.base import Dataset, Facts
from polymodal.datasets.npz import Kind, read_arrays
from polymodal.datasets.shards import fill
from polymodal.datasets.splits import halves
from polymodal.datasets.storage import SPLITS, load_or_build, place
from polymodal.datasets.strokes import Strokes, curves, render
from polymodal.modalities import Audio, Image, Label, Vector
from polymodal.modalities.spectrograms import cut, spectrograms
from polymodal.runtime.progress import show_progress
from polymodal.schema import Schema

__all__ = ["pairing", "pendigits_mhd"]

PENS, SPEECH = "pendigits/pendigits_strokes.npz", "fsdd/fsdd.npz"
RATE = 8000
SAMPLES = 8192
HELD_OUT_TAKES = 5
"""Takes 0 to 4 of each speaker and digit are the official test set of the recordings."""

SCHEMA = Schema(
    {
        "image": Image(1, 28, 28),
        "trajectory": Vector(200, activation="sigmoid"),
        "audio": Audio(32, 128),
        "label": Label(10),
    }
)
PEN_KINDS: dict[str, Kind] = {
    f"{part}_{name}": kind
    for part in ("train", "test")
    for name, kind in {
        "points": ("int16", (None, 2)),
        "stroke": ("uint8", (None,)),
        "lengths": ("int32", (None,)),
        "label": ("uint8", (None,)),
    }.items()
}
SPEECH_KINDS: dict[str, Kind] = {
    "samples": ("int16", (None,)),
    "lengths": ("int32", (None,)),
    "label": ("uint8", (None,)),
    "speaker": ("uint8", (None,)),
    "index": ("uint8", (None,)),
    "sample_rate": ("int32", ()),
}
FACTS = Facts(
    shapes="image 1x28x28, trajectory 200, audio 1x32x128, label 10",
    rows=(7494, 1749, 1749),
    licence="pen strokes CC BY 4.0 (E. Alpaydin, F. Alimoglu), recordings CC BY-SA 4.0 (Z. Jackson and contributors)",
    size="17 MB",
    origin="UCI Pen-Based Recognition of Handwritten Digits (1998) and Free Spoken Digit Dataset",
    layouts=((PENS, SPEECH),),
    get="make them, as the docstring of pendigits_mhd says, from the original pen strokes of "
    "https://archive.ics.uci.edu/dataset/81 and the recordings of "
    "https://github.com/Jakobovski/free-spoken-digit-dataset",
)


class Pairs(NamedTuple):
    """Indices of the handwriting samples and recordings that form the rows of a split."""

    part: str
    """Part of the pen strokes: "train" or "test"."""
    pens: np.ndarray
    """Indices of handwriting samples in that part, `(N,)`."""
    clips: np.ndarray
    """Indices of recordings, `(N,)`."""


@FACTS
def pendigits_mhd(root: str | Path | None = None, *, seed: int = 0) -> Dataset:
    """Digits as images, pen trajectories, and spoken words, with their labels.

    The modalities are those of MHD: image 1x28x28, trajectory 200, audio 1x32x128, label. All rows are complete.

    - trajectory: 100 points at equal distances along the path of the pen, first all x and then all y coordinates. As in
      MHD, the trajectory is one motion, so pen lifts are part of the path as straight lines. The path is centred on its
      bounding box and scaled by half of the longer side to [-1, 1], and then mapped to [0, 1].
    - image: rendered from the same path without the pen lifts, upright, with the original aspect ratio, in a box of
      20x20 pixels, with lines 2 pixels wide, light on black.
    - audio: the first 8,192 samples at 8 kHz (1.024 s), zero-padded if shorter, as 32 frames of 128 mel bands. The
      levels from -80 to 0 dB relative to the maximum of the recording are mapped to [0, 1].

    Each handwriting sample is used in one row. It is paired with a recording of the same digit; in each split, the
    numbers of uses of the recordings of a digit differ by at most one. Training rows use UCI's training set, by 30
    writers, and the official training set of the recordings, takes 5 to 49. Validation and test rows each use half of
    UCI's test set, by 14 other writers, and half of takes 0 to 4. No recording is in both, but writers are. All six
    speakers are in every split.

    Arguments:
        root: Folder of the files. `pendigits/pendigits_strokes.npz` contains, for "train" and for "test",
            `train_points` `(P, 2)` int16, the concatenated points of all handwriting samples, with y upwards;
            `train_stroke` `(P,)` uint8, the index of each point's stroke in its sample; `train_lengths` `(N,)` int32,
            the number of points of each sample; and `train_label` `(N,)` uint8. `fsdd/fsdd.npz` contains `samples`
            `(T,)` int16, the concatenated recordings; for each recording `lengths` int32, `label`, `speaker` and
            `index` (the take) uint8; and `sample_rate` int32, which is 8000.
        seed: Random seed for the halves, and for the pairing of recordings and handwriting samples.

    Returns:
        The data set, from the cache if it was built before.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A file is damaged, or has other content.
    """
    folder = place("pendigits-mhd", root)
    FACTS.require(folder)

    files = [folder / PENS, folder / SPEECH]
    return load_or_build("pendigits-mhd", {"root": root, "seed": seed}, files, partial(_make, folder, seed))


def pairing(root: str | Path | None = None, *, seed: int = 0) -> dict[str, Pairs]:
    """Returns the handwriting sample and the recording of each row of `pendigits_mhd`, by split.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A file is damaged, or has other content.
    """
    root = place("pendigits-mhd", root)
    FACTS.require(root)
    return _pairing(_pens(root / PENS), _speech(root / SPEECH), seed)


def _make(root: Path, seed: int, folder: Path, describe: Callable[[str], dict[str, Any]]) -> None:
    pens, speech = _pens(root / PENS), _speech(root / SPEECH)
    pairs = _pairing(pens, speech, seed)
    waves = cut(speech["samples"], speech["lengths"], SAMPLES)
    for split in show_progress(SPLITS, "making pendigits-mhd", len(SPLITS)):
        part, rows, clips = pairs[split]
        strokes = Strokes(*(pens[f"{part}_{name}"] for name in ("points", "stroke", "lengths")))
        unique, which = np.unique(clips, return_inverse=True)
        with fill(folder / f"{split}.safetensors", SCHEMA, len(rows), **describe(split)) as table:
            table.values["image"][:] = render(strokes)[rows]
            table.values["trajectory"][:] = torch.from_numpy((1 + curves(strokes)[rows].reshape(len(rows), -1)) / 2)
            table.values["audio"][:] = spectrograms(waves[unique], RATE)[which]
            table.values["label"][:] = torch.from_numpy(pens[f"{part}_label"][rows])
            table.observed[:] = True


def _pairing(pens: dict[str, np.ndarray], speech: dict[str, np.ndarray], seed: int) -> dict[str, Pairs]:
    rng = np.random.default_rng(seed)
    rows = _split(np.arange(len(pens["train_label"])), np.arange(len(pens["test_label"])), pens["test_label"], seed)
    official = speech["index"] < HELD_OUT_TAKES
    voices = 256 * speech["label"].astype(np.int64) + speech["speaker"]  # stratified, so each speaker is in both halves
    clips = _split(np.flatnonzero(~official), np.flatnonzero(official), voices[official], seed)
    pairs = {}
    for split in SPLITS:
        part = "train" if split == "train" else "test"
        digits, spoken = pens[f"{part}_label"][rows[split]], speech["label"][clips[split]]
        pairs[split] = Pairs(part, rows[split], clips[split][_sample_recordings(digits, spoken, split, rng)])
    return pairs


def _sample_recordings(digits: np.ndarray, spoken: np.ndarray, split: str, rng: np.random.Generator) -> np.ndarray:
    """Samples a recording of the same digit for each row.

    The numbers of uses of the recordings of a digit differ by at most one.

    Arguments:
        digits: Digit of each row, `(N,)`.
        spoken: Digit of each recording, `(R,)`.
        split: Name of the split, for the error message.
        rng: Random number generator.

    Returns:
        Indices of recordings, `(N,)`.

    Raises:
        ValueError: There is no recording of a digit.
    """
    chosen = np.empty(len(digits), np.int64)
    for digit in np.unique(digits):
        rows, clips = np.flatnonzero(digits == digit), np.flatnonzero(spoken == digit)
        if not len(clips):
            raise ValueError(f"{SPEECH} must hold a recording of each digit for {split} rows; it has none of {digit}")
        rounds = [rng.permutation(clips) for _ in range(-(-len(rows) // len(clips)))]
        chosen[rows] = rng.permutation(np.concatenate(rounds)[: len(rows)])
    return chosen


def _split(train: np.ndarray, test: np.ndarray, classes: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Returns the training indices, and the two stratified halves of the test indices, by split."""
    validation, last = (half.numpy() for half in halves(torch.from_numpy(classes), seed))
    return {"train": train, "validation": test[validation], "test": test[last]}


def _pens(path: Path) -> dict[str, np.ndarray]:
    arrays = read_arrays(path, PEN_KINDS, FACTS.get)
    for part in ("train", "test"):
        _check_lengths(path, arrays, f"{part}_lengths", [f"{part}_points", f"{part}_stroke"], [f"{part}_label"])
    return arrays


def _speech(path: Path) -> dict[str, np.ndarray]:
    arrays = read_arrays(path, SPEECH_KINDS, FACTS.get)
    if arrays["sample_rate"] != RATE:
        raise ValueError(f"{path} must hold recordings at {RATE} Hz; got {arrays['sample_rate']}; {FACTS.get}")
    _check_lengths(path, arrays, "lengths", ["samples"], ["label", "speaker", "index"])
    return arrays


def _check_lengths(path: Path, arrays: dict[str, np.ndarray], lengths: str, flat: list[str], rows: list[str]) -> None:
    """Checks that arrays have matching sizes, and that labels, the first of `rows`, are digits."""
    count, total = len(arrays[lengths]), int(arrays[lengths].sum(dtype=np.int64))
    if not count or arrays[lengths].min() < 1:
        raise ValueError(f"{path} must hold at least one row, and {lengths} of 1 or more; {FACTS.get}")
    for names, size in ((flat, total), (rows, count)):
        for name in names:
            if len(arrays[name]) != size:
                raise ValueError(f"{path} must hold {size} {name}, by {lengths}; got {len(arrays[name])}; {FACTS.get}")
    if (most := arrays[rows[0]].max()) > 9:
        raise ValueError(f"{path} must hold digits as {rows[0]}, 0 to 9; got {most}; {FACTS.get}")

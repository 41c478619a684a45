"""MHD: handwritten digits as images, pen trajectories and audio, with labels."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from polymodal.datasets import shards, storage
from polymodal.datasets.base import Dataset, Facts
from polymodal.datasets.splits import halves
from polymodal.modalities import Audio, Image, Label, Vector
from polymodal.runtime.formatting import brief
from polymodal.runtime.progress import show_progress
from polymodal.schema import Schema

__all__ = ["mhd"]

FRAMES, MELS = 32, 128
FILES = {"train": "mhd_train.pt", "test": "mhd_test.pt"}
MARGIN = 0.1
"""Tolerance for values outside of [0, 1]: a file may be scaled by the minimum and maximum of another file."""
PIECE = 1_000
"""Number of rows that are processed at once."""

FACTS = Facts(
    shapes="image 1x28x28, trajectory 200, audio 1x32x128, label 10",
    rows=(50_000, 5_000, 5_000),
    licence="not stated",
    size="1.2 GB",
    origin="Vasco, Yin, Melo and Paiva 2022, github.com/miguelsvasco/nexus_pytorch",
    layouts=(tuple(FILES.values()),),
    get="fetch both files in a browser, because their host blocks automatic downloads; the addresses are in "
    "nexus_pytorch/scenarios/get_mhd_dataset.sh of https://github.com/miguelsvasco/nexus_pytorch",
)


@FACTS
def mhd(root: str | Path | None = None) -> Dataset:
    """MHD: handwritten digits as images, pen trajectories and audio, with labels.

    `image` is 1x28x28; `trajectory` has 200 values in [0, 1]; `audio` is 1x32x128, with 32 frames of 128 mel bands in
    [0, 1]; `label` has 10 classes. All rows are complete. The labels are also the `.labels` of the tables. The 10,000
    test rows are halved into validation and test, stratified by class.

    The published files `mhd_train.pt` and `mhd_test.pt` contain labels `(N,)`, images `(N, 1, 28, 28)`, trajectories
    `(N, 200)`, audio `(N, 4, 32, 32)`, where the axes 4x32 are the mel bands and the last axis is time, and the scaling
    of the latter two. Only tensors and numbers are read from them, and no code in them is executed. Images are stored
    as bytes if that is exact. Values at most 0.1 outside of [0, 1] are clipped.

    Arguments:
        root: Folder of the two files; by default the download folder in the cache.

    Returns:
        The data set.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A file is damaged, or has other content.

    Source:
        Vasco, Yin, Melo and Paiva, "Leveraging hierarchy in multimodal generative models for effective cross-modality
        inference", 2022.
    """
    folder = storage.place("mhd", root)
    FACTS.require(folder)
    files = {split: folder / name for split, name in FILES.items()}
    return storage.load_or_build("mhd", {"root": root}, files.values(), partial(_make, files))


class Rows(NamedTuple):
    """Tensors of a published split, as in its file."""

    path: Path
    label: Tensor
    image: Tensor
    trajectory: Tensor
    audio: Tensor

    def piece(self, rows: Tensor) -> dict[str, Tensor]:
        """Returns some rows in the shapes of the table, with images as floats.

        Raises:
            ValueError: A value is not finite, or is more than 0.1 outside of [0, 1].
        """
        audio = self.audio[rows].reshape(len(rows), 1, MELS, FRAMES).transpose(2, 3)
        floats = {"image": self.image[rows], "trajectory": self.trajectory[rows], "audio": audio}
        return {name: self._unit(name, value.float(), rows) for name, value in floats.items()}

    def _unit(self, name: str, value: Tensor, rows: Tensor) -> Tensor:
        right = ((value >= -MARGIN) & (value <= 1 + MARGIN)).flatten(1)  # False for NaN
        if not right.all():
            at = int((~right.all(1)).nonzero()[0])
            odd = float(value.flatten(1)[at][~right[at]][0])
            raise ValueError(
                f"{self.path} must hold numbers in [0, 1]; row {int(rows[at])} of its {name} holds {odd:g}"
            )
        return value.clamp(0, 1)


def _make(files: dict[str, Path], folder: Path, describe: Callable[[str], dict[str, Any]]) -> None:
    published = {split: _read(path) for split, path in files.items()}
    first, second = halves(published["test"].label)
    parts = {"train": torch.arange(len(published["train"].label)), "validation": first, "test": second}
    for split, rows in parts.items():
        _fill(
            published["train" if split == "train" else "test"], rows, folder / f"{split}.safetensors", describe(split)
        )


def _fill(source: Rows, rows: Tensor, path: Path, about: dict[str, Any]) -> None:
    schema = Schema(
        {
            "image": Image(1, 28, 28),
            "trajectory": Vector(200, activation="sigmoid"),
            "audio": Audio(FRAMES, MELS),
            "label": Label(10),
        }
    )
    starts = range(0, len(rows), PIECE)
    exact = all(torch.equal(_bytes(image.float()).float() / 255, image.float()) for image in source.image.split(PIECE))
    dtypes = {} if exact else {"image": torch.float32}
    labels = source.label[rows]
    with shards.fill(path, schema, len(rows), labels=labels, dtypes=dtypes, **about) as table:
        table.observed[:] = True
        table.values["label"][:] = labels
        for start in show_progress(starts, f"making mhd's {path.stem} rows", len(starts)):
            for name, value in source.piece(rows[start : start + PIECE]).items():
                as_bytes = name == "image" and exact
                table.values[name][start : start + PIECE] = _bytes(value) if as_bytes else value


def _bytes(image: Tensor) -> Tensor:
    """Converts images in [0, 1] to bytes."""
    return (image * 255).round().to(torch.uint8)


def _read(path: Path) -> Rows:
    """Reads the tensors of a file.

    Raises:
        ValueError: The file is damaged, or has other content.
    """
    try:
        data = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # torch.load can raise almost any exception for other files
        named = re.search(r"GLOBAL (\S+)", str(error))
        reason = f"it asks for {named[1]}" if named else str(error).partition(". ")[0]
        raise ValueError(
            f"{path} must be a file of torch.save with only tensors and plain numbers: {brief(reason)}; download "
            "it again, or, if you trust it, torch.save its first four parts and two Nones in its place"
        ) from error
    if not isinstance(data, tuple | list) or len(data) != 6:
        got = f"{len(data)} entries" if isinstance(data, tuple | list) else type(data).__name__
        raise ValueError(
            f"{path} must contain six entries, label, image, trajectory, audio and how the latter two were scaled; "
            f"it has {got}; {FACTS.get}"
        )
    rows = Rows(path, *data[:4])
    _check(rows)
    return rows._replace(label=rows.label.long())


def _check(rows: Rows) -> None:
    """Checks that the types and shapes of the tensors are the published ones."""
    shapes = {"label": (), "image": (1, 28, 28), "trajectory": (200,), "audio": (4, FRAMES, FRAMES)}
    for name, shape in shapes.items():
        value = getattr(rows, name)
        kind = "integers" if name == "label" else "floats"
        plain = isinstance(value, Tensor) and value.layout == torch.strided and value.device.type == "cpu"
        fits = plain and value.dim() > 0 and tuple(value.shape) == (len(rows.label), *shape)
        if fits and _kind(value) == kind and len(value):
            continue
        got = f"{value.dtype} {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(f"the {name} in {rows.path} must be {kind} {('N', *shape)}; got {got}; {FACTS.get}")
    if rows.label.min() < 0 or rows.label.max() > 9:
        raise ValueError(f"labels in {rows.path} must be in 0..9; got {int(rows.label.min())}..{int(rows.label.max())}")


def _kind(value: Tensor) -> str:
    whole = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
    return "integers" if value.dtype in whole else "floats" if value.is_floating_point() else "neither"

"""PolyMNIST: five images of one digit on different backgrounds."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from polymodal.datasets import idx, image_files, numbered, shards, storage
from polymodal.datasets.base import Dataset, Facts
from polymodal.datasets.download import Remote, fetch
from polymodal.datasets.splits import halves
from polymodal.modalities import Image, Label
from polymodal.runtime.progress import show_progress
from polymodal.runtime.registry import lookup
from polymodal.schema import Schema

__all__ = ["pairing", "polymnist"]

SIDE = 28
NAMES = ("m0", "m1", "m2", "m3", "m4")
PUBLISHED = {"train": "train", "test": "t10k"}
"""Prefixes of MNIST's files for the two published splits."""
THRESHOLD = 128
"""Pixels above it are handwriting: `mnist > 128` in the published code."""
AUTHORS = 0
"""Index of the layout of the published images."""
PIECE = 5_000
"""Number of rows that are composed at once."""
HANDWRITING, CORNER = range(2)
"""Purposes of the random number streams."""

MNIST = "https://ossci-datasets.s3.amazonaws.com/mnist"
PHOTOGRAPHS = "https://gitlab.com/scikit-image/data/-/raw/5c090b56df3988d988ff97928e2ef2d2cbe38e1b"
REMOTES = tuple(
    Remote(f"{MNIST}/{name}", f"mnist/{name}", md5, size)
    for name, md5, size in (
        ("train-images-idx3-ubyte.gz", "f68b3c2dcbeaaa9fbdd348bbdeb94873", 9_912_422),
        ("train-labels-idx1-ubyte.gz", "d53e105ee54ea40749a09fcbcd1e9432", 28_881),
        ("t10k-images-idx3-ubyte.gz", "9fb629c4189551a2d022fa330f9573f3", 1_648_877),
        ("t10k-labels-idx1-ubyte.gz", "ec29112dd5afa0611ce80d1b7f02629c", 4_542),
    )
) + tuple(
    Remote(f"{PHOTOGRAPHS}/{name}", f"backgrounds/{modality}_{name}", md5, size)
    for modality, name, md5, size in (
        ("m0", "coffee.png", "f24210802e8d0690e0c1c2302f907cc4", 466_706),
        ("m1", "hubble_deep_field.jpg", "bfc42613c8edb720cf7d1343693787a4", 527_940),
        ("m2", "astronaut.png", "97066e0a8baf4cd0be9859f9825aa3a2", 791_555),
        ("m3", "retina.jpg", "5fa589edda0ab6832e3afcd92c402412", 269_564),
        ("m4", "rocket.jpg", "511130d2072cc744a1fa5015bc23557a", 112_525),
    )
)

BY_HAND = (
    "unpack the authors' images, for which see https://github.com/thomassutter/MoPoE, or put MNIST's four files "
    f"from {MNIST}/ into mnist/ and five images m0.* to m4.* into backgrounds/"
)

FACTS = Facts(
    shapes="m0..m4 3x28x28; label 10 with label=True",
    rows=(60_000, 5_000, 5_000),
    licence="MNIST CC BY-SA 3.0; the five backgrounds CC0 or public domain; the authors' images: not stated",
    size="14 MB, or the authors' images",
    origin="Sutter, Daunhawer and Vogt 2021, github.com/thomassutter/MoPoE; MNIST by Y. LeCun and C. Cortes",
    layouts=(
        tuple(f"MMNIST/{split}/{name}" for split in PUBLISHED for name in NAMES),
        tuple(f"mnist/{p}-{kind}-ubyte*" for p in PUBLISHED.values() for kind in ("images-idx3", "labels-idx1"))
        + tuple(f"backgrounds/{name}*" for name in NAMES),
    ),
    get=f"pass download=True, or {BY_HAND}",
)


@FACTS
def polymnist(
    root: str | Path | None = None,
    *,
    label: bool = False,
    rows: int | None = None,
    held_out_rows: int | None = None,
    seed: int = 0,
    download: bool = False,
) -> Dataset:
    """PolyMNIST: five images of one digit on different backgrounds.

    The images are the modalities m0..m4, 3x28x28. All rows are complete. The root contains either the published images
    `MMNIST/{train,test}/m{0..4}/<number>.<class>.png`, whose rows are sorted by number and class; or MNIST's four files
    in `mnist/` and five images in `backgrounds/`, from which the rows are composed by the published recipe, where row i
    has the label of row i of MNIST. If both exist, the published images are used.

    The recipe: within a class, each modality has its own permutation of the handwriting samples (see `pairing`), so the
    images of a row share only the label. Pixels of MNIST above 128 are handwriting, as in the published code; there,
    the colours of a random 28x28 crop of the modality's background are inverted. Training and test rows use the
    handwriting of MNIST's training and test set. The 10,000 test rows are halved into validation and test, stratified
    by class, so the handwriting of a validation row may occur in a test row, in another modality and on another
    background.

    The labels are also the `.labels` of the tables, whether or not they are a modality.

    Arguments:
        root: Folder of the files; by default the download folder in the cache.
        label: Whether the label is the sixth modality.
        rows: Number of training rows, the first ones; by default all.
        held_out_rows: Number of validation rows, and of test rows, the first ones; by default all.
        seed: Random seed for the permutations and crops; without effect on the published images.
        download: Whether to fetch missing files of MNIST, and five photographs of scikit-image as backgrounds, 14 MB.
            If the published images exist, nothing is fetched.

    Returns:
        The data set.

    Raises:
        FileNotFoundError: Files are missing.
        ConnectionError: Files cannot be fetched.
        ValueError: Files are damaged or do not match, or an argument is invalid.

    Source:
        Sutter, Daunhawer and Vogt, "Generalized multimodal ELBO", 2021; `MMNISTDataset.py` of its code. Differs in the
        random numbers, and in the order of the rows, which is that of the file system there.
    """
    if seed < 0:
        raise ValueError(f"seed must be at least 0; got {seed}")
    folder = storage.place("polymnist", root)
    asked: dict[str, Any] = {"root": root, "label": label, "download": download}
    if download and FACTS.find_layout(folder) != AUTHORS:
        fetch(REMOTES, folder, BY_HAND)
    if FACTS.require(folder) == AUTHORS:
        files = {s: numbered.index([folder / "MMNIST" / s / name for name in NAMES]) for s in PUBLISHED}
        contents, read = [found.digest for found in files.values()], lambda split: _read_published_rows(files[split])
    else:
        parts = {split: _parts(folder, name) for split, name in PUBLISHED.items()}
        contents = [path for images, labels, backgrounds in parts.values() for path in (images, labels, *backgrounds)]
        read = lambda split: _compose_rows(parts[split], seed, split)  # noqa: E731
        asked["seed"] = seed
    made = storage.load_or_build("polymnist", asked, contents, partial(_make, read, label))
    return made.first(rows, held_out_rows)


def pairing(labels: np.ndarray, seed: int, split: str) -> np.ndarray:
    """Returns the MNIST row of the handwriting in each row i and modality m, `(N, 5)` int64.

    Arguments:
        labels: MNIST's labels, `(N,)`.
        seed: Random seed of the data set.
        split: "train", or "test" for the published test set, which `splits.halves` splits into validation and test.

    Raises:
        ValueError: There is no such split.

    Example:
        >>> labels = np.array([0, 1, 0, 1, 0, 1])
        >>> table = pairing(labels, 0, "test")
        >>> table.shape, bool((labels[table] == labels[:, None]).all())
        ((6, 5), True)
    """
    table = np.empty((len(labels), len(NAMES)), np.int64)
    for modality in range(len(NAMES)):
        draws = _stream(seed, split, modality, HANDWRITING)
        for digit in range(10):
            of_one = np.flatnonzero(labels == digit)
            table[of_one, modality] = draws.permutation(of_one)
    return table


class Parts(NamedTuple):
    """Source files of a published split."""

    images: Path
    labels: Path
    backgrounds: tuple[Path, ...]


class Rows(NamedTuple):
    """Labels and images of a published split."""

    labels: np.ndarray
    """Labels, `(N,)` int64."""
    draw: Callable[[int, np.ndarray], np.ndarray]
    """Function of a modality index and R row indices, which returns images `(R, 3, SIDE, SIDE)` uint8."""


def _make(read: Callable[[str], Rows], label: bool, folder: Path, describe: Callable[[str], dict[str, Any]]) -> None:
    schema = Schema({name: Image(3, SIDE, SIDE) for name in NAMES} | ({"label": Label(10)} if label else {}))
    published = {split: read(split) for split in PUBLISHED}
    first, second = (rows.numpy() for rows in halves(torch.from_numpy(published["test"].labels)))
    parts = {"train": np.arange(len(published["train"].labels)), "validation": first, "test": second}
    for split, rows in parts.items():
        labels, draw = published["train" if split == "train" else "test"]
        classes = torch.from_numpy(labels[rows])
        with shards.fill(
            folder / f"{split}.safetensors", schema, len(rows), labels=classes, **describe(split)
        ) as table:
            table.observed[:] = True
            if label:
                table.values["label"][:] = classes
            pieces = list(product(range(len(NAMES)), range(0, len(rows), PIECE)))
            for modality, start in show_progress(pieces, f"making polymnist's {split} rows", len(pieces)):
                some = rows[start : start + PIECE]
                table.values[NAMES[modality]][start : start + PIECE] = torch.from_numpy(draw(modality, some))


def _read_published_rows(files: numbered.Numbered) -> Rows:
    """Returns the rows of the published images."""
    return Rows(files.labels, partial(files.read_images, SIDE))


def _compose_rows(parts: Parts, seed: int, split: str) -> Rows:
    """Returns the rows that are composed by the recipe."""
    ink = np.uint8(255) * (idx.read(parts.images, (SIDE, SIDE), FACTS.get) > THRESHOLD)
    labels = idx.read(parts.labels, (), FACTS.get).astype(np.int64)
    if len(labels) != len(ink) or labels.max() > 9:
        raise ValueError(
            f"{parts.labels} must hold {len(ink)} classes in 0..9, one for each image of {parts.images}; "
            f"it holds {len(labels)} in {labels.min()}..{labels.max()}"
        )
    table = pairing(labels, seed, split)
    backgrounds = [_background(path) for path in parts.backgrounds]
    corners = [
        _stream(seed, split, modality, CORNER).integers(0, np.array(background.shape[1:]) - SIDE, (len(labels), 2))
        for modality, background in enumerate(backgrounds)
    ]

    def draw(modality: int, rows: np.ndarray) -> np.ndarray:
        top, left = corners[modality][rows].T
        windows = np.lib.stride_tricks.sliding_window_view(backgrounds[modality], (SIDE, SIDE), axis=(1, 2))
        pieces = windows[:, top, left].transpose(1, 0, 2, 3)
        return pieces ^ ink[table[rows, modality], None]  # for bytes, v ^ 255 equals 255 - v

    return Rows(labels, draw)


def _stream(seed: int, split: str, modality: int, what: int) -> np.random.Generator:
    """Returns a random number generator that is independent of all other random choices."""
    number = lookup({name: i for i, name in enumerate(PUBLISHED)}, split, "published split")
    key = (number, modality, what)
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def _parts(root: Path, name: str) -> Parts:
    images, labels = (
        idx.find(root / "mnist", f"{name}-{kind}-ubyte", FACTS.get) for kind in ("images-idx3", "labels-idx1")
    )
    return Parts(images, labels, tuple(_only(root / "backgrounds", name) for name in NAMES))


def _only(folder: Path, name: str) -> Path:
    """Returns the only file whose name begins with `name`."""
    first, *others = sorted(folder.glob(f"{name}*"))
    if others:
        raise ValueError(f"{folder} must contain one image {name}*; it contains {first.name} and {others[0].name}")
    return first


def _background(path: Path) -> np.ndarray:
    """Reads an image, `(3, height, width)` uint8."""
    pixels = np.asarray(image_files.read(path).convert("RGB"))
    if min(pixels.shape[:2]) <= SIDE:
        raise ValueError(f"{path} must have sides above {SIDE} pixels; it is {pixels.shape[1]}x{pixels.shape[0]}")
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))

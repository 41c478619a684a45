"""CUB: images of birds, ten captions per image, and the species."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from polymodal.datasets import shards, storage
from polymodal.datasets.base import Dataset, Facts
from polymodal.datasets.download import Remote, fetch
from polymodal.datasets.image_files import fill_images, refuse_damaged, refuse_missing
from polymodal.datasets.listings import lines, make_line_error, sizes
from polymodal.datasets.splits import halves
from polymodal.modalities import Image, Label, Text
from polymodal.modalities.base import check_counts
from polymodal.runtime.formatting import brief
from polymodal.runtime.progress import show_progress
from polymodal.schema import Schema

if TYPE_CHECKING:
    import PIL.Image

__all__ = ["cub"]

SIDE = 64
CAPTIONS = 10
"""Number of captions per image."""

REMOTES = (
    Remote(
        "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz?download=1",
        "CUB_200_2011.tgz",
        "97eceeb196236b17998738112f37df78",
        1_150_585_339,
        unpack=True,
    ),
)

LISTS = {
    "images.txt": (r"[0-9]{1,9} [0-9]+\.[^/ ]+/[^/ ]+\.jpg", "its folder and file, 001.Some_bird/Some_bird_0001.jpg"),
    "train_test_split.txt": ("[0-9]{1,9} [01]", "1 for training, 0 for test"),
    "bounding_boxes.txt": (r"[0-9]{1,9}( -?[0-9]{1,9}(\.[0-9]*)?){4}", "left, top, width and height of a box"),
    "image_class_labels.txt": ("[0-9]{1,9} [1-9][0-9]{0,8}", "the number of its species, from 1 on"),
}
"""Regular expression and description of the lines of each list."""

WORD = re.compile(r"\w+", re.ASCII)

PLACES = (("", ""), ("CUB_200_2011/", "CUB_200_2011/"), ("CUB_200_2011/", ""), ("CUB_200_2011/", "cvpr2016_cub/"))
"""Subfolders of the root that contain the images and the captions, in each layout."""

FACTS = Facts(
    shapes="img 3x64x64, text 18 words, label 200",
    rows=(5_994, 2_897, 2_897),
    licence="images from Flickr, for non-commercial research and teaching",
    size="1.2 GB",
    origin="Caltech-UCSD Birds-200-2011 (Wah, Branson, Welinder, Perona and Belongie, 2011) with the captions of Reed, "
    "Akata, Lee and Schiele (2016)",
    layouts=tuple((f"{here}images.txt", f"{here}images", f"{there}text*") for here, there in PLACES),
    get="unpack CUB_200_2011.tgz from https://data.caltech.edu/records/65de6-vp158 (download=True does so if "
    "the folder of images is missing), and put the captions next to it by hand: the folder text_c10 of the "
    "archive cvpr2016_cub, whose address https://github.com/reedscot/cvpr2016 gives",
)


class Bird(NamedTuple):
    """List entries of one image."""

    name: str  # of the image file, relative to the image folder
    training: bool
    box: tuple[float, ...]  # left, top, width, height, in pixels
    species: int  # counted from 0


@FACTS
def cub(root: str | Path | None = None, *, length: int = 18, download: bool = False) -> Dataset:
    """CUB: images of birds, ten captions per image, and the species.

    `img` is 3x64x64: a square around the centre of the bird's bounding box, with a side of 1.5 times the longer side of
    the box, clipped at the image borders. The crop is resized (bilinear, antialiased), even if clipping made it
    non-square. Grey images become RGB. `text` is one of the ten captions, sampled per row and epoch. Captions are words
    in lower case without punctuation; longer ones are truncated, and the last token is the end token. `label` is the
    species by name. All rows are complete.

    The training rows are the published ones. The published test rows of each species are shuffled once with a fixed
    seed and halved into validation and test. The vocabulary is that of the training captions, so it is smaller than
    the 5,451 tokens in the paper, whose authors also count the words of the test captions.

    The data set is built once and then mapped from the cache. It is rebuilt if one of the lists changes, or the size of
    a caption or image file.

    Arguments:
        root: Folder with the published `images.txt`, `train_test_split.txt`, `bounding_boxes.txt`,
            `image_class_labels.txt`, `images`, and the captions' folder `text` or `text_c10`. Alternatively, the folder
            that contains `CUB_200_2011`, with the captions in that folder, next to it, or in `cvpr2016_cub`. By default
            the download folder in the cache.
        length: Length of a text in tokens.
        download: Whether to fetch and unpack the images if they are missing. The captions must be added by hand.

    Returns:
        The data set: 5,994 training, 2,897 validation and 2,897 test rows.

    Raises:
        FileNotFoundError: Files are missing.
        ValueError: A file is damaged, or has other content.

    Source:
        Reed et al., "Learning Deep Representations of Fine-Grained Visual Descriptions", CVPR 2016. The square crop is
        that of StackGAN (Zhang et al., 2017), including its rounding down to whole pixels.
    """
    check_counts(length=length)
    place = storage.place("cub", root)
    if download and not any((place / here / "images").is_dir() for here, _ in PLACES):
        fetch(REMOTES, place, FACTS.get)
    here, there = PLACES[FACTS.require(place)]
    folder, captions = place / here, min((place / there).glob("text*"), key=lambda path: (not path.is_dir(), path))
    birds = _birds(folder)
    images = [bird.name for bird in birds]
    files = [
        *(folder / name for name in LISTS),
        sizes(folder / "images", images),
        sizes(captions, map(_caption, images)),
    ]
    make = partial(_make, folder / "images", captions, birds, length)
    return storage.load_or_build("cub", {"root": root, "length": length}, files, make)


def _make(
    folder: Path, captions: Path, birds: list[Bird], length: int, fresh: Path, describe: Callable[[str], dict[str, Any]]
) -> None:
    """Writes the tables of the three splits."""
    refuse_missing(folder, [bird.name for bird in birds], "images", FACTS.get)
    texts = _texts(captions, birds)
    splits = _splits(birds)
    text = Text.learn((caption for bird in splits["train"] for caption in texts[bird.name]), length)
    species = tuple(name for _, name in _species(birds))
    schema = Schema({"img": Image(3, SIDE, SIDE), "text": text, "label": Label(len(species), species)})
    troubles: dict[Path, str] = {}
    for split, rows in splits.items():
        path = fresh / f"{split}.safetensors"
        with shards.fill(path, schema, len(rows), alternatives={"text": CAPTIONS}, **describe(split)) as table:
            names = [bird.name for bird in rows]
            troubles |= fill_images(
                table.values["img"], folder, names, partial(_crop_bird, rows), f"cub: {split} images"
            )
            for row, name in enumerate(show_progress(names, f"cub: {split} captions", len(names))):
                table.alternatives["text"][row] = torch.stack([text.read(caption) for caption in texts[name]])
            table.values["label"][:] = torch.tensor([bird.species for bird in rows])
            table.observed[:] = True
    refuse_damaged(troubles, len(birds), "images", FACTS.get)


def _crop_bird(birds: list[Bird], row: int, image: PIL.Image.Image) -> PIL.Image.Image:
    """Crops the square around a bird, clipped at the image borders, and resizes it."""
    import PIL.Image

    left, top, width, height = map(int, birds[row].box)
    reach = int(max(width, height) * 0.75)
    x, y = int(left + width / 2), int(top + height / 2)
    box = (max(0, x - reach), max(0, y - reach), min(image.width, x + reach), min(image.height, y + reach))
    if box[0] >= box[2] or box[1] >= box[3]:
        raise ValueError(f"its box {birds[row].box} must overlap the image; it is {image.width}x{image.height}")
    return image.crop(box).resize((SIDE, SIDE), PIL.Image.Resampling.BILINEAR)


def _splits(birds: list[Bird]) -> dict[str, list[Bird]]:
    """Returns the birds of the three splits, by split name."""
    test = [bird for bird in birds if not bird.training]
    parts = halves(torch.tensor([bird.species for bird in test]))
    validation, rest = ([test[row] for row in part.tolist()] for part in parts)
    return {"train": [bird for bird in birds if bird.training], "validation": validation, "test": rest}


def _texts(folder: Path, birds: list[Bird]) -> dict[str, list[str]]:
    """Reads the captions of each image: the first ten lines that contain words, without punctuation.

    Returns:
        Lists of ten captions, by image name.

    Raises:
        FileNotFoundError: Files are missing.
        ValueError: A file cannot be read as UTF-8 text, or has too few lines.
    """
    refuse_missing(folder, [_caption(bird.name) for bird in birds], "files of captions", FACTS.get)
    texts, troubles = {}, {}
    for bird in birds:
        path = folder / _caption(bird.name)
        try:
            found = [" ".join(WORD.findall(line.lower())) for line in path.read_text(encoding="utf-8").splitlines()]
        except (OSError, UnicodeDecodeError) as error:
            troubles[path] = brief(error)
            continue
        texts[bird.name] = [text for text in found if text][:CAPTIONS]
        if len(texts[bird.name]) < CAPTIONS:
            troubles[path] = f"it must have {CAPTIONS} lines of words, and has {len(texts[bird.name])}"
    refuse_damaged(troubles, len(birds), "files of captions", FACTS.get)
    return texts


def _birds(folder: Path) -> list[Bird]:
    """Reads the lists, and returns an entry for each image, ordered by image number.

    Raises:
        FileNotFoundError: A list is missing.
        ValueError: A line is invalid, or the lists do not agree.
    """
    lists = {name: _read_listing(folder / name, *rule) for name, rule in LISTS.items()}
    names, training, boxes, species = lists.values()
    for name, rows in lists.items():
        if odd := sorted(rows.keys() ^ names.keys()):
            raise ValueError(
                f"{folder / name} must have exactly one line for each of the {len(names)} images of images.txt; "
                f"they differ in image {odd[0]} ({len(odd)} such images); {FACTS.get}"
            )
    birds = [
        Bird(names[n][0], training[n][0] == "1", tuple(map(float, boxes[n])), int(species[n][0]) - 1)
        for n in sorted(names)
    ]
    if {bird.training for bird in birds} != {True, False}:
        raise ValueError(f"{folder / 'train_test_split.txt'} must have images of both splits, 0 and 1; {FACTS.get}")
    if [number for number, _ in _species(birds)] != list(range(len({bird.name.split("/")[0] for bird in birds}))):
        raise ValueError(
            f"{folder / 'image_class_labels.txt'} must have one number for each folder of images.txt, from 1 on, and "
            f"has others; {FACTS.get}"
        )
    return birds


def _read_listing(path: Path, pattern: str, rule: str) -> dict[int, list[str]]:
    """Returns the fields of each line by image number, which is the first field."""
    rows: dict[int, list[str]] = {}
    for number, parts in lines(path, FACTS.get):
        if not re.fullmatch(pattern, " ".join(parts)) or int(parts[0]) in rows:
            raise make_line_error(
                path, number, f"the number of an image that no earlier line has, and {rule}", parts, FACTS.get
            )
        rows[int(parts[0])] = parts[1:]
    return rows


def _species(birds: list[Bird]) -> list[tuple[int, str]]:
    """Returns the indices and readable names of the species, sorted."""
    folders = {(bird.species, bird.name.split("/")[0]) for bird in birds}
    return sorted((number, folder.partition(".")[2].replace("_", " ")) for number, folder in folders)


def _caption(name: str) -> str:
    """Returns the name of the caption file of an image."""
    return name.removesuffix(".jpg") + ".txt"

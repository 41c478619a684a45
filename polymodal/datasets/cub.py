"""CUB: pictures of birds, ten captions of each, and its species."""

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
from polymodal.datasets.listings import lines, refused, sizes
from polymodal.datasets.pictures import draw, refuse_damaged, refuse_missing
from polymodal.datasets.splits import halves
from polymodal.modalities import Image, Label, Text
from polymodal.modalities.base import check_counts
from polymodal.runtime.formatting import brief
from polymodal.runtime.progress import shown
from polymodal.schema import Schema

if TYPE_CHECKING:
    import PIL.Image

__all__ = ["cub"]

SIDE = 64
CAPTIONS = 10
"""Of each picture."""

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
"""What each line of the lists is like."""

WORD = re.compile(r"\w+", re.ASCII)

PLACES = (("", ""), ("CUB_200_2011/", "CUB_200_2011/"), ("CUB_200_2011/", ""), ("CUB_200_2011/", "cvpr2016_cub/"))
"""Where beneath the root the pictures and the captions are."""

FACTS = Facts(
    shapes="img 3x64x64, text 18 words, label 200",
    rows=(5_994, 2_897, 2_897),
    licence="pictures from Flickr, for research and teaching that is not commercial",
    size="1.2 GB",
    origin="Caltech-UCSD Birds-200-2011 (Wah, Branson, Welinder, Perona and Belongie, 2011) with the captions of Reed, "
    "Akata, Lee and Schiele (2016)",
    layouts=tuple((f"{here}images.txt", f"{here}images", f"{there}text*") for here, there in PLACES),
    get="unpack CUB_200_2011.tgz from https://data.caltech.edu/records/65de6-vp158 (download=True does that where "
    "there is no folder of pictures), and beside it, by hand, the captions: the folder text_c10 of the "
    "archive cvpr2016_cub, whose address https://github.com/reedscot/cvpr2016 gives",
)


class Bird(NamedTuple):
    """What the lists say of a picture."""

    name: str  # its file's, beneath the folder of pictures
    training: bool
    box: tuple[float, ...]  # left, top, width, height, in pixels
    species: int  # from 0


@FACTS
def cub(root: str | Path | None = None, *, length: int = 18, download: bool = False) -> Dataset:
    """Pictures of birds, ten captions of each, and its species.

    `img` is 3x64x64: the square around the middle of the bird's bounding box, of 1.5 times the box's longer side, cut
    off at the picture's borders, and what is left is resized (bilinear, over all the pixels that it covers), whether
    it is a square or not. Grey pictures become RGB. `text` is one of ten captions, of which one is drawn per row and
    epoch: words alone, in lower case, without punctuation; longer ones are cut, and the last token is the end.
    `label` is the species, by its name. All rows are complete.

    Training rows are the published ones; each species' published test rows are shuffled once by a fixed seed and
    halved. The vocabulary is that of the training captions, so it is smaller than the 5,451 tokens in the paper,
    whose authors count the words of the test captions too.

    Made once, then mapped from the cache; it is made anew when a list changes, or the size of a caption or picture.

    Arguments:
        root: The folder with the authors' `images.txt`, `train_test_split.txt`, `bounding_boxes.txt`,
            `image_class_labels.txt`, `images` and the captions' `text` or `text_c10`, or the folder with their
            `CUB_200_2011`, and the captions in it, beside it, or in `cvpr2016_cub`; by default the cache.
        length: Of a text, in tokens.
        download: Fetch and unpack the pictures where there are none; the captions must be put there by hand.

    Returns:
        The data set: 5,994 training, 2,897 validation and 2,897 test rows.

    Raises:
        FileNotFoundError: Files are missing.
        ValueError: A file is damaged, or another one.

    Source:
        Reed et al., "Learning Deep Representations of Fine-Grained Visual Descriptions", CVPR 2016. The square is
        that of StackGAN (Zhang et al., 2017), numbers of pixels being rounded down as there.
    """
    check_counts(length=length)
    place = storage.place("cub", root)
    if download and not any((place / here / "images").is_dir() for here, _ in PLACES):
        fetch(REMOTES, place, FACTS.get)
    here, there = PLACES[FACTS.require(place)]
    folder, captions = place / here, min((place / there).glob("text*"), key=lambda path: (not path.is_dir(), path))
    birds = _birds(folder)
    pictures = [bird.name for bird in birds]
    files = [
        *(folder / name for name in LISTS),
        sizes(folder / "images", pictures),
        sizes(captions, map(_caption, pictures)),
    ]
    make = partial(_make, folder / "images", captions, birds, length)
    return storage.kept("cub", {"root": root, "length": length}, files, make)


def _make(
    folder: Path, captions: Path, birds: list[Bird], length: int, fresh: Path, told: Callable[[str], dict[str, Any]]
) -> None:
    """Writes the three tables."""
    refuse_missing(folder, [bird.name for bird in birds], "pictures", FACTS.get)
    texts = _texts(captions, birds)
    splits = _splits(birds)
    text = Text.learn((caption for bird in splits["train"] for caption in texts[bird.name]), length)
    species = tuple(name for _, name in _species(birds))
    schema = Schema({"img": Image(3, SIDE, SIDE), "text": text, "label": Label(len(species), species)})
    troubles: dict[Path, str] = {}
    for split, rows in splits.items():
        path = fresh / f"{split}.safetensors"
        with shards.fill(path, schema, len(rows), alternatives={"text": CAPTIONS}, **told(split)) as table:
            names = [bird.name for bird in rows]
            troubles |= draw(table.values["img"], folder, names, partial(_framed, rows), f"cub: {split} pictures")
            for row, name in enumerate(shown(names, f"cub: {split} captions", len(names))):
                table.alternatives["text"][row] = torch.stack([text.read(caption) for caption in texts[name]])
            table.values["label"][:] = torch.tensor([bird.species for bird in rows])
            table.observed[:] = True
    refuse_damaged(troubles, len(birds), "pictures", FACTS.get)


def _framed(birds: list[Bird], row: int, picture: PIL.Image.Image) -> PIL.Image.Image:
    """The square around a bird, as far as the picture goes."""
    from PIL import Image as Pictures

    left, top, width, height = map(int, birds[row].box)
    reach = int(max(width, height) * 0.75)
    x, y = int(left + width / 2), int(top + height / 2)
    box = (max(0, x - reach), max(0, y - reach), min(picture.width, x + reach), min(picture.height, y + reach))
    if box[0] >= box[2] or box[1] >= box[3]:
        raise ValueError(f"its box {birds[row].box} must hold a part of it; it is {picture.width}x{picture.height}")
    return picture.crop(box).resize((SIDE, SIDE), Pictures.Resampling.BILINEAR)


def _splits(birds: list[Bird]) -> dict[str, list[Bird]]:
    """The three splits' pictures."""
    test = [bird for bird in birds if not bird.training]
    parts = halves(torch.tensor([bird.species for bird in test]))
    validation, rest = ([test[row] for row in part.tolist()] for part in parts)
    return {"train": [bird for bird in birds if bird.training], "validation": validation, "test": rest}


def _texts(folder: Path, birds: list[Bird]) -> dict[str, list[str]]:
    """The ten captions of each picture, by its name: the first ten lines that have words, as words alone.

    Raises:
        FileNotFoundError: Files are missing.
        ValueError: Files are no text, or have too few lines.
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
    """What the lists say of the pictures, in the order of their numbers.

    Raises:
        FileNotFoundError: A list is missing.
        ValueError: A line is not what it must be, or the lists do not agree.
    """
    lists = {name: _listed(folder / name, *rule) for name, rule in LISTS.items()}
    names, training, boxes, species = lists.values()
    for name, rows in lists.items():
        if odd := sorted(rows.keys() ^ names.keys()):
            raise ValueError(
                f"{folder / name} must have a line for each of the {len(names)} pictures of images.txt, and no other; "
                f"they differ in picture {odd[0]} ({len(odd)} such pictures); {FACTS.get}"
            )
    birds = [
        Bird(names[n][0], training[n][0] == "1", tuple(map(float, boxes[n])), int(species[n][0]) - 1)
        for n in sorted(names)
    ]
    if {bird.training for bird in birds} != {True, False}:
        raise ValueError(f"{folder / 'train_test_split.txt'} must have pictures of both kinds, 0 and 1; {FACTS.get}")
    if [number for number, _ in _species(birds)] != list(range(len({bird.name.split("/")[0] for bird in birds}))):
        raise ValueError(
            f"{folder / 'image_class_labels.txt'} must have one number for each folder of images.txt, from 1 on, and "
            f"has others; {FACTS.get}"
        )
    return birds


def _listed(path: Path, pattern: str, rule: str) -> dict[int, list[str]]:
    """The fields of each line by its first one, the number of a picture."""
    rows: dict[int, list[str]] = {}
    for number, parts in lines(path, FACTS.get):
        if not re.fullmatch(pattern, " ".join(parts)) or int(parts[0]) in rows:
            raise refused(
                path, number, f"the number of a picture, that no line before has, and {rule}", parts, FACTS.get
            )
        rows[int(parts[0])] = parts[1:]
    return rows


def _species(birds: list[Bird]) -> list[tuple[int, str]]:
    """The numbers of the species, and their names as people write them."""
    folders = {(bird.species, bird.name.split("/")[0]) for bird in birds}
    return sorted((number, folder.partition(".")[2].replace("_", " ")) for number, folder in folders)


def _caption(name: str) -> str:
    """The file of a picture's captions."""
    return name.removesuffix(".jpg") + ".txt"

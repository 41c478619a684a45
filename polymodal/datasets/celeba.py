"""CelebA: images of faces with forty binary attributes each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from polymodal.datasets import shards, storage
from polymodal.datasets.base import Dataset, Facts
from polymodal.datasets.image_files import fill_images, refuse_damaged, refuse_missing
from polymodal.datasets.listings import lines, make_line_error, sizes
from polymodal.modalities import Image, Label
from polymodal.runtime.formatting import brief
from polymodal.schema import Schema

if TYPE_CHECKING:
    import PIL.Image

__all__ = ["celeba"]

SIDE = 64
PUBLISHED = (178, 218)
"""Width and height of the published images, in pixels."""
ATTRIBUTES = 40
LONGEST = 255
"""Largest length of a file name, in characters."""
PROBED = 1000
"""Stride of the images whose file sizes enter the fingerprint; checking all takes as long as loading the table."""

FACTS = Facts(
    shapes="image 3x64x64, 40 attributes of 2",
    rows=(162_770, 19_867, 19_962),
    licence="for non-commercial research",
    size="1.4 GB",
    origin="CelebFaces Attributes, aligned and cropped (Liu, Luo, Wang and Tang, 2015)",
    layouts=(
        ("img_align_celeba", "list_attr_celeba.txt", "list_eval_partition.txt"),
        ("img_align_celeba", "Anno/list_attr_celeba.txt", "Eval/list_eval_partition.txt"),
        ("Img/img_align_celeba", "Anno/list_attr_celeba.txt", "Eval/list_eval_partition.txt"),
    ),
    get="get img_align_celeba.zip, which is to be unpacked, list_attr_celeba.txt and list_eval_partition.txt from "
    "http://mmlab.ie.cuhk.edu.hk/projects/CelebA.html by hand, because their host blocks automatic downloads",
)


@FACTS
def celeba(root: str | Path | None = None) -> Dataset:
    """CelebA: images of faces with forty binary attributes each.

    `image` is 3x64x64: the image is resized to 64 wide and 78 high (bilinear, antialiased), and the middle 64 rows are
    kept, so it shows the full width of the published 178x218 pixels. Each attribute is a modality with the classes "no"
    and "yes". The attributes have their published names and order, and form the group `attributes`. All rows are
    complete and sorted by file name. The splits are the published ones.

    The data set is built once, which takes minutes and little memory, and is then mapped from the cache. It is rebuilt
    if one of the lists changes, or the size of an image file (every 1000th is checked). If you replace images by
    others under the same names, remove `datasets/celeba-*` from the cache.

    Arguments:
        root: Folder with the published `img_align_celeba`, `list_attr_celeba.txt` and `list_eval_partition.txt`; the
            lists may be in it or in its subfolders `Anno` and `Eval`. By default the download folder in the cache.

    Returns:
        The data set: 162,770 training, 19,867 validation and 19,962 test rows.

    Raises:
        FileNotFoundError: Files are missing.
        ValueError: A file is damaged, or has other content.

    Source:
        Liu et al., "Deep Learning Face Attributes in the Wild", ICCV 2015. The size and the crop are those of Wu and
        Goodman's MVAE (2018) and of the code for MAC-WAE; other work crops the middle 148x148 pixels.
    """
    place = storage.place("celeba", root)
    folder, attributes, partition = (place / name for name in FACTS.layouts[FACTS.require(place)])
    probed = (parts[0] for _, parts in islice(lines(partition, FACTS.get), 0, None, PROBED))
    files = [attributes, partition, sizes(folder, probed)]
    make = partial(_make, folder, attributes, partition)
    return storage.load_or_build("celeba", {"root": root}, files, make)


class Faces(NamedTuple):
    """File names, attributes, and splits of N images, sorted by file name."""

    names: np.ndarray  # (N,), of the image files
    titles: list[str]  # names of the attributes
    marks: np.ndarray  # (N, 40) int8, 1 if the face has the attribute
    splits: np.ndarray  # (N,) int8, index in SPLITS


def _make(
    folder: Path, attributes: Path, partition: Path, fresh: Path, describe: Callable[[str], dict[str, Any]]
) -> None:
    """Writes the tables of the three splits."""
    faces = _faces(attributes, partition)
    refuse_missing(folder, faces.names, "images", FACTS.get)
    labels = {title: Label(2, ("no", "yes")) for title in faces.titles}
    schema = Schema({"image": Image(3, SIDE, SIDE), **labels}, {"attributes": faces.titles})
    troubles: dict[Path, str] = {}
    for number, split in enumerate(storage.SPLITS):
        here = faces.splits == number
        names, marks = faces.names[here], faces.marks[here]
        with shards.fill(fresh / f"{split}.safetensors", schema, len(names), **describe(split)) as table:
            troubles |= fill_images(table.values["image"], folder, names, _middle, f"celeba: {split} images")
            for title, column in zip(faces.titles, marks.T, strict=True):
                table.values[title][:] = torch.from_numpy(column)
            table.observed[:] = True
    refuse_damaged(troubles, len(faces.names), "images", FACTS.get)


def _middle(_: int, image: PIL.Image.Image) -> PIL.Image.Image:
    """Resizes the image of a face, and crops its middle."""
    import PIL.Image

    if image.size != PUBLISHED:
        raise ValueError(f"it must be {PUBLISHED[0]}x{PUBLISHED[1]} pixels; got {image.width}x{image.height}")
    height = SIDE * PUBLISHED[1] // PUBLISHED[0]
    top = (height - SIDE) // 2
    return image.resize((SIDE, height), PIL.Image.Resampling.BILINEAR).crop((0, top, SIDE, top + SIDE))


def _faces(attributes: Path, partition: Path) -> Faces:
    """Reads the lists of attributes and splits.

    Raises:
        ValueError: A line is invalid, or the lists do not agree.
    """
    rows = lines(attributes, FACTS.get)
    number, count = next(rows, (1, []))
    if len(count) != 1:
        raise make_line_error(attributes, number, "the number of images", count, FACTS.get)
    number, titles = next(rows, (2, []))
    if len(titles) != ATTRIBUTES or len({"image", *titles}) != ATTRIBUTES + 1:
        raise make_line_error(
            attributes, number, f"{ATTRIBUTES} names of attributes ({len(titles)} here)", titles, FACTS.get
        )
    names, marks = _parse_listing(rows, attributes, {"-1": 0, "1": 1}, ATTRIBUTES)
    if count != [str(len(names))]:
        raise ValueError(
            f"{attributes} must have {brief(count[0])} images, as it states; got {len(names)}; {FACTS.get}"
        )
    others, splits = _parse_listing(lines(partition, FACTS.get), partition, {"0": 0, "1": 1, "2": 2}, 1)
    if len(odd := np.setxor1d(names, others)):
        raise ValueError(
            f"{partition} must list exactly the images of {attributes.name}; they differ in {odd[0]} "
            f"({len(odd)} such images); {FACTS.get}"
        )
    if len(np.unique(splits)) != len(storage.SPLITS):
        raise ValueError(f"{partition} must have images of all three splits, 0, 1 and 2; {FACTS.get}")
    return Faces(names, titles, marks, splits[:, 0])


def _parse_listing(
    rows: Iterator[tuple[int, list[str]]], path: Path, values: Mapping[str, int], columns: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the file names `(N,)`, sorted, and the values that follow them on their lines, `(N, columns)` int8.

    Raises:
        ValueError: A line is invalid, or a file is listed twice.
    """
    names, held = [], bytearray()
    for number, (name, *marks) in rows:
        if len(marks) != columns or not values.keys() >= set(marks) or len(name) > LONGEST:
            rule = f"a file's name and {columns} of {', '.join(values)} ({len(marks)} here)"
            raise make_line_error(path, number, rule, [name, *marks], FACTS.get)
        names.append(name)
        held.extend(map(values.__getitem__, marks))
    unique, order = np.unique(names, return_index=True)
    if len(unique) != len(names):
        raise ValueError(f"{path} must name each image once; {len(names) - len(unique)} names occur again; {FACTS.get}")
    return unique, np.frombuffer(held, np.int8).reshape(-1, columns)[order]

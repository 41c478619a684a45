"""Listing and description of data sets for the terminal, without loading them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from shlex import quote
from textwrap import dedent
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from polymodal.datasets import DATASETS
from polymodal.datasets.base import Facts, facts
from polymodal.datasets.storage import cache, place
from polymodal.runtime.progress import format_size
from polymodal.runtime.registry import lookup

__all__ = ["describe_dataset", "list_datasets"]

KEY = re.compile("[0-9a-f]{32}")
"""Hash at the end of the names of cache folders, `<data set>-<hash>`, that `storage.kept` creates."""


def list_datasets(root: Path | None = None) -> Group:
    """Returns a table with one row per data set: its name, what it is, and whether its files are available.

    Arguments:
        root: Folder with the files of the data sets; by default the download folder of each data set.

    Raises:
        FileNotFoundError: The folder does not exist.
    """
    _check(root)
    table = Table("data set", "what it is", "available", box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for name, make in sorted(DATASETS.items()):
        known = facts(make)
        available = "" if known is None else "yes" if _is_available(name, known, root) else "no"
        table.add_row(*map(Text, (name, _description(make)[0], available)))
    return Group(table, Text("`polymodal datasets NAME` describes a data set in full, and how to get its files."))


def describe_dataset(name: str, root: Path | None = None) -> Group:
    """Returns the complete description of a data set: its facts, arguments and files.

    Arguments:
        name: Name of the data set in DATASETS.
        root: Folder with the files of the data set, as in `list_datasets`.

    Raises:
        FileNotFoundError: The folder does not exist.
        ValueError: The data set does not exist.
    """
    make = lookup(DATASETS, name, "data set")
    _check(root)
    known = facts(make)
    summary, *paragraphs = _description(make)
    parts = [_pairs(_list_known_facts(known)), _arguments(make), _pairs(_files(name, make, known, root))]
    return Group(
        Text.assemble((name, "bold"), "  ", summary),
        *(_below(Text(paragraph)) for paragraph in paragraphs),
        *(_below(part) for part in parts if part.rows),
    )


def _list_known_facts(known: Facts | None) -> dict[str, str]:
    """Returns the recorded facts of a data set, without empty ones."""
    if known is None:
        return {}
    rows = "" if known.rows is None else "{:,} training, {:,} validation, {:,} test".format(*known.rows)
    every = {"values": known.shapes, "rows": rows, "origin": known.origin, "licence": known.licence, "size": known.size}
    return {key: value for key, value in every.items() if value}


def _is_available(name: str, known: Facts, root: Path | None) -> bool:
    """Returns whether a data set can be loaded now: it needs no files, or all files of one layout exist."""
    return not known.layouts or known.find_layout(place(known.shares or name, root)) is not None


def _files(name: str, make: Callable[..., Any], known: Facts | None, root: Path | None) -> dict[str, str]:
    """Returns whether a data set is available, where its files are expected, how to get them, and what is cached."""
    rows: dict[str, str] = {}
    if known and not known.layouts:
        rows["available"] = f"yes{known.get and f', {known.get}'}"
    if known and known.layouts:
        folder, parameters = place(known.shares or name, root), inspect.signature(make).parameters
        rows["available"] = f"yes, in {folder}" if _is_available(name, known, root) else f"no, not in {folder}"
        rows["files"] = "\nor ".join(", ".join(layout) for layout in known.layouts)
        rows["to get"] = f"{known.get[:1].upper()}{known.get[1:]}."
        if "download" in parameters:
            rows["to download"] = f"polymodal train {name} --set download=true"
        if "root" in parameters:
            rows["to train"] = f"polymodal train {name} --set root={'FOLDER' if root is None else quote(str(root))}"
    return rows | _list_cache_folders(name, bool(known and not known.layouts))


def _list_cache_folders(name: str, quick: bool) -> dict[str, str]:
    """Returns the size and the folders of a data set in the cache."""
    named = (cache() / "datasets").glob(f"{name}-*")
    folders = [path for path in named if KEY.fullmatch(path.name[len(name) + 1 :]) and path.is_dir()]
    if not folders:
        return {} if quick else {"cache": f"nothing in {cache() / 'datasets'}"}
    size = sum(file.stat().st_size for folder in folders for file in folder.iterdir() if file.is_file())
    return {"cache": f"{format_size(size)}:" + "".join(f"\n{folder}" for folder in sorted(folders))}


def _description(make: Callable[..., Any]) -> list[str]:
    """Returns the paragraphs of a docstring before its sections; lines that begin with a hyphen stay separate lines."""
    text = re.split(r"^[A-Z]\w+:$", inspect.getdoc(make) or "", maxsplit=1, flags=re.MULTILINE)[0].strip()
    lines = [re.sub(r"\s*\n(?!\s*- )\s*", " ", part).replace("`", "") for part in re.split(r"\n\s*\n", text)]
    return lines if text else ["No description."]


def _arguments(make: Callable[..., Any]) -> Table:
    """Returns a table of the arguments with their defaults and their descriptions from the docstring."""
    section = re.search(r"^Arguments:\n((?:[ \t].*\n|\n)*)", f"{inspect.getdoc(make)}\n", flags=re.MULTILINE)
    documented = re.findall(r"^(\w+): (.*(?:\n[ \t]+.*)*)", dedent(section[1]) if section else "", flags=re.MULTILINE)
    described = {name: " ".join(text.split()).replace("`", "") for name, text in documented}
    parameters = _parameters(make)
    return _pairs({shown: described.get(shown.partition("=")[0], "") for shown in parameters} or {"arguments": "none"})


def _parameters(make: Callable[..., Any]) -> list[str]:
    return [
        parameter.name if parameter.default is parameter.empty else f"{parameter.name}={parameter.default!r}"
        for parameter in inspect.signature(make).parameters.values()
    ]


def _below(part: RenderableType) -> Padding:
    return Padding(part, (1, 0, 0, 0))


def _pairs(rows: dict[str, str]) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for key, value in rows.items():
        grid.add_row(Text(key), Text(value))
    return grid


def _check(root: Path | None) -> None:
    if root is not None and not root.is_dir():
        raise FileNotFoundError(
            f"--root must be a folder; got {root}, which {'is a file' if root.exists() else 'does not exist'}"
        )

"""Listing and description of data sets for the terminal, without loading them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from shlex import quote
from textwrap import dedent
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from polymodal.datasets import DATASETS
from polymodal.datasets.base import Facts, facts
from polymodal.datasets.storage import cache, place
from polymodal.runtime.progress import size_of
from polymodal.runtime.registry import lookup

__all__ = ["describe_dataset", "list_datasets"]

KEY = re.compile("[0-9a-f]{32}")
"""Hash at the end of the names of cache folders, `<data set>-<hash>`, that `storage.kept` creates."""


def list_datasets(root: Path | None = None) -> Group:
    """Returns a short description of each data set.

    Arguments:
        root: Folder with the files of the data sets; by default the download folder of each data set.

    Raises:
        FileNotFoundError: The folder does not exist.
    """
    _check(root)
    return Group(*(_block(name, make, root) for name, make in sorted(DATASETS.items())))


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
        _title(name, summary),
        *(_below(Text(told)) for told in paragraphs),
        *(_below(part) for part in parts if part.rows),
    )


def _block(name: str, make: Callable[..., Any], root: Path | None) -> RenderableType:
    known = facts(make)
    there = {"there": _there(name, known, root)} if known else {}
    rows = {**_list_known_facts(known), "arguments": ", ".join(_parameters(make)) or "none", **there}
    return Group(_title(name, _description(make)[0]), Padding(_pairs(rows), (0, 0, 1, 2)))


def _list_known_facts(known: Facts | None) -> dict[str, str]:
    """Returns the recorded facts of a data set, without empty ones."""
    if known is None:
        return {}
    rows = "" if known.rows is None else "{:,} training, {:,} validation, {:,} test".format(*known.rows)
    told = {"values": known.shapes, "rows": rows, "origin": known.origin, "licence": known.licence, "size": known.size}
    return {key: value for key, value in told.items() if value}


def _there(name: str, known: Facts, root: Path | None) -> str:
    """Returns a text that states whether the files of a data set are available."""
    if not known.layouts:
        return f"always{known.get and f': {known.get}'}"
    folder = place(known.shares or name, root)
    if known.found(folder) is None:
        return f"no: `polymodal datasets {name}` tells how to have it"
    return f"yes, in {folder}"


def _files(name: str, make: Callable[..., Any], known: Facts | None, root: Path | None) -> dict[str, str]:
    """Returns where the files of a data set are expected, how to get them, and what is in the cache."""
    rows = {"there": _there(name, known, root)} if known else {}
    if known and known.layouts:
        folder, parameters = place(known.shares or name, root), inspect.signature(make).parameters
        found = known.found(folder) is not None
        rows["there"] = f"yes, in {folder}" if found else f"no, not in {folder}"
        rows["files"] = "\nor ".join(", ".join(layout) for layout in known.layouts)
        rows["to get"] = f"{known.get[:1].upper()}{known.get[1:]}."
        if "download" in parameters:
            rows["to fetch"] = f"polymodal train {name} --set download=true"
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
    return {"cache": f"{size_of(size)}:" + "".join(f"\n{folder}" for folder in sorted(folders))}


def _description(make: Callable[..., Any]) -> list[str]:
    """Returns the paragraphs of a docstring before its sections; lines that begin with a hyphen stay separate lines."""
    told = re.split(r"^[A-Z]\w+:$", inspect.getdoc(make) or "", maxsplit=1, flags=re.MULTILINE)[0].strip()
    lines = [re.sub(r"\s*\n(?!\s*- )\s*", " ", part).replace("`", "") for part in re.split(r"\n\s*\n", told)]
    return lines if told else ["Nothing is said of it."]


def _arguments(make: Callable[..., Any]) -> Table:
    """Returns a table of the arguments with their defaults and their descriptions from the docstring."""
    section = re.search(r"^Arguments:\n((?:[ \t].*\n|\n)*)", f"{inspect.getdoc(make)}\n", flags=re.MULTILINE)
    told = re.findall(r"^(\w+): (.*(?:\n[ \t]+.*)*)", dedent(section[1]) if section else "", flags=re.MULTILINE)
    described = {name: " ".join(text.split()).replace("`", "") for name, text in told}
    parameters = _parameters(make)
    return _pairs({shown: described.get(shown.partition("=")[0], "") for shown in parameters} or {"arguments": "none"})


def _parameters(make: Callable[..., Any]) -> list[str]:
    return [
        parameter.name if parameter.default is parameter.empty else f"{parameter.name}={parameter.default!r}"
        for parameter in inspect.signature(make).parameters.values()
    ]


def _title(name: str, summary: str) -> Text:
    return Text.assemble((name, "bold"), "  ", summary)


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
            f"--root must be a folder; got {root}, which is {'a file' if root.exists() else 'not there'}"
        )

"""The command `polymodal datasets`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["datasets"]


def datasets(
    name: Annotated[
        str | None, typer.Argument(help="Data set to describe in full; by default all are listed.", show_default=False)
    ] = None,
    root: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Folder with the files of data sets; by default the download folder."),
    ] = None,
) -> None:
    """List the data sets that `train` can load by name, and whether their files are available.

    With a name, the command prints everything about one data set: its modalities, sizes, licence, arguments and files,
    and how to get the files.
    """
    from polymodal.cli.console import show
    from polymodal.cli.dataset_list import describe_dataset, list_datasets

    show(list_datasets(root) if name is None else describe_dataset(name, root))

"""The command `polymodal push`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from polymodal.cli.shared_options import Device, RunFolder
from polymodal.cli.terminal import tell
from polymodal.runtime.formatting import printable

__all__ = ["push"]


def push(
    folder: RunFolder,
    repository: Annotated[
        str,
        typer.Argument(help="Repository on the Hugging Face Hub, owner/name; it is created if it is missing."),
    ],
    licence: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Licence of the model, as the Hub names it, such as apache-2.0; by default none."
        ),
    ] = None,
    private: Annotated[
        bool | None,
        typer.Option(
            "--private/--public",
            help="Whether a new repository is private; by default the setting of its owner.",
            show_default=False,
        ),
    ] = None,
    revision: Annotated[
        str | None,
        typer.Option(metavar="BRANCH", help="Branch to write to; it is created if it is missing. By default main."),
    ] = None,
    message: Annotated[str | None, typer.Option(metavar="TEXT", help="Message of the commit.")] = None,
    dry_run: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Write the files that would be uploaded into this folder, and upload nothing."
        ),
    ] = None,
    device: Device = "auto",
) -> None:
    """Upload the model of a run to the Hugging Face Hub, with a model card.

    The upload consists of weights.safetensors, model.json, the card README.md, and a figure. The card shows the scores
    of the run. The figure shows predictions for test rows if the data set is one that `polymodal datasets` lists, and
    otherwise samples from the model: rows of a table of your own are not uploaded. model.json contains the names of
    modalities and classes, the vocabulary of texts, and the smallest and largest numbers of the training rows.

    A token that may write must be in the environment variable HF_TOKEN.
    """
    from polymodal.cli.push_run import push_run

    options: dict[str, Any] = {"private": private, "revision": revision, "message": message, "licence": licence}
    tell(printable(push_run(folder, repository, dry_run=dry_run, device=device, **options)))

"""Upload of a run's model to the Hugging Face Hub, with a card that shows its scores and a figure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polymodal.cli.contact_sheet import draw_contact_sheet
from polymodal.cli.predictions import Predictions
from polymodal.cli.run_data import SPLITS, choose_split, open_tables, read_source
from polymodal.cli.run_folder import find_outdated_tasks, name_score_file, open_model
from polymodal.evaluation.score_file import read_scores
from polymodal.io.hub_files import parse_repository
from polymodal.models.hub_sharing import write_hub_folder
from polymodal.report.grids import choose_rows
from polymodal.runtime.formatting import brief
from polymodal.runtime.progress import say

if TYPE_CHECKING:
    import pandas as pd
    import PIL.Image

    from polymodal.models import Model

__all__ = ["push_run"]

EXAMPLES = 6
"""Number of rows in the figure."""


def push_run(
    folder: Path,
    repository: str,
    *,
    private: bool | None = None,
    revision: str | None = None,
    message: str | None = None,
    licence: str | None = None,
    dry_run: Path | None = None,
    device: str = "auto",
) -> str:
    """Uploads the model of a run to the Hugging Face Hub, or writes the files of the upload into a folder.

    The card shows the scores of the run's score files, and a figure: predictions for rows of the run's data set if it
    is one of those that polymodal knows, and otherwise samples, because rows of a user's own table may be confidential.

    Arguments:
        folder: Run folder, or folder of a model.
        repository: Name of the repository, "owner/name".
        private: Whether a new repository is private; by default the owner's setting.
        revision: Branch to write to, by default the main branch.
        message: Message of the commit.
        licence: Identifier of the licence.
        dry_run: Folder to write the files into, in place of an upload.
        device: Device, as in `fit`.

    Returns:
        A line with the address of the model or the folder.

    Raises:
        FileNotFoundError: The folder holds neither a run nor a model.
        OSError: The upload failed.
        ValueError: An argument is not valid, or a file of the run is damaged.
    """
    parse_repository(repository)
    source = read_source(folder)
    model = open_model(folder, device)
    figure, caption = _draw_figure(folder, source, model)
    about: dict[str, Any] = {"licence": licence, "data": _name_data(source), "scores": _read_scores(folder)}
    about |= {"figure": figure, "caption": caption}
    if not about["scores"]:
        say(f"{folder} has no scores, so the card shows none; `polymodal evaluate` computes them for a run")
    if licence is None:
        say("no licence is stated, so others may not use the model; state one with --licence, such as apache-2.0")
    if dry_run is not None:
        write_hub_folder(model, dry_run, repository, **about)
        return f"Files for {repository}: {dry_run}"
    return f"Model: {model.push_to_hub(repository, private=private, revision=revision, message=message, **about)}"


def _name_data(source: Mapping[str, Any]) -> str | None:
    """Returns the name of a run's data set, without the folders of a table's path; None if it is unknown."""
    path = source.get("arguments", {}).get("path")
    if source.get("dataset") == "table":
        return (re.split(r"[\\/]", path.rstrip("\\/"))[-1] or None) if isinstance(path, str) else None
    return source.get("dataset")


def _read_scores(folder: Path) -> dict[str, pd.DataFrame]:
    """Returns the scores of each split, without those from before the model was trained further."""
    found = {}
    for split in SPLITS:
        if (path := name_score_file(folder, split)).exists():
            scores, outdated = read_scores(path), find_outdated_tasks(path)
            if outdated and {*scores["task"]} <= outdated:
                say(f"{path} is older than the model, so its scores are left out; evaluate the run again")
            found[split] = scores[~scores["task"].isin(outdated)]
    return {split: scores for split, scores in found.items() if len(scores)}


def _draw_figure(folder: Path, source: Mapping[str, Any], model: Model) -> tuple[PIL.Image.Image, str]:
    """Draws the figure of the card, and returns it with its caption."""
    if source.get("dataset") not in (None, "table") and len(model.schema) > 1:
        try:
            return _draw_predictions(folder, model)
        except (OSError, ValueError) as error:
            say(f"the figure shows samples, because the rows of the data set cannot be read: {brief(error)}")
    values = model.sample(EXAMPLES, seed=0)
    bounded = {name: model.schema[name].bound(value, "observed")[None] for name, value in values.items()}
    sheet = draw_contact_sheet(Predictions(model.schema, list(range(EXAMPLES)), bounded))
    return sheet, "Unconditional samples from the model"


def _draw_predictions(folder: Path, model: Model) -> tuple[PIL.Image.Image, str]:
    """Draws predictions of all other modalities given the first one, next to the true values.

    Raises:
        OSError: The data set cannot be read.
        ValueError: The data set cannot be read, or a row does not observe the first modality.
    """
    schema, split = model.schema, choose_split(folder)
    table = open_tables(folder, split, schema=schema)[0]
    given, *to = list(schema)
    rows = choose_rows(table, EXAMPLES, 0)
    batch = table[rows]
    seen = schema.mask([given]) & batch.observed
    values = {name: value.cpu()[None] for name, value in model.translate(batch, [given], to).items()}
    bounded = {name: schema[name].bound(value, "observed") for name, value in values.items()}
    sheet = draw_contact_sheet(Predictions(schema, rows, bounded, batch, seen))
    return sheet, f"Predictions given {given}, next to the true values, for rows of the {split} split"

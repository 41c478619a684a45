"""Sharing of a model by the Hugging Face Hub: its files and its model card in a folder, and their upload."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from polymodal.io import checkpoint
from polymodal.io.hub_files import parse_repository, require_hub, upload_model
from polymodal.models.model_card import CardFacts, build_card
from polymodal.runtime.validation import check_mapping, check_text

if TYPE_CHECKING:
    import pandas as pd
    import PIL.Image

    from polymodal.models.base import Model

__all__ = ["FILES", "HubSharing", "write_hub_folder"]

FILES = ("model.json", "weights.safetensors", "README.md", "figure.png", "examples.json")
"""Files of a repository."""
LICENCE = re.compile(r"[a-z0-9][a-z0-9.+-]{0,60}")
FIGURE = "Predictions of the model"


class HubSharing:
    """The part of a model that uploads it to the Hugging Face Hub."""

    def push_to_hub(
        self,
        repository: str,
        *,
        private: bool | None = None,
        revision: str | None = None,
        message: str | None = None,
        licence: str | None = None,
        data: str | None = None,
        scores: Mapping[str, pd.DataFrame] | None = None,
        figure: PIL.Image.Image | None = None,
        caption: str = FIGURE,
        examples: Sequence[Mapping[str, Any]] = (),
    ) -> str:
        """Uploads the model to the Hugging Face Hub, with a model card.

        Only Safetensors, JSON, the card (README.md) and one figure are uploaded, in one commit. `model.json` contains
        the names of the modalities and classes, the vocabulary of texts and the ranges of numbers. The environment
        variable `HF_TOKEN` must hold a token that may write.

        Arguments:
            repository: Name of the repository, "owner/name"; it is created if it is missing.
            private: Whether a new repository is private; by default the owner's setting.
            revision: Branch to write to, by default the main branch; it is created if it is missing.
            message: Message of the commit.
            licence: Identifier of the licence, such as "apache-2.0".
            data: Name of the data set that the model was trained on, for the card.
            scores: Results of `polymodal.evaluate` by the name of the split, such as {"test": scores}.
            figure: Image for the card.
            caption: Caption of the image.
            examples: Example rows to upload as examples.json, in the format of `polymodal serve`.

        Returns:
            The address of the uploaded model, "hf://owner/name@commit", for `polymodal.load`.

        Raises:
            ImportError: `huggingface_hub` is not installed.
            PermissionError: `HF_TOKEN` is not set, or may not write.
            ConnectionError: The Hub cannot be reached.
            ValueError: The name of the repository, the branch or the licence is not valid.
        """
        facts = {"licence": licence, "data": data, "scores": scores, "caption": caption}
        with tempfile.TemporaryDirectory() as root:
            folder = Path(root) / "model"
            write_hub_folder(cast("Model", self), folder, repository, figure=figure, examples=examples, **facts)
            message = message or "Upload a model of polymodal"
            _, commit = upload_model(folder, repository, private=private, revision=revision, message=message)
        return f"hf://{repository}@{commit}"


def write_hub_folder(
    model: Model,
    folder: Path,
    repository: str,
    *,
    licence: str | None = None,
    data: str | None = None,
    scores: Mapping[str, pd.DataFrame] | None = None,
    figure: PIL.Image.Image | None = None,
    caption: str = FIGURE,
    examples: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Writes the files of a repository into a folder: all of them or none. The arguments are those of `push_to_hub`.

    Raises:
        ImportError: `huggingface_hub` is not installed.
        ValueError: The folder contains other files, or an argument is not valid.
    """
    check_text("repository", repository, "owner/name")
    parse_repository(repository)
    require_hub()
    if licence is not None and (not isinstance(licence, str) or LICENCE.fullmatch(licence) is None):
        raise ValueError(
            f"licence must be an identifier of the Hub in small letters, such as apache-2.0, mit or cc-by-4.0; got "
            f"{licence!r}; use other for a licence of your own"
        )
    check_mapping("scores", scores or {}, "{'test': polymodal.evaluate(model, data.test)}")
    shown = None if figure is None else caption
    facts = CardFacts(repository, licence, data, scores or {}, shown, len(examples))
    card = build_card(model, facts)
    checkpoint.refuse_foreign(folder, list(FILES))
    with tempfile.TemporaryDirectory() as root, checkpoint.replace_folder(folder.resolve()) as fresh:
        for path in model.save(Path(root) / "model").iterdir():
            shutil.move(path, fresh / path.name)
        (fresh / "README.md").write_text(card, encoding="utf-8", newline="\n")
        if figure is not None:
            figure.save(fresh / "figure.png", optimize=True)
        if examples:
            (fresh / "examples.json").write_text(
                checkpoint.to_json({"rows": [dict(row) for row in examples]}), encoding="utf-8", newline="\n"
            )

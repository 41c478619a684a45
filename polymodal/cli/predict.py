"""Prediction and sampling with a trained model into an output folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from polymodal.cli import output_folder
from polymodal.cli.input_rows import list_sources, parse_modality_names, read_selected_rows, refuse_both
from polymodal.cli.predictions import Predictions
from polymodal.cli.run_data import choose_output
from polymodal.cli.run_folder import open_model
from polymodal.modalities.base import Bounds, check_bounds
from polymodal.runtime.progress import show_progress

if TYPE_CHECKING:
    from torch import Tensor

    from polymodal.batch import Batch
    from polymodal.datasets.table_files import File
    from polymodal.models import Model
    from polymodal.schema import Schema

__all__ = ["sample_to_folder", "translate_to_folder"]

PASS = 256
"""Number of rows per translated batch."""


def translate_to_folder(
    folder: Path,
    file: File | None = None,
    *,
    given: Sequence[str] = (),
    to: Sequence[str] = (),
    rows: str = "0:8",
    split: str | None = None,
    samples: int | None = None,
    combine: Literal["mean"] | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    temperature: float | None = None,
    seed: int = 0,
    bounds: Bounds = "observed",
    out: Path | None = None,
    device: str = "auto",
    overwrite: bool = False,
    on_changed: str = "error",
) -> tuple[Path, Predictions]:
    """Predicts modalities of rows from other modalities, and writes the predictions into a folder.

    Arguments:
        folder: Run folder.
        file: Table with the input rows; by default the rows of a split are used.
        given: Names of the modalities to condition on; by default all.
        to: Names of the modalities to predict; by default all.
        rows: Row numbers and ranges, such as "0:8" or "3,5,9".
        split: Split of the run's data set; by default the test split.
        samples: Number of posterior samples per row; by default one prediction from the posterior mean.
        combine: Combination of the samples, as in `Model.translate`.
        steps: Number of solver steps, as in `Model.translate`.
        guidance: Weight of the condition, as in `Model.translate`.
        temperature: Scale of the noise, as in `Model.translate`.
        seed: Random seed of the samples.
        bounds: Range of predicted numbers, as in `polymodal.impute`.
        out: Output folder; by default `translations`, see `choose_output`.
        device: Device, as in `fit`.
        overwrite: Whether to replace earlier translations.
        on_changed: Behaviour if the table of the training run has changed since training: "error" raises an error,
            "warn" reads the table with the model's schema.

    Returns:
        The output folder, and the predictions in it.

    Raises:
        ValueError: A name or a row does not exist, a row observes none of the given modalities, a cell cannot be read,
            both a file and a split are given, `out` holds other files, or `out` holds earlier translations and
            `overwrite` is not set.
    """
    check_bounds(bounds)
    out = out or choose_output(folder, "translations")
    refuse_both(file, split)
    model = open_model(folder, device)
    schema = model.schema
    starts, ends = parse_modality_names(given, schema), parse_modality_names(to, schema)
    output_folder.check_output_folder(out, "translate", list_sources(folder, file, tables=False), overwrite=overwrite)
    chosen, batch = read_selected_rows(folder, schema, rows, split, file, on_changed)
    seen = schema.mask(starts) & batch.observed
    _require_given(schema, chosen, batch.observed, seen, starts)
    options = {"samples": samples, "combine": combine, "steps": steps, "guidance": guidance}
    options["temperature"] = temperature
    if samples is not None:
        options["seed"] = seed
    made = _translate_batches(model, batch, seen, ends, chosen, options)
    made = {name: schema[name].bound(value, bounds) for name, value in made.items()}
    answers = Predictions(schema, chosen, made, batch, seen)
    where = {"split": split or "test"} if file is None else {"file": str(file.path)}
    asked = {"run": str(folder), **where, "given": starts, "to": ends, "rows": chosen, **options, "bounds": bounds}
    return output_folder.write_output_folder(out, answers, {"command": "translate", **asked, "seed": seed}), answers


def sample_to_folder(
    folder: Path,
    *,
    number: int = 16,
    seed: int = 0,
    out: Path | None = None,
    bounds: Bounds = "observed",
    device: str = "auto",
    overwrite: bool = False,
) -> tuple[Path, Predictions]:
    """Samples rows from the prior, and writes them into a folder. PyTorch's global random state stays unchanged.

    Arguments:
        folder: Run folder.
        number: Number of sampled rows.
        seed: Random seed for sampling.
        out: Output folder; by default `samples`, see `choose_output`.
        bounds: Range of sampled numbers, as in `polymodal.impute`.
        device: Device, as in `fit`.
        overwrite: Whether to replace earlier samples.

    Returns:
        The output folder, and the samples in it.

    Raises:
        ValueError: `bounds` is unknown, `out` holds other files, or `out` holds earlier samples and `overwrite` is not
            set.
    """
    check_bounds(bounds)
    out = out or choose_output(folder, "samples")
    output_folder.check_output_folder(out, "sample", list_sources(folder, tables=False), overwrite=overwrite)
    model = open_model(folder, device)
    schema, made = model.schema, model.sample(number, seed=seed)
    made = {name: schema[name].bound(value, bounds)[None] for name, value in made.items()}
    answers = Predictions(schema, list(range(number)), made)
    asked = {"command": "sample", "run": str(folder), "number": number, "seed": seed, "bounds": bounds}
    return output_folder.write_output_folder(out, answers, asked), answers


def _translate_batches(
    model: Model, batch: Batch, seen: Tensor, to: list[str], rows: list[int], options: dict[str, Any]
) -> dict[str, Tensor]:
    """Returns predictions `(S, B, *shape)` by modality, on the CPU.

    S is the number of posterior samples; it is 1 without samples, and if the samples are combined.
    """
    starts = range(0, len(batch), PASS)
    parts = show_progress(starts, "translating", len(starts)) if len(starts) > 1 else starts
    passes = []
    for start in parts:
        some = slice(start, start + PASS)
        passes.append(model.translate(batch[some], seen[some], to, rows=rows[some], **options))
    several = options["samples"] is not None and options["combine"] is None
    whole = {name: torch.cat([part[name].cpu() for part in passes], dim=int(several)) for name in to}
    return whole if several else {name: value[None] for name, value in whole.items()}


def _require_given(schema: Schema, rows: list[int], observed: Tensor, seen: Tensor, given: list[str]) -> None:
    """Checks that every row observes at least one of the given modalities; the error names a row by its number."""
    if len(blind := (~seen.any(1)).nonzero()):
        place = int(blind[0])
        has = [name for name, here in zip(schema, observed[place].tolist(), strict=True) if here]
        found = f"only {', '.join(has)}" if has else "nothing"
        raise ValueError(
            f"every row must observe at least one of the given modalities; row {rows[place]} observes {found}, and "
            f"given are {', '.join(given)}; leave it out of --rows, or add modalities to --given"
        )

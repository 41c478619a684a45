"""HTML page that reports on a trained model."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from polymodal.evaluation import TASKS
from polymodal.evaluation.subsets import select_shown_modalities
from polymodal.io import checkpoint
from polymodal.report import figures, grids
from polymodal.report.code_map import build_code_map
from polymodal.report.column_scores import prepare_columns
from polymodal.report.rendering import render
from polymodal.report.score_summary import prepare_scores
from polymodal.runtime.progress import format_duration

if TYPE_CHECKING:
    import pandas as pd

    from polymodal.models import Model
    from polymodal.schema import Schema
    from polymodal.table.table import Table

__all__ = ["write"]


class Curve(NamedTuple):
    """Curve of a loss term per epoch, as SVG."""

    name: str
    svg: str


class Training(NamedTuple):
    """Summary of the training."""

    epochs: int
    time: str
    best: int | None
    curves: list[Curve]
    facts: list[str]


def write(
    path: str | Path,
    model: Model,
    table: Table,
    *,
    history: pd.DataFrame | None = None,
    prior_history: pd.DataFrame | None = None,
    scores: pd.DataFrame | None = None,
    settings: Mapping[str, Any] | None = None,
    title: str | None = None,
    examples: int = 8,
    seed: int = 0,
) -> Path:
    """Writes one HTML page about a model: inputs, translations, samples, a map of codes, training and scores.

    The page is self-contained: it has no script and loads nothing from the internet. The same arguments give the same
    bytes. PyTorch's global random state is not changed.

    Arguments:
        path: File to write.
        model: Model to report on.
        table: Rows to show, with the modalities of the model; values may be missing.
        history: `Fit.history`, for the loss curves; None leaves them out.
        prior_history: `Fit.prior_history`, for the loss curve of the flow; None leaves it out.
        scores: Result of `evaluate`, for the tables of scores on the paper's tasks; None leaves them out.
        settings: Nested arguments of the run, as in `experiment.json`; None leaves them out.
        title: Title of the page; by default, the names of the model and of the data.
        examples: Number of rows and number of samples to show.
        seed: Random seed for the choice of rows and for sampling.

    Returns:
        Path of the file.

    Raises:
        ValueError: The table is empty, its modalities are not those of the model, or `examples` is below 1.

    Example:
        >>> import tempfile
        >>> from polymodal.datasets import load
        >>> from polymodal.models import build
        >>> data = load("polydigits", rows=20, held_out_rows=10)
        >>> model = build("mac-wae", data.schema, latent_dim=8, hidden=(16,))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     page = write(Path(folder) / "report.html", model, data.test, examples=2)
        ...     page.name, "m3 given label alone" in page.read_text(encoding="utf-8")
        ('report.html', True)
    """
    _check(model, table, examples)
    scores = None if scores is None else scores[scores["task"].isin(TASKS)]
    training = None
    if history is not None and not history.empty:
        training = _training(history, model.schema, settings or {})
        if prior_history is not None and not prior_history.empty:
            training = _with_flow(training, prior_history)
    context = {
        "title": title or _title(model, table),
        "about": _about(model, table),
        "left_out": len(model.schema) - len(select_shown_modalities(model.schema)),
        "shown": len(select_shown_modalities(model.schema)),
        **_examples(model, table, examples, seed),
        "columns": None if scores is None or scores.empty else prepare_columns(scores, model.schema, table),
        "scores": None if scores is None or scores.empty else prepare_scores(scores, model.schema),
        "training": training,
        "settings": _sections(settings) if settings else None,
    }
    return checkpoint.write_text(path, render("template.html.j2", context))


def _check(model: Model, table: Table, examples: int) -> None:
    model.schema.require(table.schema, "table")
    if not len(table):
        raise ValueError("table must have at least one row to show; got none")
    if examples < 1:
        raise ValueError(f"examples must be at least 1; got {examples}")


def _examples(model: Model, table: Table, examples: int, seed: int) -> dict[str, Any]:
    rows = grids.choose_rows(table, examples, seed)
    batch, columns = table[rows], [f"row {row}" for row in rows]
    return {
        "inputs": grids.build_input_grid(model.schema, batch, columns),
        "translations": grids.build_translation_grids(model, batch, columns),
        "samples": grids.build_sample_grid(model, examples, seed),
        "posterior": grids.build_posterior_grids(model, batch, columns, seed),
        "map": build_code_map(model, table, seed),
    }


def _title(model: Model, table: Table) -> str:
    dataset, arguments = table.source.get("dataset"), table.source.get("arguments", {})
    called = Path(arguments["path"]).name if "path" in arguments else dataset  # file of a custom table
    return f"{model.name} on {called}" if called else model.name


def _about(model: Model, table: Table) -> str:
    """Returns a one-line description of the model and the rows."""
    names = list(model.schema)
    listed = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    split = table.source.get("split")
    rows = f"{len(table):,} row{'s' * (len(table) > 1)}" + (f" of the {split} split" if split else "")
    missing = float((~table.observed).float().mean())
    gaps = f"; {100 * missing:.0f} % of their values are missing" if missing else ""
    members = f"of {model.member_count} members " if model.member_count > 1 else ""
    return (
        f"A {model.name} model {members}with a code of {model.code_dim} numbers for {len(names)} "
        f"modalit{'y' if len(names) == 1 else 'ies'}: {listed}. Its results are for {rows}{gaps}."
    )


def _training(history: pd.DataFrame, schema: Schema, settings: Mapping[str, Any]) -> Training:
    best = _best(history, settings)
    columns = [str(column) for column in history]
    penalties = [column.removeprefix("validation/") for column in columns if column.startswith("validation/penalty/")]
    terms = {"total": "total loss"} | {f"cost/{name}": f"cost of {name}" for name in select_shown_modalities(schema)}
    terms |= {term: f"penalty, {term.removeprefix('penalty/')}" for term in penalties[:4]}
    last = {name: float(history[name].iloc[-1]) for name in columns if name in ("prior_norm", "reference_cost")}
    if "prior_norm" in last:
        terms["codes/norm"] = "norm of the codes (horizontal line: prior)"
    epochs = [int(epoch) for epoch in history["epoch"]]
    curves = []
    for term, name in terms.items():
        lines = {
            split: history[f"{split}/{term}"].astype(float).tolist()
            for split in ("train", "validation")
            if f"{split}/{term}" in history
        }
        if lines:
            level = last.get("prior_norm") if term == "codes/norm" else None
            curves.append(Curve(name, figures.plot_curve(lines, epochs, best, f"curve{len(curves)}", level)))
    time = format_duration(float(history["seconds"].sum())) if "seconds" in history else ""
    return Training(len(epochs), time, best, curves, _facts(history, last))


def _with_flow(training: Training, history: pd.DataFrame) -> Training:
    """Adds the training of the flow over codes to a summary of the training."""
    lines = {split: history[f"prior/{split}"].astype(float).tolist() for split in ("train", "validation")}
    epochs = history["epoch"].astype(float).tolist()
    best = epochs[min(range(len(epochs)), key=lines["validation"].__getitem__)]
    curve = figures.plot_curve(lines, epochs, best, f"curve{len(training.curves)}")
    fact = (
        f"Then the flow over the codes was trained for {epochs[-1]:.3g} epochs in "
        f"{format_duration(float(history['seconds'].iloc[-1]))}; epoch {best:.3g} has its lowest validation loss."
    )
    curves = [*training.curves, Curve("loss of the flow, by its epochs", curve)]
    return training._replace(curves=curves, facts=[*training.facts, fact])


def _facts(history: pd.DataFrame, constants: Mapping[str, float]) -> list[str]:
    """Returns sentences on the penalty and the codes, as far as the history has them."""
    facts = []
    if "reference_cost" in constants:
        facts.append(
            f"The best constant prediction costs R = {constants['reference_cost']:.4g} per row; beta is relative to R."
        )
    if "prior_norm" in constants and "validation/codes/norm" in history:
        norm = float(history["validation/codes/norm"].iloc[-1])
        facts.append(
            f"After the last epoch, the mean norm of the codes is {norm:.3g}, and that of samples from the prior is "
            f"{constants['prior_norm']:.3g}."
        )
    return facts


def _best(history: pd.DataFrame, settings: Mapping[str, Any]) -> int | None:
    """Returns the epoch with the lowest validation loss; epochs before the end of the warm-up are ignored."""
    if "validation/total" not in history:
        return None
    fit = settings.get("fit")
    warmup = (fit.get("warmup") or 0) if isinstance(fit, Mapping) else 0
    losses = dict(zip(history["epoch"].tolist(), history["validation/total"].tolist(), strict=True))
    counted = {epoch: loss for epoch, loss in losses.items() if epoch >= warmup and isfinite(loss)}
    return min(counted, key=counted.__getitem__) if counted else None


def _sections(settings: Mapping[str, Any]) -> dict[str, list[tuple[str, str]]]:
    """Groups nested settings by the first part of their name; for example, "model" has "arguments.beta"."""
    sections: dict[str, list[tuple[str, str]]] = {}
    for (first, *rest), value in _leaves(settings):
        sections.setdefault(first if rest else "", []).append((".".join(rest) or first, value))
    return sections


def _leaves(value: Any, names: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    if isinstance(value, Mapping) and value:
        for name, part in value.items():
            yield from _leaves(part, (*names, str(name)))
    else:
        yield names, value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)

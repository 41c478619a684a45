"""HTML page that compares models, with its tables as CSV and its figures as PDF and PNG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from polymodal.comparison import charts, ranking, score_tables, sections
from polymodal.comparison.display_names import format_model_name, format_task_name
from polymodal.comparison.output_files import Folder, Section
from polymodal.comparison.scores import OUTCOME, is_further_task, select_shared_outcomes, summarise
from polymodal.io import checkpoint
from polymodal.report.rendering import render

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FILES", "PAGE", "write"]

PAGE = "comparison.html"
FILES = (PAGE, "ranks.csv", "best.csv", "win_loss.csv", "table.csv", "intervals.csv", "basis.csv")
"""Files that `write` may write when it is given scores only, references figures and one table per further task."""

METHOD = (
    "An outcome is one modality of one data set in one task. In an outcome, the model of rank r among the n models "
    "with a value has the score (n - r) / (n - 1); ties share the mean of their ranks. The average performance rank is "
    "the mean of these scores, with the standard error over the outcomes of the model. In the win-loss matrix, a tie "
    "is a win for neither model, but counts as an outcome. p is the p-value of a one-tailed binomial test that the "
    "model of the row wins more than half of the outcomes. The test assumes independent outcomes, but all outcomes of "
    "a data set come from the same trained model, so p is too small. In addition, many pairs are tested at once, which "
    "Holm's correction takes into account. If there are several seeds, the bootstrap intervals show how much the "
    "results vary between training runs. None of this shows how the models would compare on other data sets."
)


class KeyFigure(NamedTuple):
    """Number at the top of the page."""

    value: str
    what: str
    detail: str


def write(
    folder: str | Path,
    scores: pd.DataFrame,
    *,
    title: str,
    runs: pd.DataFrame | None = None,
    chosen: pd.DataFrame | None = None,
    tuned: pd.DataFrame | None = None,
    sweeps: pd.DataFrame | None = None,
    maps: pd.DataFrame | None = None,
    reference: pd.DataFrame | None = None,
    failures: Sequence[tuple[str, str]] = (),
    notes: Sequence[str] = (),
) -> Path:
    """Writes one HTML page that compares models, its tables as CSV files, and its figures as PDF and PNG files.

    `ranks.csv`, `win_loss.csv`, `best.csv`, `table.csv` and `comparison.html` are always written. `intervals.csv` is
    written if there are several seeds, and other files if there is data for them. Files with other names are not
    touched. The page has no script and loads nothing from the internet. The same arguments give the same bytes. If no
    two models share an outcome, the page has no ranking.

    Arguments:
        folder: Output folder; it may exist.
        scores: Scores with the columns of `polymodal.comparison.scores.COLUMNS`, and optionally `seed`, `given` and
            `rows`; one setting per model and data set. Models are ranked over the paper's three tasks and over unknown
            tasks; the further tasks of `evaluate` are shown without a ranking.
        title: Title of the page.
        runs: A row per run: `dataset`, `model`, `setting`, `seed`, `seconds`, `memory` (MiB), `epochs`, `best_epoch`,
            `rows`, `hardware`.
        chosen: The reported settings: `dataset`, `model`, `setting`, `by`.
        tuned: All settings among which they were chosen: `dataset`, `model`, `setting`, `judged`, `chosen`.
        sweeps: Scores of every setting, with its `name`, such as "beta" or "draws", and its `number`.
        maps: Codes in two dimensions: `model`, `given`, `label`, `x`, `y`, and `dataset` if there are several.
        reference: Reference scores from another source, with the columns of `scores`, shown next to the matching ones.
        failures: Failed runs and the reasons.
        notes: Sentences for the top of the page.

    Returns:
        Path of the page.

    Raises:
        ValueError: The scores cannot be compared, see `polymodal.comparison.scores.compute_outcomes`.

    Example:
        >>> import tempfile
        >>> import pandas as pd
        >>> scores = pd.DataFrame({"task": "many-to-one", "dataset": "MHD", "modality": "label", "metric": "acc",
        ...     "better": "higher", "model": ["nexus", "mac-wae"], "value": [90, 97.5]})
        >>> with tempfile.TemporaryDirectory() as root:
        ...     page = write(root, scores, title="Two models")
        ...     "MAC-WAE is best" in page.read_text(encoding="utf-8"), (Path(root) / "figures" / "ranks.pdf").exists()
        (True, True)
    """
    beyond = is_further_task(scores)
    counted, rest = scores[~beyond], scores[beyond]
    into, values, models = Folder(Path(folder)), select_shared_outcomes(counted), list(dict.fromkeys(scores["model"]))
    ranks, best, pairs = ranking.compute_ranks(counted), ranking.count_best(counted), ranking.compute_win_loss(counted)
    for name, table in (("ranks.csv", ranks), ("best.csv", best), ("win_loss.csv", pairs)):
        into.write_table(name, table)
    count = len(values[OUTCOME].drop_duplicates())
    parts = [
        *(_build_rank_sections(into, ranks, best, pairs, _compute_intervals(counted), count) if count else []),
        *_build_outcome_section(into, counted, models, reference),
        *sections.build_settings_section(into, sweeps, chosen),
        *sections.build_map_section(into, maps),
        *sections.build_task_sections(into, rest, models),
        *sections.build_cost_section(into, runs),
        *sections.build_basis_section(into, scores, runs, chosen, tuned),
        *sections.build_failure_section(into, failures),
    ]
    context = {
        "title": title,
        "about": _describe(scores, values),
        "headlines": _build_key_figures(ranks, best, count),
        "notes": list(notes),
        "sections": parts,
        "method": METHOD if count else "",
    }
    return checkpoint.write_text(into.path / PAGE, render("comparison.html.j2", context))


def _build_rank_sections(
    into: Folder,
    ranks: pd.DataFrame,
    best: pd.DataFrame,
    pairs: pd.DataFrame,
    intervals: pd.DataFrame | None,
    count: int,
) -> list[Section]:
    """Returns the sections with ranks and win-loss matrix, with intervals over seeds."""
    order = list(ranks.groupby("model", sort=False)["mean"].mean().sort_values(ascending=False, kind="stable").index)
    into.write_table("intervals.csv", intervals)
    over = "" if intervals is None else " In italics: the 95 % bootstrap interval over seeds."
    shown = into.write_chart("ranks", charts.plot_ranks(ranks), "Average performance rank by task and model")
    about = f"1 means best in every outcome, 0 worst in every one. Below is the standard error over outcomes.{over}"
    sheet = score_tables.build_rank_sheet(ranks, intervals, "ranks.csv")
    files = [] if intervals is None else ["intervals.csv"]
    first = Section("ranks", "Average performance rank", about, [shown], [sheet], files)
    shown = into.write_chart(
        "win_loss", charts.plot_win_loss(pairs, order), "Share of outcomes that the row's model wins"
    )
    about = (
        "The share of common outcomes in which the model of the row is better than the model of the column. "
        "* means p < .05 and ** means p < .01, before Holm's correction; see the last paragraph of this page."
    )
    tables = [
        score_tables.build_best_sheet(best, count, "best.csv"),
        score_tables.build_win_sheet(pairs, order, intervals, "win_loss.csv"),
    ]
    return [first, Section("wins", "Wins and losses", about, [shown], tables)]


def _compute_intervals(scores: pd.DataFrame) -> pd.DataFrame | None:
    several = "seed" in scores and scores.groupby(["dataset", "model"])["seed"].nunique().max() > 1
    return ranking.bootstrap(scores) if several else None


def _build_outcome_section(
    into: Folder, scores: pd.DataFrame, models: Sequence[str], reference: pd.DataFrame | None
) -> list[Section]:
    """Returns the section with all outcomes."""
    table = summarise(scores)
    file = into.write_table("table.csv", table)
    if table.empty:
        return []
    shown = score_tables.build_outcome_sheets(table, models, score_tables.index_references(reference), file)
    about = "All outcomes; the best value of each is in bold." if len(models) > 1 else "All outcomes."
    if (table["seeds"] > 1).any():
        about += " Below each value is its standard deviation over seeds."
    if any(cell.reference for sheet in shown for block in sheet.blocks for line in block.lines for cell in line.cells):
        about += " In italics: the reference value, such as the paper's."
    if table["metric"].str.lower().eq("ssim-paper").any():
        about += " Lines in grey have a secondary metric of the same predictions and are not used for the comparison."
    if "note" in scores:
        about += "".join(f" {note[:1].upper()}{note[1:]}." for note in scores["note"].dropna().unique() if note)
    return [Section("outcomes", "Outcomes", about, (), shown)]


def _build_key_figures(ranks: pd.DataFrame, best: pd.DataFrame, count: int) -> list[KeyFigure]:
    if not count:
        return []
    most = best["outcomes"].max()
    leads = _join_names([format_model_name(model) for model in best.loc[best["outcomes"] == most, "model"]])
    verb = "is best" if (best["outcomes"] == most).sum() == 1 else "are each best"
    headlines = [KeyFigure(f"{most} of {count}", f"outcomes in which {leads} {verb}", "")]
    for task, own in ranks.groupby("task", sort=False):
        top = own.iloc[0]
        detail = f"then {format_model_name(own['model'].iloc[1])}, {own['mean'].iloc[1]:.3f}" if len(own) > 1 else ""
        what = f"average rank of {format_model_name(top['model'])}, {format_task_name(str(task))}"
        headlines.append(KeyFigure(f"{top['mean']:.3f}", what, detail))
    return headlines[:4]


def _describe(scores: pd.DataFrame, values: pd.DataFrame) -> str:
    """Returns a one-line description of the comparison."""
    models, datasets = scores["model"].nunique(), [str(name) for name in scores["dataset"].unique()]
    seeds = scores.groupby(["dataset", "model"])["seed"].nunique() if "seed" in scores else None
    each = "" if seeds is None or seeds.max() < 2 else f", {seeds.min()}" + f" to {seeds.max()}" * (seeds.nunique() > 1)
    trained = f"{each} seeds of each" if each else ""
    outcomes = len(values[OUTCOME].drop_duplicates())
    tasks = _join_names([format_task_name(str(task)) for task in values["task"].unique()])
    what = f": {outcomes} outcomes of {tasks}" if outcomes else ""
    return f"{models} model{'s' * (models > 1)} on {_join_names(datasets)}{trained}{what}."


def _join_names(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)

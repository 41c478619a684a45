"""Further sections of a comparison's page: curves, codes, further tasks, cost, data and settings, failures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from polymodal.comparison import charts, curves, score_tables
from polymodal.comparison.display_names import format_model_name, format_task_name
from polymodal.comparison.output_files import Chart, Folder, Section
from polymodal.comparison.scores import companions, place, summary
from polymodal.evaluation import TASKS
from polymodal.runtime.progress import format_duration

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["basis", "build_failure_section", "build_map_section", "cost", "swept", "tasks"]

DRAWS = "draws"
"""Setting whose curves are shown relative to a reference value."""
TOLD = {
    "translation": "From how many others: the mean over subsets of that size.",
    "coherence": (
        "How often what is made is of the row's class, as a classifier of the modality says; given the truth, how "
        "often the classifier is right. Given nothing: how often all modalities of a draw from the prior are of one "
        "class. A model that always makes one thing agrees with itself: see calibration."
    ),
    "calibration": "How far the classes of what is made are from the true ones in frequency, in total variation.",
    "generation": "The Fréchet distance between features of draws from the prior and of true values.",
    "likelihood": "An importance-sampled bound on log p(x), in nats, of models that have a density.",
    "probe": "How often a linear classifier on the codes says the class.",
}


def swept(into: Folder, sweeps: pd.DataFrame | None, chosen: pd.DataFrame | None) -> list[Section]:
    """Returns the section with performance over the varied settings."""
    if sweeps is None or sweeps.empty:
        return []
    rows = sweeps[~companions(sweeps) & (sweeps["task"].map(place) < len(TASKS)) & sweeps["number"].notna()]
    rows = rows[rows["name"].fillna("") != ""]
    rows = rows[rows.groupby(["dataset", "model", "name"])["number"].transform("nunique") > 1]
    if rows.empty:
        return []
    rows = rows.assign(setting=rows.get("setting", ""))
    shown = [
        *_over_settings(into, rows[rows["name"] != DRAWS], chosen),
        *_over_draws(into, rows[rows["name"] == DRAWS]),
    ]
    file = into.table("sweeps.csv", rows)
    about = "Means over seeds, the band from the least to the most of them."
    about += " The setting that is reported is ringed." if chosen is not None else ""
    return [Section("curves", "Over what was varied", f"{about} All of these scores: ", shown, files=[file])]


def build_map_section(into: Folder, maps: pd.DataFrame | None) -> list[Section]:
    """Returns the section with two-dimensional maps of codes."""
    if maps is None or maps.empty:
        return []
    maps = maps.assign(dataset=maps.get("dataset", ""))
    file = into.table("maps.csv", maps)
    shown = []
    for dataset, own in maps.groupby("dataset", sort=False):
        alt = f"Codes of {_models(own)}{_on(dataset)}, by what was given"
        shown.append(into.chart(_file("codes", dataset), charts.code_maps(own), alt, str(dataset)))
    how = {"umap": " by UMAP", "pca": " on their two principal axes"}
    method = " or".join(how.get(name, "") for name in maps.get("method", maps["dataset"]).unique())
    about = (
        f"Codes of held-out rows{method}, coloured by class. Where panels look alike, codes depend little on what was "
        "given. All points: "
    )
    return [Section("codes", "Codes", about, shown, files=[file])]


def tasks(into: Folder, scores: pd.DataFrame, models: Sequence[str]) -> list[Section]:
    """Returns one section per further task."""
    scores = scores.assign(given=scores["given"].fillna("") if "given" in scores else "")
    sections = []
    for task, own in sorted(scores.groupby("task", sort=False), key=lambda pair: place(str(pair[0]))):
        table = summary(own, ["given"])
        if table.empty:
            continue
        name = format_task_name(str(task))
        shown = []
        for dataset, rows in own[~companions(own)].groupby("dataset", sort=False):
            if rows["given"].map(curves.others).nunique() > 1:
                alt = f"{name} by how many others are given{_on(dataset)}"
                shown.append(into.chart(_file(name, dataset), curves.plot_given_modalities(rows), alt, str(dataset)))
        there = [model for model in models if model in set(table["model"])]
        sheet = score_tables.further(table, there, into.table(f"{name}.csv", table))
        sections.append(Section(name, name.capitalize(), TOLD.get(name, ""), shown, [sheet]))
    return sections


def cost(into: Folder, runs: pd.DataFrame | None) -> list[Section]:
    """Returns the section with the training time and memory of the runs."""
    import pandas as pd

    if runs is None or runs.empty:
        return []
    plain = [name for name in runs if not runs[name].map(lambda value: isinstance(value, Mapping | list)).any()]
    file = into.table("runs.csv", runs[plain])
    lines = []
    for (dataset, model), own in runs.groupby(["dataset", "model"], sort=False):
        line = {"data set": dataset, "model": format_model_name(str(model)), "runs": len(own)}
        if "seconds" in own and own["seconds"].notna().any():
            line["time of a run"] = format_duration(float(own["seconds"].mean()))
        if "memory" in own and own["memory"].notna().any():
            line["memory, MiB"] = round(float(own["memory"].max()))
        if "weights" in own and own["weights"].notna().any():
            line["weights"] = int(own["weights"].iloc[0])
        line |= {
            name: _range(own[was]) for name, was in (("epochs", "epochs"), ("best epoch", "best_epoch")) if was in own
        }
        lines.append(line)
    sheet = score_tables.build_sheet(pd.DataFrame(lines), "Runs", file, by="data set")
    about = "Training alone: the mean of its time and the most memory of the process, of all runs of a model."
    return [Section("cost", "Time and memory", about, (), [sheet])]


def basis(
    into: Folder,
    scores: pd.DataFrame,
    runs: pd.DataFrame | None,
    chosen: pd.DataFrame | None,
    tuned: pd.DataFrame | None = None,
) -> list[Section]:
    """Returns the section with what the numbers are based on: rows, epochs, seeds, hardware, and choice of settings."""
    import pandas as pd

    shown = []
    lines = [_rests(str(dataset), own, runs) for dataset, own in scores.groupby("dataset", sort=False)]
    if any(len(line) > 2 for line in lines):
        table = pd.DataFrame(lines)
        shown.append(score_tables.build_sheet(table, "Data sets", into.table("basis.csv", table)))
    if chosen is not None and not chosen.empty:
        file, named = into.table("chosen.csv", chosen), chosen.assign(model=chosen["model"].map(format_model_name))
        shown.append(score_tables.build_sheet(named, "Settings that are shown", file, by="dataset"))
    if tuned is not None and not tuned.empty:
        file, named = into.table("tuning.csv", tuned), tuned.assign(model=tuned["model"].map(format_model_name))
        shown.append(score_tables.build_sheet(named, "Settings that were tried", file, by="dataset"))
    return [Section("basis", "What these numbers rest on", "", (), shown)] if shown else []


def build_failure_section(into: Folder, failures: Sequence[tuple[str, str]]) -> list[Section]:
    """Returns the section with the failed runs."""
    import pandas as pd

    if not failures:
        return []
    table = pd.DataFrame(failures, columns=["run", "reason"])
    sheet = score_tables.build_sheet(table, "Failures", into.table("failures.csv", table))
    many = len(failures) > 1
    count = f"{len(failures)} run{'s' * many} failed, and {'are' if many else 'is'} in no number."
    return [Section("failures", "Failures", count, (), [sheet])]


def _over_settings(into: Folder, rows: pd.DataFrame, chosen: pd.DataFrame | None) -> list[Chart]:
    shown = []
    for (dataset, task), own in rows.groupby(["dataset", "task"], sort=False):
        marked = chosen[chosen["dataset"] == dataset] if chosen is not None else None
        ringed = set(zip(marked["model"], marked["setting"], strict=True)) if marked is not None else set()
        names = " and ".join(own["name"].unique())
        title = f"{dataset}, {format_task_name(str(task))}"
        chart = curves.sweep(own, ringed)
        shown.append(
            into.chart(_file("sweep", dataset, format_task_name(str(task))), chart, f"{title}, over {names}", title)
        )
    return shown


def _over_draws(into: Folder, rows: pd.DataFrame) -> list[Chart]:
    shown = []
    for (dataset, model), own in rows.groupby(["dataset", "model"], sort=False):
        title = f"{dataset}, {format_model_name(str(model))}, over the draws of the conditioning index"
        shown.append(into.chart(_file("draws", dataset, model), curves.draws(own), title, title))
    return shown


def _rests(dataset: str, scores: pd.DataFrame, runs: pd.DataFrame | None) -> dict[str, Any]:
    line: dict[str, Any] = {"data set": dataset, "models": scores["model"].nunique()}
    if "seed" in scores:
        line["seeds"] = _range(scores.groupby("model")["seed"].nunique())
    if "rows" in scores:
        line["rows scored"] = _range(scores["rows"])
    own = runs[runs["dataset"] == dataset] if runs is not None else None
    if own is not None and not own.empty:
        line |= {f"{name} trained": _range(own[name]) for name in ("rows", "epochs") if name in own}
        if "hardware" in own:
            line["hardware"] = "; ".join(map(str, own["hardware"].dropna().unique()))
    return line


def _range(numbers: pd.Series[Any]) -> str:
    """Returns the range from minimum to maximum as text, such as "3" or "3 to 5"."""
    import pandas as pd

    known = pd.to_numeric(numbers, errors="coerce").dropna()
    if known.empty:
        return score_tables.DASH
    ends = dict.fromkeys([f"{known.min():,.0f}", f"{known.max():,.0f}"])
    return " to ".join(ends)


def _models(own: pd.DataFrame) -> str:
    return " and ".join(map(format_model_name, own["model"].unique()))


def _on(dataset: object) -> str:
    return f" on {dataset}" if dataset else ""


def _file(*parts: object) -> str:
    """Returns a file name from arbitrary parts, with special characters replaced."""
    text = "-".join(str(part) for part in parts if part != "")
    return "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in text)

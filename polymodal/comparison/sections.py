"""Sections of a comparison's page: curves over settings, codes, further tasks, cost, data and settings, failures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from polymodal.comparison import charts, curves, score_tables
from polymodal.comparison.display_names import format_model_name, format_task_name
from polymodal.comparison.output_files import Chart, Folder, Section
from polymodal.comparison.scores import find_task_position, is_companion, summarise
from polymodal.evaluation import TASKS
from polymodal.runtime.progress import format_duration

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "build_basis_section",
    "build_cost_section",
    "build_failure_section",
    "build_map_section",
    "build_settings_section",
    "build_task_sections",
]

DRAWS = "draws"
"""Setting whose curves are shown relative to a reference value."""
NOTES = {
    "translation": "Predictions given one, two, and more other modalities; means over subsets of that size.",
    "coherence": (
        "The percentage of predictions that a classifier of the modality assigns to the row's class. Given the truth: "
        "the accuracy of the classifier on true values. Given nothing: the percentage of unconditional samples whose "
        "modalities are all of the same class. Coherence is also high if all samples are alike, so see calibration."
    ),
    "calibration": "The total variation between class frequencies of predictions, or samples, and of true values.",
    "generation": "The Fréchet distance between features of unconditional samples and of true values.",
    "likelihood": "An importance-sampled lower bound on log p(x), in nats, for models with a density.",
    "probe": "The accuracy of a linear classifier of the codes.",
}


def build_settings_section(into: Folder, sweeps: pd.DataFrame | None, chosen: pd.DataFrame | None) -> list[Section]:
    """Returns the section with scores as functions of the varied settings."""
    if sweeps is None or sweeps.empty:
        return []
    rows = sweeps[
        ~is_companion(sweeps) & (sweeps["task"].map(find_task_position) < len(TASKS)) & sweeps["number"].notna()
    ]
    rows = rows[rows["name"].fillna("") != ""]
    rows = rows[rows.groupby(["dataset", "model", "name"])["number"].transform("nunique") > 1]
    if rows.empty:
        return []
    rows = rows.assign(setting=rows.get("setting", ""))
    shown = [
        *_over_settings(into, rows[rows["name"] != DRAWS], chosen),
        *_over_draws(into, rows[rows["name"] == DRAWS]),
    ]
    file = into.write_table("sweeps.csv", rows)
    about = "Lines are means over seeds; bands are from the lowest to the highest seed."
    about += " A ring marks the reported setting." if chosen is not None else ""
    return [Section("curves", "Scores over settings", f"{about} All these scores: ", shown, files=[file])]


def build_map_section(into: Folder, maps: pd.DataFrame | None) -> list[Section]:
    """Returns the section with two-dimensional maps of codes."""
    if maps is None or maps.empty:
        return []
    maps = maps.assign(dataset=maps.get("dataset", ""))
    file = into.write_table("maps.csv", maps)
    shown = []
    for dataset, own in maps.groupby("dataset", sort=False):
        alt = f"Codes of {_join_models(own)}{_name_dataset(dataset)}, by given modalities"
        shown.append(into.write_chart(_name_file("codes", dataset), charts.plot_code_maps(own), alt, str(dataset)))
    how = {"umap": " by UMAP", "pca": " on their first two principal components"}
    method = " or".join(how.get(name, "") for name in maps.get("method", maps["dataset"]).unique())
    about = (
        f"Codes of held-out rows{method}, coloured by class. If panels look alike, the codes depend little on which "
        "modalities are given. All points: "
    )
    return [Section("codes", "Codes", about, shown, files=[file])]


def build_task_sections(into: Folder, scores: pd.DataFrame, models: Sequence[str]) -> list[Section]:
    """Returns one section per further task."""
    scores = scores.assign(given=scores["given"].fillna("") if "given" in scores else "")
    sections = []
    for task, own in sorted(scores.groupby("task", sort=False), key=lambda pair: find_task_position(str(pair[0]))):
        table = summarise(own, ["given"])
        if table.empty:
            continue
        name = format_task_name(str(task))
        shown = []
        for dataset, rows in own[~is_companion(own)].groupby("dataset", sort=False):
            if rows["given"].map(curves.parse_number_of_others).nunique() > 1:
                alt = f"{name} by the number of other modalities given{_name_dataset(dataset)}"
                shown.append(
                    into.write_chart(_name_file(name, dataset), curves.plot_given_modalities(rows), alt, str(dataset))
                )
        present = [model for model in models if model in set(table["model"])]
        sheet = score_tables.build_task_sheet(table, present, into.write_table(f"{name}.csv", table))
        sections.append(Section(name, name.capitalize(), NOTES.get(name, ""), shown, [sheet]))
    return sections


def build_cost_section(into: Folder, runs: pd.DataFrame | None) -> list[Section]:
    """Returns the section with the training time and memory of the runs."""
    import pandas as pd

    if runs is None or runs.empty:
        return []
    plain = [name for name in runs if not runs[name].map(lambda value: isinstance(value, Mapping | list)).any()]
    file = into.write_table("runs.csv", runs[plain])
    lines = []
    for (dataset, model), own in runs.groupby(["dataset", "model"], sort=False):
        line = {"data set": dataset, "model": format_model_name(str(model)), "runs": len(own)}
        if "seconds" in own and own["seconds"].notna().any():
            line["time per run"] = format_duration(float(own["seconds"].mean()))
        if "memory" in own and own["memory"].notna().any():
            line["memory, MiB"] = round(float(own["memory"].max()))
        if "weights" in own and own["weights"].notna().any():
            line["weights"] = int(own["weights"].iloc[0])
        line |= {
            name: _format_range(own[column])
            for name, column in (("epochs", "epochs"), ("best epoch", "best_epoch"))
            if column in own
        }
        lines.append(line)
    sheet = score_tables.build_sheet(pd.DataFrame(lines), "Runs", file, by="data set")
    about = "The mean training time and the maximum memory of the process, over all runs of a model."
    return [Section("cost", "Time and memory", about, (), [sheet])]


def build_basis_section(
    into: Folder,
    scores: pd.DataFrame,
    runs: pd.DataFrame | None,
    chosen: pd.DataFrame | None,
    tuned: pd.DataFrame | None = None,
) -> list[Section]:
    """Returns the section with rows, epochs, seeds, hardware, and how settings were chosen."""
    import pandas as pd

    shown = []
    lines = [_describe_data(str(dataset), own, runs) for dataset, own in scores.groupby("dataset", sort=False)]
    if any(len(line) > 2 for line in lines):
        table = pd.DataFrame(lines)
        shown.append(score_tables.build_sheet(table, "Data sets", into.write_table("basis.csv", table)))
    if chosen is not None and not chosen.empty:
        file, named = (
            into.write_table("chosen.csv", chosen),
            chosen.assign(model=chosen["model"].map(format_model_name)),
        )
        shown.append(score_tables.build_sheet(named, "Reported settings", file, by="dataset"))
    if tuned is not None and not tuned.empty:
        file, named = into.write_table("tuning.csv", tuned), tuned.assign(model=tuned["model"].map(format_model_name))
        shown.append(score_tables.build_sheet(named, "Compared settings", file, by="dataset"))
    return [Section("basis", "Data and settings", "", (), shown)] if shown else []


def build_failure_section(into: Folder, failures: Sequence[tuple[str, str]]) -> list[Section]:
    """Returns the section with the failed runs."""
    import pandas as pd

    if not failures:
        return []
    table = pd.DataFrame(failures, columns=["run", "reason"])
    sheet = score_tables.build_sheet(table, "Failures", into.write_table("failures.csv", table))
    many = len(failures) > 1
    count = f"{len(failures)} run{'s' * many} failed and {'are' if many else 'is'} not included in any score."
    return [Section("failures", "Failures", count, (), [sheet])]


def _over_settings(into: Folder, rows: pd.DataFrame, chosen: pd.DataFrame | None) -> list[Chart]:
    shown = []
    for (dataset, task), own in rows.groupby(["dataset", "task"], sort=False):
        marked = chosen[chosen["dataset"] == dataset] if chosen is not None else None
        ringed = set(zip(marked["model"], marked["setting"], strict=True)) if marked is not None else set()
        names = " and ".join(own["name"].unique())
        title = f"{dataset}, {format_task_name(str(task))}"
        chart = curves.plot_sweep(own, ringed)
        shown.append(
            into.write_chart(
                _name_file("sweep", dataset, format_task_name(str(task))), chart, f"{title}, over {names}", title
            )
        )
    return shown


def _over_draws(into: Folder, rows: pd.DataFrame) -> list[Chart]:
    shown = []
    for (dataset, model), own in rows.groupby(["dataset", "model"], sort=False):
        title = f"{dataset}, {format_model_name(str(model))}, over the number of masks K"
        shown.append(into.write_chart(_name_file("draws", dataset, model), curves.plot_mask_numbers(own), title, title))
    return shown


def _describe_data(dataset: str, scores: pd.DataFrame, runs: pd.DataFrame | None) -> dict[str, Any]:
    line: dict[str, Any] = {"data set": dataset, "models": scores["model"].nunique()}
    if "seed" in scores:
        line["seeds"] = _format_range(scores.groupby("model")["seed"].nunique())
    if "rows" in scores:
        line["rows scored"] = _format_range(scores["rows"])
    own = runs[runs["dataset"] == dataset] if runs is not None else None
    if own is not None and not own.empty:
        line |= {f"{name} trained": _format_range(own[name]) for name in ("rows", "epochs") if name in own}
        if "hardware" in own:
            line["hardware"] = "; ".join(map(str, own["hardware"].dropna().unique()))
    return line


def _format_range(numbers: pd.Series[Any]) -> str:
    """Returns the range from minimum to maximum as text, such as "3" or "3 to 5"."""
    import pandas as pd

    known = pd.to_numeric(numbers, errors="coerce").dropna()
    if known.empty:
        return score_tables.DASH
    ends = dict.fromkeys([f"{known.min():,.0f}", f"{known.max():,.0f}"])
    return " to ".join(ends)


def _join_models(own: pd.DataFrame) -> str:
    return " and ".join(map(format_model_name, own["model"].unique()))


def _name_dataset(dataset: object) -> str:
    return f" on {dataset}" if dataset else ""


def _name_file(*parts: object) -> str:
    """Returns a file name from arbitrary parts, with special characters replaced."""
    text = "-".join(str(part) for part in parts if part != "")
    return "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in text)

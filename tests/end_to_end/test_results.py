"""The results in docs/results: made again from the files of scores there, and what the README says of them."""

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from polymodal.comparison.display_names import format_model_name
from polymodal.evaluation import TASKS
from polymodal.models import MODELS
from polymodal.studies import compare, plan, study_run
from polymodal.studies.finished_runs import FinishedRuns

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "results"
STUDIES = sorted(path.parent.name for path in RESULTS.glob("*/study.yaml"))


def read_runs(name):
    """The runs in a study's file of scores, by name."""
    return FinishedRuns(RESULTS, name).saved


@pytest.mark.parametrize("name", STUDIES)
def test_every_run_is_there(name):
    study = plan(name)
    chosen = pd.read_csv(RESULTS / name / "runs.csv", keep_default_na=False)
    reported = {*zip(chosen["model"], chosen["setting"], strict=True)}
    runs = read_runs(name)
    for cell in study.cells():
        scored = study.tuning_seeds is None or (cell.model, cell.setting) in reported
        if scored or cell.seed in study.tuned_on:
            assert cell.name in runs, cell
            assert study_run.is_scored(runs[cell.name].record["run"], study.tasks if scored else ()), cell
            assert not scored or {*TASKS} <= {*runs[cell.name].scores["task"]}, cell


@pytest.mark.parametrize("name", STUDIES)
def test_a_file_of_scores_has_only_runs_of_its_study(name):
    planned = {cell.name: cell for cell in plan(name).cells()}
    lines = pd.read_csv(RESULTS / name / "scores.csv", dtype=str, keep_default_na=False)
    assert {*lines["run"]} <= {*planned}
    for run, own in lines.groupby("run"):
        cell = planned[run]
        who = own[["dataset", "model", "setting", "seed"]].drop_duplicates()
        assert who.values.tolist() == [[cell.dataset, cell.model, cell.setting, str(cell.seed)]]


def test_one_file_holds_the_runs_of_a_study():
    assert not list(RESULTS.rglob("experiment.json"))


@pytest.mark.parametrize("name", STUDIES)
def test_the_records_are_those_of_the_settings(name):
    runs = read_runs(name)
    for cell in plan(name).cells():
        if cell.name in runs:
            record, settings = runs[cell.name].record, cell.settings
            assert record["model"]["name"] == settings.model
            assert record["fit"]["seed"] == record["model"]["seed"] == cell.seed
            assert record["fit"]["epochs"] == settings.fit["epochs"]
            assert record["data"]["dataset"] == record["run"]["settings"]["dataset"] == cell.dataset
            for setting, value in cell.varied.items():
                assert record["model"]["arguments"][setting] == value


@pytest.mark.parametrize("name", STUDIES)
def test_the_tables_come_from_the_file_of_scores(name, tmp_path, monkeypatch):
    monkeypatch.setattr(study_run, "fit", lambda *rest, **options: pytest.fail("it trains"))
    (tmp_path / name).mkdir()
    for file in ("scores.csv", "maps.csv"):
        if (RESULTS / name / file).exists():
            shutil.copy(RESULTS / name / file, tmp_path / name / file)
    made = compare(name, folder=tmp_path, progress=False)
    assert not made.failures
    tables = sorted(path.name for path in (RESULTS / name).glob("*.csv"))
    assert tables == sorted(path.name for path in (tmp_path / name).glob("*.csv"))
    for table in tables:
        here, there = (pd.read_csv(folder / name / table) for folder in (tmp_path, RESULTS))
        pd.testing.assert_frame_equal(here, there, rtol=1e-9)


def test_small_studies_have_all_models_and_two_seeds():
    small = [name for name in STUDIES if name.endswith("-small")]
    assert len(small) == 3
    for name in small:
        runs = pd.read_csv(RESULTS / name / "runs.csv")
        assert {*runs["model"]} == {*MODELS, "mac-wae-paper"}
        assert (runs.groupby("model")["seed"].nunique() >= 2).all()


def test_figures_are_there_twice():
    for name in STUDIES:
        pictures = {path.stem for path in (RESULTS / name / "figures").glob("*.png")}
        assert pictures
        assert pictures == {path.stem for path in (RESULTS / name / "figures").glob("*.pdf")}


def best(name):
    return pd.read_csv(RESULTS / name / "best.csv").set_index("model")["outcomes"]


def outcomes(name):
    return len(pd.read_csv(RESULTS / name / "table.csv")[["task", "dataset", "modality"]].drop_duplicates())


def rank(name, model, task):
    ranks = pd.read_csv(RESULTS / name / "ranks.csv").set_index(["model", "task"])["mean"]
    return float(ranks[model, task])


def test_what_the_readme_says():
    """Each line of its table: a study, the outcomes, those in which MAC-WAE is best, and its ranks."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    lines = re.findall(r"^\| `([a-z-]+-small)` \| (\d+) of (\d+) \| (.+) \|$", text, re.MULTILINE)
    assert {line[0] for line in lines} == {name for name in STUDIES if name.endswith("-small")}
    for name, won, every, ranks in lines:
        assert int(won) == best(name)["mac-wae"]
        assert int(every) == outcomes(name)
        told = [float(number) for number in ranks.split(" | ")]
        expected = [rank(name, "mac-wae", task) for task in ("reconstruction", "many-to-one", "one-to-one")]
        assert told == pytest.approx(expected, abs=0.0051)


def test_what_the_results_rest_on():
    """A line per study: rows, test rows, epochs, updates in batches of 64, seeds; and the longest training of all."""
    text = (RESULTS / "README.md").read_text(encoding="utf-8")
    lines = re.findall(r"^\| `([a-z-]+-small)` \|((?: [\d,]+ \|){5})", text, re.MULTILINE)
    assert len(lines) == 3
    every = []
    for name, cells in lines:
        rows, _, epochs, updates, seeds = (int(cell.replace(",", "")) for cell in cells.strip(" |").split(" | "))
        runs = pd.read_csv(RESULTS / name / "runs.csv")
        assert {*runs["rows"]} == {rows}
        assert {*runs["epochs"]} == {epochs}
        assert updates == epochs * -(-rows // 64)
        assert runs["seed"].nunique() == seeds
        every.append(runs)
    longest = re.search(r"the longest training takes\s(\d+) seconds", text)
    assert int(longest[1]) == round(pd.concat(every)["seconds"].max())


def test_what_the_page_of_results_says():
    """Its tables of how often a model is best, and of mean ranks: a line of names, and lines of numbers for them."""
    text = (RESULTS / "README.md").read_text(encoding="utf-8")
    assert len(re.findall(r"^\| (?:study|mean rank) \| MAC-WAE \|.*MMVAE\+ \|$", text, re.MULTILINE)) == 2
    named = {format_model_name(name): name for name in (*MODELS, "mac-wae-paper")}
    told = 0
    for head, body in re.findall(
        r"^\| (?:study|mean rank) \| (MAC-WAE .*) \|\n\|[-:|]+\|\n((?:\|.*\n)+)", text, re.MULTILINE
    ):
        models = [named[title] for title in head.split(" | ")]
        for line in body.splitlines():
            what, *cells = line.strip("| ").split(" | ")
            name, asked = re.fullmatch(r"`([a-z-]+)`, (.+)", what).groups()
            if asked == f"of {outcomes(name)}":
                assert [int(cell) for cell in cells] == [best(name).get(model, 0) for model in models]
            else:
                ranks = [rank(name, model, asked) for model in models]
                assert [float(cell.strip("*")) for cell in cells] == pytest.approx(ranks, abs=0.0051)
                assert [cell.startswith("**") for cell in cells] == [value == max(ranks) for value in ranks]
            told += 1
    assert told == 3 * (1 + 3)


OTHERS = {"jmvae", "mopoe", "mvtcae", "nexus", "mvae", "mmvae", "mmvae-plus"}
"""The methods that are no ablation of MAC-WAE, and not MAC-WAE."""


LEARNED = ("coherence", "generation")
"""Tasks of unconditional samples, judged by classifiers."""


def count_wins(name):
    """In how many outcomes MAC-WAE is better than all of the others."""
    table = pd.read_csv(RESULTS / name / "table.csv")
    table = table[~table["metric"].str.contains("paper")]
    won = 0
    for _, outcome in table.groupby(["task", "modality"]):
        sign = 1 if outcome["better"].iloc[0] == "higher" else -1
        values = sign * outcome.set_index("model")["mean"]
        won += values["mac-wae"] > values[values.index.isin(OTHERS)].max()
    return won


def mean_score(name, task, given):
    """The mean over modalities of one of MAC-WAE's further scores."""
    table = pd.read_csv(RESULTS / name / f"{task}.csv").query("model == 'mac-wae'")
    return table[table["given"].isin(given)]["mean"].mean()


def test_what_mac_wae_reaches():
    """A line per study: outcomes in which it beats the seven others; the right class given one and all; Frechet."""
    text = (RESULTS / "README.md").read_text(encoding="utf-8")
    lines = re.findall(r"^\| `([a-z-]+-small)` \| (\d+) of (\d+) \| (\d+) / (\d+) \| (\d+) \|", text, re.MULTILINE)
    assert len(lines) == 3
    for name, won, every, *told in lines:
        assert (int(won), int(every)) == (count_wins(name), outcomes(name))
        others = pd.read_csv(RESULTS / name / "coherence.csv")["given"].unique()
        most = max((given for given in others if given.endswith("others")), key=lambda given: int(given.split()[0]))
        expected = [mean_score(name, "coherence", ["1 other"]), mean_score(name, "coherence", [most])]
        expected.append(mean_score(name, "generation", ["nothing"]))
        assert [int(number) for number in told] == [round(number) for number in expected]


def test_what_the_readme_says_of_unconditional_samples():
    """A line per study: agreement and Frechet distance of MAC-WAE with its flow, and of the best other model."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    lines = re.findall(r"^\| `([a-z-]+-small)` \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|$", text, re.MULTILINE)
    assert len(lines) == 3
    for name, *written in lines:
        tables = [pd.read_csv(RESULTS / name / f"{task}.csv").query("given == 'nothing'") for task in LEARNED]
        agree, distance = (table.groupby("model")["mean"].mean() for table in tables)
        others = (agree.drop("mac-wae").max(), distance.drop("mac-wae").min())
        expected = [agree["mac-wae"], others[0], distance["mac-wae"], others[1]]
        assert [int(number) for number in written] == [round(number) for number in expected]


def test_what_the_page_says_of_posterior_samples():
    """A line per data set, given one modality; and the share of the flow in the seconds of training."""
    text = (RESULTS / "README.md").read_text(encoding="utf-8")
    scores = pd.read_csv(RESULTS / "sampling.csv").query("given == '1 modality'")
    means = scores.groupby(["dataset", "temperature", "metric"])["value"].mean()
    lines = re.findall(r"^\| (PolyMNIST|pendigits-mhd|emoji) \|((?: [.\d]+ \|){5})$", text, re.MULTILINE)
    assert len(lines) == 3 * 2
    for data, cells in lines:
        temperature, *written = (float(cell) for cell in cells.strip(" |").split(" | "))
        metrics = ("point-acc", "sample-acc", "agreement", "tv")
        expected = [means[data.lower(), temperature, metric] for metric in metrics]
        assert written[:3] == pytest.approx(expected[:3], abs=0.051)
        assert written[3] == pytest.approx(expected[3], abs=0.00051)
    runs = [run.record["run"] for name in STUDIES for run in read_runs(name).values()]
    shares = [run["prior_seconds"] / (run["seconds"] - run["prior_seconds"]) for run in runs if "prior_seconds" in run]
    written = re.search(r"The flow takes (\d+) to (\d+) % of the autoencoder's training seconds", text)
    assert [int(part) for part in written.groups()] == [round(100 * share) for share in (min(shares), max(shares))]


def test_what_the_page_of_defaults_says():
    """Each line of its tables is a run of `defaults.csv`: right class given one and all, Frechet distance, SSIM."""
    runs = pd.read_csv(RESULTS / "defaults.csv")
    found = {
        (
            row["data"],
            round(row["coherence/coherence/1 other"]),
            round(row[f"coherence/coherence/{ {'polymnist': 4, 'pendigits-mhd': 3, 'emoji': 2}[row['data']] } others"]),
            round(row["generation/frechet"]),
            *(round(row[f"{task}/ssim"], 3) for task in ("reconstruction", "many-to-one", "one-to-one")),
        )
        for _, row in runs.iterrows()
    }
    scores = r"(\d+) / (\d+) \| (\d+) \| ([.\d]+) / ([.\d]+) / ([.\d]+)"
    line = rf"^\| (PolyMNIST|pendigits-mhd|emoji) \|.*\| {scores} \|(?:[^|]*\|)?$"
    lines = re.findall(line, (ROOT / "docs" / "defaults.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(lines) == 32
    for data, one, every, frechet, *similarities in lines:
        told = (data.lower(), int(one), int(every), int(frechet), *map(float, similarities))
        assert told in found, told

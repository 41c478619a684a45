"""Studies: what they are made of, what is refused, and what is never done twice."""

import json
import re
import shutil
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path
from typing import get_type_hints

import pandas as pd
import pytest
import yaml

from polymodal.cli.commands import compare_command
from polymodal.cli.compare_scores import compare_score_file
from polymodal.cli.compare_studies import tabulate_planned_runs
from polymodal.io import atomic
from polymodal.models import MODELS
from polymodal.settings import resolve
from polymodal.studies import PRESETS, compare, plan, study_comparison, study_run
from polymodal.studies.results import choose
from polymodal.studies.study_comparison import _check_runs
from polymodal.training import FREE

TINY = {"data.rows": 40, "held_out_rows": 20, "widths": [4], "latent_dim": 4, "epochs": 2, "batch_size": 16}
STUDY = {"datasets": "polydigits", "models": ["m-wae", "mvae"], "settings": TINY, "seeds": 2, "tasks": ["many-to-one"]}


def cells(**changes):
    return list(plan({**STUDY, **changes}).cells())


def quiet(folder, **changes):
    return compare({**STUDY, **changes}, folder=folder, progress=False)


def stamps(folder):
    """What changes where the scores of a run are written anew."""
    files = folder.rglob("runs/*/scores.csv")
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}


class TestGrid:
    def test_it_is_a_product(self):
        made = cells(
            models={"mac-wae": None, "jmvae": {"vary": {"alpha": [0.1, 1]}}}, vary={"beta": [1, 2, 5]}, seeds=[3, 4]
        )
        told = {(cell.model, cell.setting, cell.seed) for cell in made}
        expected = {("mac-wae", f"beta={beta}", seed) for beta in (1, 2, 5) for seed in (3, 4)}
        expected |= {("jmvae", f"alpha={alpha}", seed) for alpha in (0.1, 1) for seed in (3, 4)}
        assert told == expected
        assert len(made) == len(expected)
        assert all(cell.settings.fit["seed"] == cell.settings.build["seed"] == cell.seed for cell in made)

    def test_a_model_without_the_setting_runs_once(self):
        told = [cell.setting for cell in cells(models=["mmvae", "mvae"], vary={"beta": [1, 2]}, seeds=1)]
        assert told == ["", "beta=1", "beta=2"]

    def test_the_nearer_setting_counts(self):
        made = cells(
            datasets={"polydigits": {"latent_dim": 5, "models": {"mvae": {"latent_dim": 7}}}},
            models={"m-wae": None, "mvae": {"latent_dim": 6}, "mopoe": {"latent_dim": 6}},
            seeds=1,
        )
        assert [cell.settings.build["latent_dim"] for cell in made] == [5, 7, 6]

    def test_models_are_left_out(self):
        made = cells(datasets={"polydigits": {"without": ["mvae"]}})
        assert {cell.model for cell in made} == {"m-wae"}

    @pytest.mark.parametrize("name", PRESETS)
    def test_presets_are_studies(self, name):
        study = plan(name)
        made = list(study.cells())
        assert study.name == name
        assert len({cell.name for cell in made}) == len(made)
        if "small" in name:
            models = {cell.model for cell in made} - {"mac-wae-paper"}
            assert len(models) >= 10
            tried = {model: len({cell.setting for cell in made if cell.model == model}) for model in models}
            tuned = 3 if study.tuning_seeds else 1
            assert tried == {**dict.fromkeys(models, tuned), "mmvae": 1}  # whose bound has no weight
            if missing := MODELS.keys() - models:
                pytest.skip(f"add to SMALL in polymodal/studies/presets.py: {', '.join(sorted(missing))}")
            assert {cell.model for cell in made} == {*MODELS, "mac-wae-paper"}

    @pytest.mark.parametrize(
        ("dataset", "epochs", "draws", "p0", "batch_size", "learning_rate"),
        [
            ("polymnist", 150, 10, 0.4, 128, 5e-4),
            ("mhd", 150, 10, 0.4, 64, 1e-3),
            ("cub", 200, 5, 0.25, 32, 5e-4),
            ("celeba", 150, 10, 0.4, 64, 1e-4),
        ],
    )
    def test_the_papers_table_of_settings(self, dataset, epochs, draws, p0, batch_size, learning_rate):
        made = list(plan(f"{dataset}-paper").cells())
        for cell in made:
            assert cell.settings.fit["epochs"] == epochs
            assert cell.settings.fit["batch_size"] == batch_size
            assert cell.settings.fit["learning_rate"] == learning_rate
            assert cell.settings.fit["weight_decay"] == 1e-5
            assert cell.settings.build["latent_dim"] == 128
            assert cell.settings.build["weights"] == "sum"
        told = [cell.settings.build for cell in made if cell.model in ("mac-wae", "mac-vae", "m-wae")]
        assert all((own["draws"], own["p0"], own["skip"]) == (draws, p0, False) for own in told)
        told = [cell.settings.build for cell in made if cell.model in ("mac-wae", "m-wae")]
        assert all((own["regularizer"], own["relative"]) == ("mmd", False) for own in told)
        models = {"mac-wae", "mac-vae", "m-wae", "jmvae", "mopoe", "mvtcae", "nexus"}
        assert {cell.model for cell in made} == (models - {"mopoe"} if dataset == "celeba" else models)


class TestNames:
    def test_all_that_determines_a_run_is_in_its_name(self):
        cell = cells()[0]
        for section in ("data", "build", "fit"):
            for name, value in asdict(cell.settings)[section].items():
                other = (value or 0) + 1 if isinstance(value, int | float | None) else [value]
                changed = replace(cell.settings, **{section: {**getattr(cell.settings, section), name: other}})
                free = name in {"root", "download", *FREE} - {"epochs", "patience"}
                assert (replace(cell, settings=changed).name == cell.name) == free, name

    def test_where_it_stands_is_not(self):
        cell = cells()[0]
        assert replace(cell, settings=replace(cell.settings, folder="elsewhere")).name == cell.name

    def test_names_do_not_change_by_themselves(self):
        """Finished runs are found by them: a change here makes every one of them be run again."""
        assert cells()[0].name == "polydigits-m-wae-cda9d226a00c"


class TestRefused:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"models": ["mac-wea"]}, "unknown model 'mac-wea'; known are mac-wae, mac-vae"),
            ({"datasets": "polydigit"}, "unknown data set 'polydigit'; known are polydigits"),
            ({"settings": {"bta": 1}}, "unknown setting 'bta'; nearest are beta"),
            ({"settings": {"epochs": "many"}}, "epochs of fit must be int; got 'many'"),
            ({"vary": {"alfa": [1]}}, "unknown setting to vary 'alfa'; known are"),
            ({"vary": {"beta": 1}}, "vary"),
            ({"vary": {"beta": [1, 1]}}, "`vary` has a value twice"),
            ({"tasks": ["many-to-many"]}, "unknown task 'many-to-many'; known are many-to-one"),
            ({"choose": "test"}, "unknown .*choose 'test'; known are"),
            ({"seeds": [1, 1]}, "seeds must be one or more numbers that differ"),
            ({"seeds": 0}, "seeds must be one or more"),
            ({"maps": ["mac"]}, "unknown model 'mac'"),
            ({"name": "../out"}, "must be the name of a folder"),
            ({"modles": ["mvae"]}, "unknown argument of a study 'modles'; known are models"),
            ({"models": {"mvae": 3}}, "mvae must be settings.*got 3"),
            ({"models": []}, "a study must name its models"),
            ({"preset": "polymnist-smal"}, "unknown preset 'polymnist-smal'; known are polymnist-small"),
            ({"datasets": {"polydigits": {"without": ["m-wae", "mvae"]}}}, "at least one run"),
            ({"tuning_seeds": 3}, "tuning_seeds must be from 1 to the number of seeds, 2; got 3"),
            ({"models": {"mine": {"model": "mvea"}}}, "unknown model 'mvea'; known are mvae"),
            ({"models": {"mine": {}}}, "unknown model 'mine'"),
        ],
    )
    def test_before_anything_runs(self, changes, message, tmp_path):
        with pytest.raises(ValueError, match=message):
            quiet(tmp_path / "studies", **changes)
        assert not (tmp_path / "studies").exists()

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            (
                {"models": {"m-wae": {"weights": {"m9": 2.0}}}},
                "m-wae on polydigits, seed 0: unknown modality 'm9'; known are m4",
            ),
            ({"vary": {"beta": [1.0, -1.0]}}, "m-wae on polydigits, beta=-1, seed 0: beta must"),
            ({"settings": {**TINY, "warmup": 5}}, "epochs must be at least warmup"),
        ],
    )
    def test_what_only_shows_with_data(self, changes, message, tmp_path):
        with pytest.raises(ValueError, match=message):
            quiet(tmp_path / "studies", **changes)
        assert not list(tmp_path.rglob("experiment.json"))

    def test_a_file_and_no_file(self, tmp_path):
        (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"preset": "polydigits-draws", "seeds": 1}))
        made = plan(tmp_path / "mine.yaml")
        assert (made.name, made.seeds, made.models) == ("mine", 1, ["mac-wae"])
        with pytest.raises(ValueError, match="unknown preset 'polymnist_small'; known are polymnist-small"):
            plan("polymnist_small")
        with pytest.raises(FileNotFoundError, match=r"no.yaml must exist"):
            plan(tmp_path / "no.yaml")
        (tmp_path / "bad.yaml").write_text("datasets: !!python/object/apply:os.system [true]")
        with pytest.raises(ValueError, match="must be YAML"):
            plan(tmp_path / "bad.yaml")


class TestRunning:
    def test_a_finished_run_is_never_run_again(self, tmp_path):
        first = quiet(tmp_path)
        before = stamps(tmp_path)
        assert len(before) == 4
        again = quiet(tmp_path)
        assert stamps(tmp_path) == before
        pd.testing.assert_frame_equal(first.scores, again.scores)
        other = quiet(tmp_path, name="another", seeds=3)
        assert stamps(tmp_path).items() >= before.items()
        assert len(other.runs) == 6

    def test_two_files_are_enough_to_be_finished(self, tmp_path):
        first = quiet(tmp_path / "a")
        for folder in (tmp_path / "a" / "runs").iterdir():
            there = tmp_path / "b" / "runs" / folder.name
            there.mkdir(parents=True)
            for name in ("scores.csv", "experiment.json"):
                shutil.copy(folder / name, there / name)
        before = stamps(tmp_path / "b")
        again = quiet(tmp_path / "b")
        assert stamps(tmp_path / "b") == before
        pd.testing.assert_frame_equal(first.scores, again.scores)

    def test_further_tasks_need_no_training(self, tmp_path):
        quiet(tmp_path, seeds=1)
        weights = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("weights.safetensors")}
        more = quiet(tmp_path, seeds=1, tasks=["many-to-one", "one-to-one"])
        assert {*more.scores["task"]} == {"many-to-one", "one-to-one"}
        assert weights == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("weights.safetensors")}
        fewer = quiet(tmp_path, seeds=1)
        assert {*fewer.scores["task"]} == {"many-to-one"}

    def test_scores_on_other_tasks_stay(self, tmp_path, monkeypatch):
        quiet(tmp_path / "a", seeds=1)
        scored, real = [], study_run.evaluate
        monkeypatch.setattr(
            study_run, "evaluate", lambda *rest, **how: (scored.append(how["tasks"]), real(*rest, **how))[1]
        )
        quiet(tmp_path / "a", seeds=1, tasks=["one-to-one"])
        assert scored == [["one-to-one"]] * 2
        before = stamps(tmp_path / "a")
        quiet(tmp_path / "a", seeds=1)
        assert stamps(tmp_path / "a") == before
        quiet(tmp_path / "b", seeds=1, tasks=["many-to-one", "one-to-one"])
        assert [file.read_bytes() for file in before] == [file.read_bytes() for file in stamps(tmp_path / "b")]

    def test_scores_of_another_training_do_not(self, tmp_path, monkeypatch):
        quiet(tmp_path, seeds=1, models=["m-wae"])
        (folder,) = (tmp_path / "runs").iterdir()
        shutil.rmtree(folder / "model")
        made = quiet(tmp_path, seeds=1, models=["m-wae"], tasks=["one-to-one"])
        assert {*made.scores["task"]} == {"one-to-one"}
        assert study_run.read_training_record(folder)["tasks"] == ["one-to-one"]
        assert {*pd.read_csv(folder / "scores.csv")["task"]} == {"one-to-one"}

    def test_killed_before_any_write_it_ends_the_same(self, tmp_path, monkeypatch):
        one = {"models": ["m-wae"], "seeds": 1, "settings": {**TINY, "epochs": 1}}
        real, written = atomic.flush, []

        class Killed(BaseException):
            pass

        def killed_after(writes):
            def flush(path):
                if len(written) == writes:
                    raise Killed
                written.append(path.name)
                real(path)

            written.clear()
            monkeypatch.setattr(atomic, "flush", flush)

        killed_after(None)
        whole = quiet(tmp_path / "whole", **one)
        files = list(written)
        for writes, name in enumerate(files):
            killed_after(writes)
            with pytest.raises(Killed):
                quiet(tmp_path / str(writes), **one)
            killed_after(None)
            again = quiet(tmp_path / str(writes), **one)
            assert not again.failures, name
            pd.testing.assert_frame_equal(whole.scores, again.scores)
        assert sum("scores.csv" in name for name in files) == 2  # of the run, and of the study

    def test_a_failed_run_is_told_and_stops_no_other(self, tmp_path, monkeypatch):
        real = study_run.fit

        def failing(model, *arguments, **options):
            if model.name == "m-wae" and options["seed"] == 0:
                raise FloatingPointError("the loss of m0 is NaN")
            return real(model, *arguments, **options)

        monkeypatch.setattr(study_run, "fit", failing)
        made = quiet(tmp_path)
        assert list(made.failures) == ["m-wae on polydigits, seed 0"]
        assert "the loss of m0 is NaN" in made.failures["m-wae on polydigits, seed 0"]
        assert len(made.runs) == 3
        (note,) = tmp_path.rglob("failed.txt")
        assert "Traceback" in note.read_text()
        monkeypatch.setattr(study_run, "fit", real)
        again = quiet(tmp_path)
        assert not again.failures
        assert len(again.runs) == 4
        assert not list(tmp_path.rglob("failed.txt"))

    def test_scores_are_those_of_the_model_that_train_makes(self, tmp_path):
        """A run of a study is a run: the same settings by hand give the same numbers."""
        from polymodal.evaluation import evaluate
        from polymodal.settings import make
        from polymodal.training import fit

        made = quiet(tmp_path, models="m-wae", seeds=[1])
        settings = resolve({"dataset": "polydigits", "model": "m-wae", **TINY, "seed": 1})
        data, model = make(settings)
        fit(model, data.train, data.validation, progress=False, **settings.fit)
        expected = evaluate(model, data.test, tasks=["many-to-one"])
        assert made.scores["value"].tolist() == pytest.approx(expected["value"].tolist(), rel=1e-12)

    def test_the_record_says_what_it_rests_on(self, tmp_path):
        made = quiet(tmp_path, seeds=1)
        for _, row in made.runs.iterrows():
            record = json.loads((tmp_path / "runs" / row["folder"] / "experiment.json").read_text())
            history = pd.read_csv(tmp_path / "runs" / row["folder"] / "history.csv")
            assert record["run"]["seconds"] == pytest.approx(history["seconds"].sum())
            assert record["run"]["validation_loss"] == pytest.approx(history["validation/total"].min())
            assert row["rows"] == record["data"]["rows"] == 40
            assert row["memory"] > 50  # MiB, of a process that has PyTorch in it
            assert "thread" in row["hardware"]
        study = yaml.safe_load((tmp_path / "study" / "study.yaml").read_text())
        assert list(plan(study).cells()) == cells(seeds=1)

    def test_the_seconds_of_a_run_with_a_flow_are_those_of_both_phases(self, tmp_path):
        settings = {**TINY, "prior": "flow", "prior_epochs": 2}
        made = quiet(tmp_path, models="m-wae", seeds=1, settings=settings, tasks=["many-to-one", "generation"])
        folder = tmp_path / "runs" / made.runs["folder"].item()
        record = json.loads((folder / "experiment.json").read_text())["run"]
        history, prior = pd.read_csv(folder / "history.csv"), pd.read_csv(folder / "prior_history.csv")
        assert record["prior_seconds"] == pytest.approx(prior["seconds"].iloc[-1])
        assert record["seconds"] == pytest.approx(history["seconds"].sum() + prior["seconds"].iloc[-1])
        assert {"nothing", "nothing, normal prior"} <= set(made.scores.query("task == 'generation'")["given"])


def read_tables(folder):
    """The tables and figures of a study and its page, but `study.yaml`, which names the folder."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".yaml"]
    return {path.relative_to(folder): path.read_bytes() for path in files}


TUNED = {
    "models": ["m-wae"],
    "vary": {"beta": [0.1, 1.0]},
    "tuning_seeds": 1,
    "choose": "translation",
    "maps": ["m-wae"],
    "settings": {**TINY, "epochs": 1},
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with a finished study, and what `compare` returned."""
    folder = tmp_path_factory.mktemp("finished")
    return folder, quiet(folder, **TUNED)


class TestFileOfScores:
    """A study writes all finished runs into `scores.csv`, and can be continued from it without the run folders."""

    @pytest.fixture
    def copied(self, finished, tmp_path, monkeypatch):
        """A folder with the files of the study, without the run folders, in which nothing can be trained."""
        shutil.copytree(finished[0] / "study", tmp_path / "study")
        monkeypatch.setattr(study_run, "fit", lambda *rest, **options: pytest.fail("it trains"))
        monkeypatch.setattr(study_run, "evaluate", lambda *rest, **options: pytest.fail("it scores"))
        return tmp_path

    def test_the_comparison_from_it_is_that_from_the_folders(self, finished, copied):
        folder, first = finished
        for path in (copied / "study").glob("*.csv"):
            if path.name not in ("scores.csv", "maps.csv"):
                path.unlink()
        again = quiet(copied, **TUNED)
        assert read_tables(copied / "study") == read_tables(folder / "study")
        pd.testing.assert_frame_equal(again.scores, first.scores)
        pd.testing.assert_frame_equal(again.runs, first.runs)
        assert not (copied / "runs").exists()

    def test_finished_runs_are_listed(self, copied):
        listed = tabulate_planned_runs(str(copied / "study" / "study.yaml"), copied, None)
        assert [[*map(str, column.cells)] for column in listed.columns[3:]] == [["3"], ["3"]]

    def test_it_has_all_runs_and_marks_those_that_are_reported(self, finished):
        folder, made = finished
        lines = pd.read_csv(folder / "study" / "scores.csv", dtype=str, keep_default_na=False)
        study = plan(STUDY, **TUNED)
        assert {*lines["run"]} == {path.name for path in (folder / "runs").iterdir()}
        assert {*lines["run"]} <= {cell.name for cell in study.cells()}
        reported = lines[lines["reported"] == "yes"]
        assert {*reported["run"]} == {*made.runs["folder"]}
        assert reported["value"].astype(float).tolist() == made.scores["value"].tolist()
        for name, own in lines.groupby("run"):
            record = json.loads((folder / "runs" / name / "experiment.json").read_text())
            assert [json.loads(text) for text in own["record"] if text] == [record]

    def test_its_scores_are_compared_as_those_of_any_file(self, tmp_path):
        small = {"settings": {**TINY, "epochs": 1}, "tasks": ["many-to-one", "probe"]}
        quiet(tmp_path, **small, models={"m-wae": {"vary": {"beta": [0.1, 1.0]}}, "mvae": None})
        compare_score_file(tmp_path / "study" / "scores.csv", tmp_path / "out")
        tables = {path.name for path in (tmp_path / "out").glob("*.csv")} - {"basis.csv"}  # which has facts on the runs
        assert tables == {"ranks.csv", "best.csv", "win_loss.csv", "table.csv", "intervals.csv", "probe.csv"}
        for name in tables:
            assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "study" / name).read_bytes(), name

    def test_runs_that_are_not_in_the_study_are_kept(self, copied):
        fewer = quiet(copied, **{**TUNED, "seeds": 1})
        assert len(fewer.runs) == 1
        assert len(quiet(copied, **TUNED).runs) == 2

    def test_scores_on_other_tasks_are_kept(self, finished, tmp_path):
        shutil.copytree(finished[0], tmp_path, dirs_exist_ok=True)
        quiet(tmp_path, **{**TUNED, "tasks": ["one-to-one"]})
        shutil.rmtree(tmp_path / "runs")
        again = quiet(tmp_path, **{**TUNED, "tasks": ["many-to-one", "one-to-one"]})
        assert {*again.scores["task"]} == {"many-to-one", "one-to-one"}
        assert not (tmp_path / "runs").exists()

    def test_a_run_that_it_lacks_is_run(self, copied, monkeypatch):
        monkeypatch.undo()
        path = copied / "study" / "scores.csv"
        lines = pd.read_csv(path, dtype=str, keep_default_na=False)
        last = lines["run"].iloc[-1]
        lines[lines["run"] != last].to_csv(path, index=False)
        quiet(copied, **TUNED)
        assert [path.name for path in (copied / "runs").iterdir()] == [last]
        assert {*pd.read_csv(path)["run"]} == {*lines["run"]}

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda lines: lines.drop(columns="record"), r"scores\.csv.*missing.* record; .*move it"),
            (lambda lines: lines.assign(record=""), r"scores\.csv.*one record.*polydigits-m-wae.*restore"),
            (lambda lines: lines.replace({"record": {"^{": "{{"}}, regex=True), r"scores\.csv.*record.*JSON"),
            (lambda lines: lines.replace({"record": {"^{.*": "[]"}}, regex=True), r"scores\.csv.*record.*JSON"),
        ],
    )
    def test_a_file_that_no_study_wrote_is_refused_and_kept(self, copied, change, message):
        path = copied / "study" / "scores.csv"
        change(pd.read_csv(path, dtype=str, keep_default_na=False)).to_csv(path, index=False)
        before = path.read_bytes()
        with pytest.raises(ValueError, match=message):
            quiet(copied, **TUNED)
        assert path.read_bytes() == before


class TestChoosing:
    RUNS = pd.DataFrame(
        {
            "dataset": "d",
            "model": ["a"] * 4 + ["b"],
            "setting": ["beta=1", "beta=2", "beta=1", "beta=2", ""],
            "seed": [0, 0, 1, 1, 0],
            "validation_loss": [3.0, 1.0, 1.0, 2.0, 9.0],
            "validation": [
                {"x": {"value": 0.9, "better": "higher"}, "y": {"value": 5.0, "better": "lower"}},
                {"x": {"value": 0.5, "better": "higher"}, "y": {"value": 6.0, "better": "lower"}},
                {"x": {"value": 0.9, "better": "higher"}, "y": {"value": 5.0, "better": "lower"}},
                {"x": {"value": 0.8, "better": "higher"}, "y": {"value": 4.5, "better": "lower"}},
                None,
            ],
        }
    )

    def test_by_loss_it_is_the_lowest_mean_over_the_seeds(self):
        assert choose(self.RUNS, "loss")["setting"].tolist() == ["beta=2", ""]

    def test_by_translation_it_is_the_best_mean_rank(self):
        made = choose(self.RUNS, "translation")
        assert made["setting"].tolist() == ["beta=1", ""]
        assert made["by"].tolist() == ["many-to-one translation of validation rows", ""]

    def test_both_in_a_study(self, tmp_path):
        vary = {"beta": [0.0, 1000.0]}
        made = quiet(tmp_path, models="m-wae", vary=vary, seeds=1)
        losses = made.runs.set_index("setting")["validation_loss"]
        assert made.chosen["setting"].tolist() == [losses.idxmin()]
        assert {*made.scores["number"]} == {0.0, 1000.0}
        assert {*made.scores["name"]} == {"beta"}


ROWS = {"m-wae": None, "m-wae, absolute": {"model": "m-wae", "relative": False}}


class TestRows:
    """A row of a study can be a registered model in settings of its own, under a name of its own."""

    def test_it_is_that_model_under_its_own_name(self):
        made = cells(models=ROWS, seeds=1)
        assert [(cell.model, cell.settings.model) for cell in made] == [
            ("m-wae", "m-wae"),
            ("m-wae, absolute", "m-wae"),
        ]
        assert made[1].settings.build["relative"] is False
        alone = cells(models={"m-wae": {"relative": False}}, seeds=1)
        assert made[1].name == alone[0].name  # a finished run is the same run under any name

    def test_it_is_scored_and_can_be_left_out_and_mapped(self, tmp_path):
        made = quiet(tmp_path, models=ROWS, seeds=1, maps=["m-wae, absolute"])
        assert {*made.scores["model"]} == {*made.runs["model"]} == {*ROWS}
        left = quiet(tmp_path, models=ROWS, seeds=1, datasets={"polydigits": {"without": ["m-wae, absolute"]}})
        assert {*left.scores["model"]} == {"m-wae"}


class TestTuning:
    """With `tuning_seeds`, every setting is run on some seeds, and the chosen one alone on all."""

    def test_only_the_chosen_setting_is_run_on_all_seeds_and_scored(self, tmp_path, monkeypatch):
        study = {"models": {"m-wae": None, "mmvae": {"draws": 1}}, "vary": {"beta": [0.1, 1.0, 10.0]}, "seeds": 3}
        made = quiet(tmp_path, **study, tuning_seeds=1, choose="translation")
        chosen = made.chosen.set_index("model")["setting"].to_dict()
        told = {(row.model, row.setting, row.seed) for row in made.runs.itertuples()}
        assert told == {("m-wae", chosen["m-wae"], seed) for seed in range(3)} | {("mmvae", "", s) for s in range(3)}
        assert {*made.scores["setting"]} == {chosen["m-wae"], ""}
        assert len(list((tmp_path / "runs").glob("*/experiment.json"))) == 3 + 2 + 3
        assert len(list((tmp_path / "runs").glob("*/scores.csv"))) == 3 + 3
        tuned = pd.read_csv(tmp_path / "study" / "tuning.csv", keep_default_na=False)
        assert tuned["setting"].tolist() == ["beta=0.1", "beta=1", "beta=10"]
        assert tuned.loc[tuned["chosen"] == "yes", "setting"].tolist() == [chosen["m-wae"]]
        assert tuned["judged"].idxmin() == tuned.index[tuned["chosen"] == "yes"][0]
        every = quiet(tmp_path / "all", **{**study, "seeds": 1}, choose="translation")
        assert every.chosen["setting"].tolist() == made.chosen["setting"].tolist()
        listed = tabulate_planned_runs(str(tmp_path / "study" / "study.yaml"), tmp_path, None)
        counts = {
            name: [*map(str, column.cells)]
            for name, column in zip(
                ("model", "runs", "finished"), (listed.columns[1], *listed.columns[3:]), strict=True
            )
        }
        assert counts == {"model": ["m-wae", "mmvae"], "runs": ["5", "3"], "finished": ["5", "3"]}
        before = stamps(tmp_path)
        monkeypatch.setattr(study_comparison, "network", None)  # nothing is left to check or to run
        again = quiet(tmp_path, **study, tuning_seeds=1, choose="translation")
        assert stamps(tmp_path) == before
        pd.testing.assert_frame_equal(again.scores, made.scores)

    def test_a_setting_that_fails_is_told_and_not_chosen(self, tmp_path, monkeypatch):
        fit = study_run.fit

        def failing(model, *rows, **arguments):
            if model.beta == 1.0:
                raise ValueError("no")
            return fit(model, *rows, **arguments)

        monkeypatch.setattr(study_run, "fit", failing)
        made = quiet(tmp_path, models="m-wae", vary={"beta": [1.0, 2.0]}, tuning_seeds=1)
        assert list(made.failures) == ["m-wae on polydigits, beta=1, seed 0"]
        assert made.runs["setting"].tolist() == ["beta=2", "beta=2"]


def test_the_help_lists_every_preset():
    """Without reading them, so that the help does not import PyTorch."""
    (argument,) = get_type_hints(compare_command.compare, include_extras=True)["study"].__metadata__
    words = argument.help.rstrip(".").partition("a preset: ")[2].split(", ")
    assert sorted(name for word in words for name in expand(word)) == sorted(PRESETS)


def expand(word):
    """Words such as a{b,c}d, as a shell expands them."""
    parts = [part.split(",") for part in re.split("[{}]", word)]
    return ["".join(chosen) for chosen in product(*parts)]


def test_every_preset_can_be_built(monkeypatch):
    """Those whose data are here; settings are tried on the others' schemas in their own tests."""
    study = plan("polydigits-beta")
    _check_runs([cell for cell in study.cells() if cell.seed == 0])
    assert Path("polydigits-beta").name == study.name

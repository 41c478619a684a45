"""Training and asking a run from the command line, on little of everything."""

import csv
import functools
import json
import os
import signal

import pandas as pd
import PIL.Image
import pytest
import torch
import yaml
from commands import process, within

import polymodal as pm
from polymodal import settings as training_settings
from polymodal.cli import run_folder, train
from polymodal.training import Stopped

TRAIN = ["train", "polydigits", "--set", "rows=200", "--set", "held_out_rows=50", "--set", "widths=8,16"]
TRAIN += ["--set", "draws=2", "--latent-dim", "8", "--seed", "3", "--device", "cpu"]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def trained(root):
    """A run, and what training it printed."""
    done = process(*TRAIN, "--epochs", 2, "--folder", "runs/small", cwd=root)
    assert done.returncode == 0, done.stderr
    return root / "runs" / "small", done


@pytest.fixture
def folder(trained):
    return trained[0]


@pytest.fixture
def model(folder):
    return pm.load(folder / "model")


@pytest.fixture
def test_rows():
    return pm.datasets.load("polydigits", rows=200, held_out_rows=50).test


@pytest.fixture
def command(monkeypatch, capsys):
    return functools.partial(within, monkeypatch, capsys)


def test_training_leaves_a_run_with_its_settings_and_says_what_to_type_next(trained):
    folder, done = trained
    names = {path.name for path in folder.iterdir()}
    assert names == {"experiment.json", "history.csv", "model", "settings.yaml", "state"}
    assert done.stdout.startswith("Training mac-wae (")
    assert "on 200 rows of polydigits, on cpu: about" in done.stdout
    assert "Best epoch 2 of 2, validation loss " in done.stdout
    assert "polymodal evaluate runs/small\n" in done.stdout
    assert "polymodal report runs/small\n" in done.stdout
    assert "epoch 2/2" in done.stderr
    settings = yaml.safe_load((folder / "settings.yaml").read_text(encoding="utf-8"))
    assert settings["data"] == {"rows": 200, "held_out_rows": 50, "seed": 0}
    assert settings["schema"] == {"widths": [8, 16]}
    assert settings["fit"]["seed"] == settings["build"]["seed"] == 3


def test_the_settings_file_makes_the_same_weights(folder, root, command):
    done = command("train", "--config", folder / "settings.yaml", "--folder", root / "runs" / "again")
    assert done.returncode == 0, done.stderr
    weights = (root / "runs" / "again" / "model" / "weights.safetensors").read_bytes()
    assert weights == (folder / "model" / "weights.safetensors").read_bytes()


def test_a_run_that_goes_on_ends_as_one_that_went_all_the_way(folder, root, command):
    assert command(*TRAIN, "--epochs", 1, "--folder", root / "on").returncode == 0
    done = command("train", "--resume", root / "on", "--epochs", 2)
    assert done.returncode == 0, done.stderr
    assert yaml.safe_load((root / "on" / "settings.yaml").read_text(encoding="utf-8"))["fit"]["epochs"] == 2
    history, whole = (pd.read_csv(run / "history.csv").drop(columns="seconds") for run in (root / "on", folder))
    pd.testing.assert_frame_equal(history, whole)


def test_a_dry_run_prints_settings_and_does_nothing(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = command(*TRAIN, "--dry-run", "--set", "beta=1e-4")
    assert done.returncode == 0
    assert not list(tmp_path.iterdir())
    (tmp_path / "x.yaml").write_text(done.stdout)
    assert yaml.safe_load(done.stdout)["build"]["beta"] == 1e-4
    assert command("train", "--config", "x.yaml", "--dry-run").stdout == done.stdout


@pytest.mark.parametrize(("number", "code"), [(2, 130), (15, 143)])
def test_a_run_that_is_stopped_says_how_it_goes_on(command, tmp_path, monkeypatch, number, code):
    def stop(*rows, **arguments):
        raise Stopped("training stopped in epoch 1", arguments["folder"], number)

    monkeypatch.setattr(train.training, "fit", stop)
    done = command(*TRAIN, "--folder", tmp_path / "my run")
    assert done.returncode == code
    resume = f"polymodal train --resume '{tmp_path / 'my run'}'"
    assert done.stderr == f"polymodal: training stopped in epoch 1. To resume the run:\n{resume}\n"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_command_that_is_stopped_elsewhere_says_so(command, tmp_path, monkeypatch, number, code):
    handlers = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]

    def stop(settings):
        signal.raise_signal(number)

    monkeypatch.setattr(training_settings, "make", stop)
    done = command("train", "polydigits", "--folder", tmp_path / "run")
    assert (done.returncode, done.stdout, done.stderr) == (code, "", "polymodal: stopped\n")
    assert handlers == [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]


@pytest.mark.parametrize("where", ["make", "fit"])
def test_a_run_that_is_stopped_before_its_first_step_says_how_it_goes_on(command, tmp_path, monkeypatch, where):
    def stop(*rows, **arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(train.training, "fit", stop)
    first = command(*TRAIN, "--folder", tmp_path)
    monkeypatch.setattr(training_settings if where == "make" else train.training, where, stop)
    for done in (first, command("train", "--resume", tmp_path)):
        assert done.returncode == 130
        assert done.stderr == f"polymodal: stopped. To resume the run:\npolymodal train --resume {tmp_path}\n"


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("experiment.json", {"data": 3}, "must have values by name as data; got 3"),
        (
            "experiment.json",
            {"data": {"dataset": ["polydigits"]}},
            "must have a name as data.dataset; got ['polydigits']",
        ),
        ("experiment.json", {"data": {"dataset": "polydigits", "arguments": [1]}}, "values by name as data.arguments"),
        ("experiment.json", {"data": {"dataset": "x"}}, "must name a data set that can be loaded: unknown data set"),
        (
            "experiment.json",
            {"data": {"dataset": "polydigits", "arguments": {"rows": "1"}}},
            "must name a data set that can be loaded: rows of polydigits must be int; got '1'",
        ),
        ("history.csv", None, "history.csv must exist, because the report shows it, and it does not"),
        ("history.csv", "", "history.csv must be a CSV file that polymodal wrote: No columns"),
        ("history.csv", "a,b\n1,2\n", "must have the columns epoch; missing: epoch"),
        ("scores.csv", "\0\n\0\0", "scores.csv must "),
    ],
)
def test_a_damaged_file_of_a_run_is_named_before_anything_long(command, tmp_path, monkeypatch, file, content, said):
    record = {"data": {"dataset": "polydigits", "arguments": {"rows": 100, "held_out_rows": 50}}}
    for name, given in {"experiment.json": record, "history.csv": "epoch\n1\n", file: content}.items():
        if given is not None:
            (tmp_path / name).write_text(given if isinstance(given, str) else json.dumps(given))
    if content is None:
        (tmp_path / file).unlink(missing_ok=True)
    monkeypatch.setattr(run_folder.evaluation, "evaluate", lambda *rows, **arguments: pytest.fail("it scores"))
    done = command("report", tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith(f"polymodal: {tmp_path / file} must ")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_what_fails_for_another_reason_is_one_line_and_exit_code_1(command, monkeypatch):
    def fail(settings):
        raise RuntimeError("out of\nmemory")

    monkeypatch.setattr(training_settings, "make", fail)
    done = command("train", "polydigits")
    assert done.returncode == 1
    assert done.stderr == "polymodal: RuntimeError: out of memory; --debug shows the traceback\n"


def test_evaluate_writes_scores_and_shows_them(folder, root, model, test_rows):
    done = process("evaluate", "runs/small", cwd=root)
    assert done.returncode == 0, done.stderr
    scores = pd.read_csv(folder / "scores.csv", keep_default_na=False)
    pd.testing.assert_frame_equal(scores, pm.evaluate(model, test_rows), check_exact=False, rtol=1e-4)
    head, *rows = [line.split() for line in done.stdout.splitlines() if len(line.split()) > 3]
    assert head == ["modality", "metric", "reconstruction", "many-to-one", "one-to-one"]
    shown = {(row[0], row[1], row[2]): row[3:] for row in rows}
    label = scores[scores["modality"] == "label"].groupby("task")["value"].mean()
    assert shown["label", "acc", "↑"] == [f"{label[task]:.1f}" for task in head[2:]]
    assert {name for name, *_ in shown} == {"m0", "m1", "m2", "m3", "m4", "label", "mean"}
    assert done.stdout.splitlines()[-1] == "Scores: runs/small/scores.csv"


def test_another_split_and_fewer_tasks_have_a_file_of_their_own(folder, command):
    done = command("evaluate", folder, "--split", "validation", "--tasks", "many-to-one", "--batch-size", 7)
    assert done.returncode == 0, done.stderr
    scores = pd.read_csv(folder / "scores-validation.csv")
    assert set(scores["task"]) == {"many-to-one"}
    assert set(scores["rows"]) == {50}


def test_translate_writes_what_the_model_makes(folder, root, model, test_rows):
    done = process("translate", "runs/small", "--given", "m0,label", "--to", "m3,label", "--rows", "3,5,7:9", cwd=root)
    assert done.returncode == 0, done.stderr
    rows, out = [3, 5, 7, 8], folder / "translations"
    assert {path.name for path in out.iterdir()} == {"table.csv", "grid.png", "m3", "made.json"}
    made = model.translate(test_rows[rows], ["m0", "label"], ["m3", "label"])
    written = model.schema.write(made)
    table = pd.read_csv(out / "table.csv")
    assert table["row"].tolist() == rows
    assert table["label"].tolist() == written["label"]
    assert table["label_truth"].tolist() == test_rows.values["label"][rows].tolist()
    assert table.columns.tolist() == ["row", "label", "label_truth"]
    for row, picture in zip(rows, written["m3"], strict=True):
        with PIL.Image.open(out / "m3" / f"{row}.png") as file:
            assert file.tobytes() == picture.tobytes()
    assert {path.name for path in (out / "m3").iterdir()} == {f"{row}.png" for row in rows}
    assert "Contact sheet: runs/small/translations/grid.png" in done.stdout
    assert json.loads((out / "made.json").read_text())["given"] == ["m0", "label"]


def test_a_translation_is_replaced_whole_and_nothing_else_is(folder, command, tmp_path):
    out = tmp_path / "made"
    assert command("translate", folder, "--to", "m1,m2", "--rows", "0:3", "--out", out).returncode == 0
    again = ["translate", folder, "--to", "m4", "--rows", "::40", "--out", out]
    assert f"{out} exists; use --overwrite to replace it, or choose another --out" in command(*again).stderr
    assert command(*again, "--overwrite").returncode == 0
    files = {path.relative_to(out).as_posix() for path in out.rglob("*")}
    assert files == {"table.csv", "grid.png", "made.json", "m4", "m4/0.png", "m4/40.png"}
    (out / "m4" / "mine.txt").write_text("years")
    done = command("sample", folder, "--out", out)
    assert done.returncode == 2
    assert "it holds m4/mine.txt" in done.stderr
    assert {path.relative_to(out).as_posix() for path in out.rglob("*")} == files | {"m4/mine.txt"}
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_draws_of_a_model_that_has_them(command, tmp_path):
    train = [*TRAIN, "--model", "mac-vae", "--epochs", 1, "--folder", tmp_path / "run"]
    assert command(*train).returncode == 0
    arguments = ["translate", tmp_path / "run", "--given", "m0", "--to", "m1,label", "--rows", "4,2", "--samples", 3]
    assert command(*arguments).returncode == 0
    with (tmp_path / "run" / "translations" / "table.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [(row["row"], row["draw"]) for row in table] == [(row, draw) for row in "42" for draw in "012"]
    pictures = {path.name: path.read_bytes() for path in (tmp_path / "run" / "translations" / "m1").iterdir()}
    assert pictures.keys() == {f"{row}-{draw}.png" for row in "42" for draw in "012"}
    assert command(*arguments, "--overwrite").returncode == 0
    assert pictures == {path.name: path.read_bytes() for path in (tmp_path / "run/translations/m1").iterdir()}
    out = tmp_path / "samples.parquet"
    done = command(*arguments, "--out", out, "--batch-size", 2)
    assert (done.returncode, done.stdout) == (0, f"Predictions for 2 rows: {out}\n"), done.stderr
    frame = pd.read_parquet(out)
    assert frame.columns.tolist() == ["row", "sample", "m1", "label"]
    assert list(zip(frame["row"], frame["sample"], strict=True)) == [(r, s) for r in (4, 2) for s in range(3)]
    assert frame["m1"].nunique() == 6
    assert command(*arguments, "--combine", "mean", "--out", out, "--overwrite").returncode == 0
    assert pd.read_parquet(out)["row"].tolist() == [4, 2]
    written = out.read_bytes()
    done = command("translate", tmp_path / "run", "--steps", 3, "--out", out, "--overwrite")
    assert done.returncode == 2
    assert "concern posterior samples" in done.stderr
    assert command(*arguments, "--steps", 3, "--out", out, "--overwrite").returncode == 2
    assert written == out.read_bytes()


def test_embed_writes_the_codes_of_every_row(folder, root, model, test_rows):
    done = process("embed", "runs/small", "--out", "codes.parquet", "--given", "m0", "--batch-size", "7", cwd=root)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "Codes of 50 rows: codes.parquet\n"
    assert done.stderr.splitlines()[-1] == "embedding: 100 %"
    codes = pd.read_parquet(root / "codes.parquet")
    assert codes.columns.tolist() == ["row", *(f"z{axis}" for axis in range(8)), "label"]
    assert codes["row"].tolist() == list(range(50))
    assert codes["label"].tolist() == test_rows.values["label"].tolist()
    assert set(codes.dtypes.iloc[1:9].astype(str)) == {"float32"}
    z = torch.from_numpy(codes.iloc[:, 1:9].to_numpy().copy())
    torch.testing.assert_close(z, model.embed(test_rows, ["m0"]), rtol=1e-5, atol=1e-5)


def test_translate_writes_parquet_as_the_answers_come(root, model, test_rows):
    arguments = ["--given", "m0", "--to", "m3,label", "--out", "made.parquet", "--batch-size", "7"]
    done = process("translate", "runs/small", *arguments, cwd=root)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "Predictions for 50 rows: made.parquet\n"
    assert done.stderr.splitlines()[-1] == "translating: 100 %"
    frame = pd.read_parquet(root / "made.parquet")
    assert frame.columns.tolist() == ["row", "m3", "label"]
    assert frame["label"].tolist() == model.translate(test_rows[:], ["m0"], ["label"])["label"].tolist()
    assert all(picture.startswith(b"\x89PNG") for picture in frame["m3"])


def test_samples_are_those_of_their_seed(folder, root, command):
    assert process("sample", "runs/small", "--number", "3", "--seed", "1", "--overwrite", cwd=root).returncode == 0
    first = {path: path.read_bytes() for path in (folder / "samples").rglob("*.png")}
    assert len(first) == 5 * 3 + 1
    table = (folder / "samples" / "table.csv").read_text()
    assert table.startswith("row,label\n0,")
    assert command("sample", folder, "--number", 3, "--seed", 1, "--overwrite").returncode == 0
    assert first == {path: path.read_bytes() for path in (folder / "samples").rglob("*.png")}
    assert command("sample", folder, "--number", 3, "--seed", 2, "--overwrite").returncode == 0
    assert first != {path: path.read_bytes() for path in (folder / "samples").rglob("*.png")}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train"], "a data set must be named, such as `polymodal train polydigits`; got none"),
        (["train", "polydigit"], "unknown data set 'polydigit'; known are polydigits"),
        (["train", "polydigits", "--model", "mac"], "unknown model 'mac'; known are mac-"),
        (["train", "polydigits", "--set", "epoch=3"], "unknown setting 'epoch'; nearest are epochs"),
        (["train", "polydigits", "--set", "epochs"], "a setting must be name=value"),
        (["train", "polydigits", "--set", "epochs=x"], "epochs of fit must be int; got 'x'"),
        (["train", "polydigits", "--epochs", "0"], "epochs must be positive"),
        (["train", "polydigits", "--beta", "1", "--set", "beta=2"], "got beta as an option and by --set"),
        (["train", "polydigits", "--device", "gpu"], "device must be an available one"),
        (["train", "polydigits", "--set", "rows=105"], "rows must be a positive multiple of 10"),
        (["train", "polydigits", "--set", "rows=100", "--beta", "-1"], "beta must be finite and not negative; got -1"),
        (["train", "polydigits", "--set", "rows=100", "--set", "heads=2"], "unknown argument of modalities 'heads'"),
        (["train", "polydigits", "--set", "rows=100", "--set", "widths=-1,"], "mac-wae must have valid sizes"),
        (["train", "polydigits", "--config", "x.yaml"], "x.yaml must exist, and does not"),
        (["train", "--resume", "nowhere"], "with settings.yaml; it does not exist"),
        (["train", "--resume", "{run}/history.csv"], "with settings.yaml; it is a file"),
        (["train", "--resume", "{run}/model"], "with settings.yaml; it holds only a model"),
        (["train", "--resume", "{run}", "--set", "rows=10"], "--resume can change only epochs, patience, device, "),
        (["train", "polydigits", "--set", "network=foo", "--dry-run"], "network must be given from Python"),
        (["train", "polydigits", "--folder", "{run}/history.csv/x"], "must be a writable folder: "),
        (["train", "--config", "{run}"], "must be a file; it is a folder"),
        (["train", "polydigits", "--epoch", "3"], "no such option: --epoch"),
        (["trian"], "no such command 'trian'"),
        (["report"], "missing argument 'folder'"),
        (["evaluate", "nowhere"], "must be a run folder, as `polymodal train` writes it, with experiment.json"),
        (["evaluate", "{run}/model"], "it holds only a model, without its data; pass the folder above"),
        (["evaluate", "{run}", "--split", "tset"], "unknown split 'tset'; known are test"),
        (["evaluate", "{run}", "--tasks", "one-to-many"], "unknown task 'one-to-many'; known are one-to-one, "),
        (["translate", "{run}", "--given", "lable"], "unknown modality 'lable'; known are label"),
        (["translate", "{run}", "--to", "m0,m9"], "unknown modality 'm9'; known are m"),
        (
            ["translate", "{run}", "--overwrite", "--rows", "50"],
            "rows must be numbers or ranges within 0..49, such as 0:8 or 3,5,9; got '50'",
        ),
        (["translate", "{run}", "--overwrite", "--rows", "a:b"], "rows must be numbers or ranges within 0..49"),
        (["translate", "{run}", "--overwrite", "--samples", "2"], "this model's encoder is deterministic"),
        (
            ["translate", "{run}", "--overwrite", "--samples", "2", "--out", "x.parquet"],
            "this model's encoder is deterministic",
        ),
        (["translate", "{run}", "--out", "{run}/x.parquet", "--to", "m7"], "unknown modality 'm7'"),
        (["translate", "{run}", "--out", "."], "will be replaced, so it must not be or contain the working directory"),
        (["translate", "{run}", "--out", "{run}"], "must be empty or hold only output of this command"),
        (["embed", "{run}", "--out", "x.parquet", "--given", "m7"], "unknown modality 'm7'"),
        (["embed", "{run}"], "missing option '--out'"),
        (["embed", "{run}", "--out", "."], "--out must be a file, and . is a folder; use --out codes.parquet"),
        (
            ["embed", "{run}", "--out", "{run}/experiment.json"],
            "experiment.json must be a Parquet file that",
        ),
        (["sample", "nowhere"], "it does not exist"),
        (["sample", "{run}", "--overwrite", "--device", "tpu"], "device must be an available one"),
        (["report", "{run}", "--device", "tpu"], "device must be an available one"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(folder, command, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    before = sorted(folder.rglob("*"))
    done = command(*(argument.format(run=folder) for argument in arguments))
    assert done.returncode == 2
    assert done.stderr.startswith("polymodal: ")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())
    assert sorted(folder.rglob("*")) == before


def test_scores_of_other_tasks_stay(folder, command):
    assert command("evaluate", folder).returncode == 0
    for tasks in ("one-to-one", "probe", "translation,reconstruction", "probe"):
        before = (folder / "scores.csv").read_text().splitlines()
        done = command("evaluate", folder, "--tasks", tasks)
        assert done.returncode == 0, done.stderr
        assert "further" not in done.stderr
        others = {line for line in before if line.split(",")[0] not in tasks.split(",")}
        assert others <= {*(folder / "scores.csv").read_text().splitlines()}
    scores = pd.read_csv(folder / "scores.csv", keep_default_na=False)
    assert not scores.duplicated(["task", "modality", "given", "metric"]).any()
    assert scores["task"].unique().tolist() == ["reconstruction", "many-to-one", "one-to-one", "translation", "probe"]


def test_scores_of_an_earlier_state_of_the_model_are_named(folder, command):
    assert command("evaluate", folder, "--split", "validation").returncode == 0
    scores, weights = folder / "scores-validation.csv", folder / "model" / "weights.safetensors"
    later = scores.stat().st_mtime_ns + 10**9
    os.utime(weights, ns=(later, later))
    done = command("evaluate", folder, "--split", "validation", "--tasks", "one-to-one")
    assert "keeps scores of reconstruction, many-to-one from before the model was trained further" in done.stderr
    assert "further" not in command("evaluate", folder, "--split", "validation").stderr


def test_a_file_that_is_none_of_scores_is_refused_before_scoring(folder, command):
    (folder / "scores-train.csv").write_text("precious,data\n1,2\n")
    done = command("evaluate", folder, "--split", "train")
    assert done.returncode == 2
    assert "scores-train.csv must have the columns task, modality" in done.stderr
    assert "evaluating" not in done.stderr
    assert (folder / "scores-train.csv").read_text() == "precious,data\n1,2\n"

"""No command writes over the user's data, nor over an earlier result unless `--overwrite` says so."""

import os
import shutil

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import within

import polymodal as pm

ROWS = 40
TABLES = ["birds.csv", "birds.parquet", "parts"]
COMMANDS = {
    "impute": ("impute", "run", "{table}"),
    "translate": ("translate", "run", "{table}", "--to", "grams"),
    "embed": ("embed", "run", "{table}"),
}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A run on a small table, and the table as CSV, as Parquet, and as a folder of Parquet files."""
    home = tmp_path_factory.mktemp("home")
    draw = np.random.default_rng(0)
    frame = pd.DataFrame({"kind": draw.choice(["owl", "emu"], ROWS), "grams": draw.normal(900.0, 99.0, ROWS).round(1)})
    frame.loc[::5, "grams"] = None
    frame.to_csv(home / "birds.csv", index=False)
    frame.to_parquet(home / "birds.parquet", index=False)
    (home / "parts").mkdir()
    frame[:15].to_parquet(home / "parts" / "a.parquet", index=False)
    frame[15:].assign(note="kept").to_parquet(home / "parts" / "b.parquet", index=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POLYMODAL_CACHE", str(home / "cache"))
        data = pm.datasets.load("table", path=str(home / "birds.csv"))
        model = pm.build("mac-wae", data.schema.replace(hidden=(4,)), latent_dim=2, hidden=(4,))
        pm.fit(model, data.train, data.validation, epochs=1, folder=home / "run", progress=False)
    return home


@pytest.fixture
def here(home, tmp_path, monkeypatch):
    shutil.copytree(home, tmp_path, dirs_exist_ok=True)
    monkeypatch.setenv("POLYMODAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def polymodal(monkeypatch, capsys, here):
    return lambda *arguments: within(monkeypatch, capsys, *arguments)


def contents(folder):
    """Every file's bytes, but for the cache."""
    files = [path for path in folder.rglob("*") if path.is_file() and "cache" not in path.relative_to(folder).parts]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def asked(command, table):
    return [part.format(table=table) for part in COMMANDS[command]]


def refused(polymodal, here, *arguments, said):
    before = contents(here)
    done = polymodal(*arguments)
    assert done.returncode == 2
    assert said in done.stderr, done.stderr
    assert done.stderr.count("\n") == 1
    assert contents(here) == before


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("command", COMMANDS)
def test_an_output_is_never_what_it_is_made_from(polymodal, here, command, table):
    kind = "csv" if command == "impute" and table == "birds.csv" else "parquet"
    source = here / table
    file = source / "a.parquet" if table == "parts" else source
    (here / "link").symlink_to(source)
    (here / f"link.{kind}").symlink_to(file)
    os.link(file, here / f"hard.{kind}")
    (here / "around").symlink_to(here, target_is_directory=True)
    outs = [file, f"link.{kind}", f"hard.{kind}", f"around/{table}", f"run/../{table}"]
    if table == "parts":
        outs = [*outs[:3], "around/parts/b.parquet", "link/a.parquet", "parts/new.parquet", "parts/deep/er/new.parquet"]
    said = f"--out must be another path than {table}, and not inside it, because input data is never changed; got"
    for out in outs:
        if str(out).endswith(f".{kind}"):
            for more in ([], ["--overwrite"]):
                refused(polymodal, here, *asked(command, table), "--out", out, *more, said=said)


def test_a_folder_of_pictures_is_never_around_its_table(polymodal, here):
    assert polymodal("translate", "run", "birds.csv", "--to", "grams", "--out", "made").returncode == 0
    for out, table in (("parts/made", "parts"), ("parts", "parts"), ("made", "made/table.csv")):
        arguments = ["translate", "run", table, "--to", "grams", "--out", out, "--overwrite"]
        refused(polymodal, here, *arguments, said=f"--out must be another path than {table}, and not inside it")


def test_the_table_of_training_is_never_written_over(polymodal, here):
    frame = pd.read_csv("birds.csv")
    frame.to_csv("new.csv", index=False)
    said = f"--out must be another path than {here / 'birds.csv'}"
    document = (here / "run/experiment.json").read_text()
    trained = document.partition('"path": "')[2].partition('"')[0]
    (here / "run/experiment.json").write_text(document.replace(trained, str(here / "birds.csv")))
    refused(polymodal, here, "impute", "run", "new.csv", "--out", "birds.csv", "--overwrite", said=said)


RESULTS = {
    "impute, CSV": (["impute", "run", "birds.csv", "--sure", "--marked"], "whole.csv"),
    "impute, Parquet": (["impute", "run", "birds.parquet", "--sure", "--marked"], "whole.parquet"),
    "impute, folder": (["impute", "run", "parts"], "whole.parquet"),
    "translate": (["translate", "run", "birds.csv", "--to", "grams"], "made"),
    "translate, Parquet": (["translate", "run", "birds.csv", "--to", "grams"], "made.parquet"),
    "embed": (["embed", "run", "birds.csv"], "codes.parquet"),
    "sample": (["sample", "run", "--number", "3"], "made"),
    "compare": (["compare", "--scores", "scores.csv"], "comparison"),
}


SCORES = """task,dataset,modality,metric,better,model,value
many-to-one,MHD,label,acc,higher,mac-wae,97
many-to-one,MHD,label,acc,higher,nexus,90
"""


@pytest.mark.parametrize("name", RESULTS)
def test_an_earlier_result_is_replaced_by_overwrite_alone(polymodal, here, name):
    (here / "scores.csv").write_text(SCORES)
    command, out = RESULTS[name]
    assert polymodal(*command, "--out", out).returncode == 0
    first = contents(here)
    said = f"polymodal: {out} exists; use --overwrite to replace it, or choose another --out"
    refused(polymodal, here, *command, "--out", out, said=said)
    done = polymodal(*command, "--out", out, "--overwrite")
    assert done.returncode == 0, done.stderr
    assert contents(here).keys() == first.keys()


@pytest.mark.parametrize("name", ["impute, CSV", "impute, Parquet", "translate", "sample"])
def test_results_in_the_folder_of_the_run_are_results_too(polymodal, here, name):
    command, _ = RESULTS[name]
    assert polymodal(*command).returncode == 0
    refused(polymodal, here, *command, said="exists; use --overwrite to replace it, or choose another --out")
    assert polymodal(*command, "--overwrite").returncode == 0


def test_several_imputations_are_written_if_none_of_them_exists(polymodal, here):
    command = ["impute", "run", "birds.csv", "--out", "whole.csv"]
    pd.read_csv("birds.csv").to_csv("whole-1.csv", index=False)
    refused(polymodal, here, *command, "--imputations", "2", said="whole-1.csv exists; use --overwrite to replace it")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("out.csv", b"precious,data\n1,2\n", "out.csv must have the column 'kind', like every output of this command"),
        ("out.csv", b"\0\1\2\xff\xfe", "out.csv must"),
        ("out.csv", b"", "out.csv must be a CSV file that this command wrote"),
        (
            "out.parquet",
            b"years of work",
            "out.parquet must be a Parquet file that this command wrote, because it will be replaced",
        ),
        ("out.parquet", b"PAR1 and no more", "out.parquet must be a Parquet file that this command wrote"),
        ("out.parquet", {"other": [1]}, "out.parquet must have the column 'kind', like every output of this command"),
    ],
)
def test_what_is_no_result_is_left_alone(polymodal, here, name, content, said):
    if isinstance(content, dict):
        pq.write_table(pa.table(content), name)
    else:
        (here / name).write_bytes(content)
    table = "birds.csv" if name.endswith("csv") else "birds.parquet"
    for more in ([], ["--overwrite"]):
        refused(polymodal, here, "impute", "run", table, "--out", name, *more, said=said)


def test_codes_translations_and_samples_do_not_replace_each_other(polymodal, here):
    assert polymodal("embed", "run", "birds.csv", "--out", "codes.parquet").returncode == 0
    translate = ["translate", "run", "birds.csv", "--to", "grams"]
    assert polymodal(*translate, "--out", "made").returncode == 0
    assert polymodal(*translate, "--out", "made.parquet").returncode == 0
    more = ["--overwrite"]
    said = "made.parquet must have the column 'z0', like every output of this command"
    refused(polymodal, here, "embed", "run", "birds.csv", "--out", "made.parquet", *more, said=said)
    refused(
        polymodal, here, "sample", "run", "--out", "made", *more, said="made must be empty or hold output of sample"
    )
    said = "codes.parquet must have the column 'grams'"
    refused(polymodal, here, "impute", "run", "birds.parquet", "--out", "codes.parquet", *more, said=said)


def test_a_pipe_and_a_device_are_no_results(polymodal, here):
    os.mkfifo("pipe.csv")
    done = polymodal("impute", "run", "birds.csv", "--out", "pipe.csv", "--overwrite")
    assert "pipe.csv must be a regular file, because it will be replaced, and it is not" in done.stderr
    (here / "null.csv").symlink_to("/dev/null")
    done = polymodal("impute", "run", "birds.csv", "--out", "null.csv", "--overwrite")
    assert "null.csv must be a regular file, because it will be replaced, and it is not" in done.stderr


def test_a_link_stays_one_and_what_it_names_is_written(polymodal, here):
    (here / "elsewhere").mkdir()
    (here / "whole.csv").symlink_to(here / "elsewhere" / "real.csv")
    assert polymodal("impute", "run", "birds.csv", "--out", "whole.csv").returncode == 0
    assert (here / "whole.csv").is_symlink()
    assert "kind,grams" in (here / "elsewhere" / "real.csv").read_text()


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_table_without_rows_gets_its_further_columns(polymodal, here, kind):
    empty = pd.read_parquet("birds.parquet").iloc[:0]
    empty.to_csv("empty.csv", index=False) if kind == "csv" else empty.to_parquet("empty.parquet")
    done = polymodal("impute", "run", f"empty.{kind}", "--marked", "--sure", "--out", f"out.{kind}")
    assert done.returncode == 0, done.stderr
    made = pd.read_csv("out.csv") if kind == "csv" else pd.read_parquet("out.parquet")
    assert made.columns.tolist() == ["kind", "kind_sure", "grams", "grams_sure", "filled"]
    assert len(made) == 0


def test_a_folder_of_files_that_differ_is_imputed_whole(polymodal, here):
    assert polymodal("impute", "run", "parts", "--out", "whole.parquet").returncode == 0
    assert polymodal("embed", "run", "parts", "--out", "z.parquet").returncode == 0
    made = pd.read_parquet("whole.parquet")
    assert made["note"].fillna("").tolist() == [""] * 15 + ["kept"] * 25
    before = pd.read_parquet("birds.parquet")
    held = before["grams"].notna()
    assert made["grams"][held].tolist() == before["grams"][held].tolist()
    assert made["grams"].notna().all()
    assert len(pd.read_parquet("z.parquet")) == ROWS


def test_scores_are_never_replaced_by_their_comparison(polymodal, here):
    (here / "table.csv").write_text(SCORES)
    command = ["compare", "--scores", "table.csv", "--overwrite", "--out"]
    refused(polymodal, here, *command, ".", said="--out must be another path than table.csv")
    (here / "mine").mkdir()
    (here / "mine" / "ranks.csv").write_text("years")
    refused(
        polymodal,
        here,
        *command,
        "mine",
        said="mine must not hold ranks.csv, which is not a file of an earlier comparison",
    )


TRAIN = ["train", "birds.csv", "--epochs", "1", "--latent-dim", "2"]


def test_a_run_is_replaced_by_overwrite_alone(polymodal, here):
    said = "run must not hold a run, and it does; choose another --folder, resume the run with `polymodal train --resum"
    refused(polymodal, here, *TRAIN, "--folder", "run", said=said)
    (here / "run" / "mine.txt").write_text("years")
    assert polymodal("sample", "run", "--number", "2").returncode == 0
    before = contents(here)
    done = polymodal(*TRAIN, "--folder", "run", "--overwrite")
    assert done.returncode == 0, done.stderr
    after = contents(here)
    assert before.keys() - {"run/settings.yaml"} == after.keys() - {"run/settings.yaml"}
    assert before["run/model/weights.safetensors"] != after["run/model/weights.safetensors"]
    assert after["run/mine.txt"] == b"years"
    (here / "run" / "model" / "mine.txt").write_text("years")
    refused(polymodal, here, *TRAIN, "--folder", "run", "--overwrite", said="it holds mine.txt")
    refused(polymodal, here, "train", "--resume", "run", "--overwrite", said="leave one of them out")


@pytest.mark.parametrize("name", ["history.csv", "scores.csv", "report.html", "settings.yaml"])
def test_a_run_replaces_no_file_of_the_users(polymodal, here, name):
    (here / "mine").mkdir()
    (here / "mine" / name).write_text("years")
    refused(
        polymodal, here, *TRAIN, "--folder", "mine", said=f"mine must not hold {name}, which is not a file of a run"
    )
    shutil.copy("birds.csv", "mine/scores.csv")
    arguments = ["train", "mine/scores.csv", "--folder", "mine", "--overwrite"]
    refused(polymodal, here, *arguments, said="--folder must be another path than mine/scores.csv")

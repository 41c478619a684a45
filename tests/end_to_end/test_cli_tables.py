"""Tables of one's own from the command line alone: trained on, scored, reported and filled."""

import io
import os
import re
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import PIL.Image
import pytest
from commands import within
from tables import birds

import polymodal as pm

DATA = Path(os.environ.get("POLYMODAL_DATA", Path(__file__).parents[3] / "shared" / "data"))
real = pytest.mark.skipif(not (DATA / "tabular").is_dir(), reason=f"{DATA} has no tables")
ADULT = (
    "age,workclass,fnlwgt,education,education_num,marital_status,occupation,relationship,race,sex,capital_gain,"
    "capital_loss,hours_per_week,native_country,income"
)
CARS = (
    "symboling,normalized_losses,make,fuel_type,aspiration,num_doors,body_style,drive_wheels,engine_location,"
    "wheel_base,length,width,height,curb_weight,engine_type,num_cylinders,engine_size,fuel_system,bore,stroke,"
    "compression_ratio,horsepower,peak_rpm,city_mpg,highway_mpg,price"
)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("POLYMODAL_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def run(monkeypatch, capsys):
    return partial(within, monkeypatch, capsys)


@pytest.fixture
def worked(run):
    def command(*arguments):
        done = run(*arguments)
        assert done.returncode == 0, done.stderr
        return done

    return command


def all_of_it(worked, file, *options, csv=(), out):
    """Trains, scores, reports and fills; what training said, and the scores."""
    said = worked("train", file, "--folder", "run", *options, *csv).stdout
    worked("evaluate", "run")
    worked("report", "run")
    worked("impute", "run", file, "--out", out, "--sure", "--marked", *csv)
    assert "Columns" in Path("run/report.html").read_text(encoding="utf-8")
    return said, pd.read_csv("run/scores.csv")


@real
def test_penguins(worked):
    file = DATA / "tabular" / "penguins.csv"
    said, scores = all_of_it(worked, file, "--epochs", 60, out="whole.csv")
    assert "species" in said
    assert "label, 3 classes" in said
    assert re.search(r"4 members, [\d,]+ parameters\) on 276 rows of .*: about .* for 60 epochs\.", said)
    from_others = scores[scores["task"] == "many-to-one"].set_index("modality")["value"]
    assert from_others["species"] > 85
    assert from_others["body_mass_g"] < 0.7
    before, after = pd.read_csv(file), pd.read_csv("whole.csv")
    assert after[before.columns].notna().all(axis=None)
    pd.testing.assert_frame_equal(after[before.columns].where(before.notna()), before, check_dtype=False)
    assert (after["filled"].notna() == before.isna().any(axis=1)).all()
    sure = after["sex_sure"]
    assert (sure.notna() == before["sex"].isna()).all()
    assert sure.dropna().between(0.5, 1).all()


@pytest.mark.parametrize("kind", ["csv", "parquet", "feather"])
def test_intervals_of_files_are_those_of_frames(worked, run, kind):
    numbers = np.random.default_rng(0)
    frame = pd.DataFrame({"grams": 500 + 90 * numbers.normal(size=200).round(4), "x": numbers.normal(size=200)})
    frame["kind"] = numbers.choice(["owl", "emu"], 200)
    frame.loc[::4, "grams"] = None
    frame.loc[1::4, "kind"] = None
    frame.to_csv("birds.csv", index=False)
    write = {"csv": frame.to_csv, "parquet": frame.to_parquet, "feather": lambda path, index: frame.to_feather(path)}
    read = {"csv": pd.read_csv, "parquet": pd.read_parquet, "feather": pd.read_feather}[kind]
    worked("train", "birds.csv", "--epochs", 1, "--folder", "run", "--latent-dim", 4)
    write[kind](f"birds.{kind}", index=False)
    worked(
        "impute",
        "run",
        f"birds.{kind}",
        "--out",
        f"o.{kind}",
        "--interval",
        0.8,
        "--sure",
        "--marked",
        "--batch-size",
        64,
    )
    made = read(f"o.{kind}")
    added = ["grams_low", "grams_high", "grams_sure"]
    assert made.columns.tolist() == ["grams", *added, "x", "x_low", "x_high", "x_sure", "kind", "kind_sure", "filled"]
    assert (made[added].notna().all(axis=1) == frame["grams"].isna()).all()
    assert made[["x_low", "x_high", "x_sure"]].isna().all(axis=None)
    same = pm.impute(pm.load("run/model"), frame, interval=0.8, sure=True)
    np.testing.assert_allclose(made[added], same[added], atol=1e-3)
    refused = run("impute", "run", f"birds.{kind}", "--out", f"p.{kind}", "--interval", 90)
    assert refused.returncode == 2
    assert "interval must be from 0 to 1; got 90" in refused.stderr
    assert refused.stderr.count("\n") == 1


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_several_imputations_are_several_files(worked, run, kind):
    numbers = np.random.default_rng(0)
    frame = pd.DataFrame({"grams": numbers.normal(size=80).round(3), "kind": numbers.choice(["owl", "emu"], 80)})
    frame.loc[::4, "grams"] = None
    frame.to_csv("birds.csv", index=False)
    frame.to_parquet("birds.parquet", index=False)
    train = ["--model", "mac-vae", "--epochs", 1, "--folder", "run", "--latent-dim", 4]
    worked("train", "birds.csv", *train)
    read = {"csv": pd.read_csv, "parquet": pd.read_parquet}[kind]
    done = worked("impute", "run", f"birds.{kind}", "--imputations", 3, "--out", f"whole.{kind}", "--seed", 5)
    files = [f"whole-{number}.{kind}" for number in range(3)]
    assert done.stdout == f"Imputed 20 cells in 80 rows: {', '.join(files)}\n"
    assert not Path(f"whole.{kind}").exists()
    several = [read(file) for file in files]
    holes = frame["grams"].isna()
    expected = pm.impute(pm.load("run/model"), frame, imputations=3, seed=5)
    for one, same in zip(several, expected, strict=True):
        pd.testing.assert_frame_equal(one[~holes], frame[~holes])
        np.testing.assert_allclose(one["grams"], same["grams"], atol=2e-3)
    assert not np.allclose(several[0]["grams"], several[1]["grams"])
    Path(f"birds.{kind}").rename(f"birds-1.{kind}")
    refused = run("impute", "run", f"birds-1.{kind}", "--imputations", 3, "--out", f"birds.{kind}")
    assert refused.returncode == 2
    assert f"--out must be another path than birds-1.{kind}" in refused.stderr
    assert not Path(f"birds-0.{kind}").exists()


@real
@pytest.mark.parametrize(
    ("file", "columns", "options"),
    [("auto_imports.csv", CARS, ["--epochs", 30]), ("adult_train.csv", ADULT, ["--epochs", 1])],
    ids=["cars", "adult"],
)
def test_tables_without_names_and_with_question_marks(worked, file, columns, options):
    Path("names.txt").write_text(columns.replace(",", "\n"), encoding="utf-8")
    csv = ["--columns", "names.txt", "--missing", "?"]
    all_of_it(worked, DATA / "tabular" / file, *options, csv=csv, out="whole.csv")
    read = {"header": None, "skipinitialspace": True, "dtype": str, "na_filter": False}
    before, after = pd.read_csv(DATA / "tabular" / file, **read), pd.read_csv("whole.csv", **read)
    names = columns.split(",")
    assert "?" in before.to_numpy()
    assert "?" not in after.to_numpy()
    added = [name for name in range(after.shape[1]) if (after[name] == "").any()]
    kept = after.drop(columns=added)
    kept.columns, before.columns = names, names
    assert (kept.where(before != "?", "?") == before).all(axis=None)


@real
def test_emoji_as_parquet_of_pictures_and_texts(worked):
    images = np.load(DATA / "emoji" / "noto_emoji_rgba72.npz")["images"][:60, ::3, ::3]
    told = pd.read_csv(DATA / "emoji" / "emoji_text.csv")[:60]
    frame = pd.DataFrame(
        {
            "picture": [png(image) for image in images],
            "name": told["emoji_test_name"],
            "keywords": told["cldr_keywords"].str.replace("|", ", "),
            "group": told["subgroup"],
        }
    )
    holes = frame.mask(np.random.default_rng(0).random(frame.shape) < 0.1)
    holes.to_parquet("emoji.parquet", index=False)
    worked("train", "emoji.parquet", "--folder", "run", "--epochs", 1)
    worked("evaluate", "run")
    worked("report", "run")
    worked("impute", "run", "emoji.parquet", "--out", "whole.parquet")
    whole = pd.read_parquet("whole.parquet")
    assert whole.notna().all(axis=None)
    assert whole.dtypes.equals(holes.dtypes)
    assert (whole.where(holes.notna()).fillna("") == holes.fillna("")).all(axis=None)
    assert PIL.Image.open(io.BytesIO(whole["picture"][holes["picture"].isna()].iloc[0])).size == (24, 24)


def test_choices_are_taken_and_settings_can_be_used_again(worked):
    birds().to_csv("birds.csv", index=False)
    options = ["--epochs", 1, "--modality", "species=text:2", "--ignore", "migrates", "--group", "wi"]
    done = worked("train", "birds.csv", *options[:-2])
    assert "text, 2 tokens" in done.stdout
    assert "migrates  left out" in done.stdout
    worked("train", "--config", "runs/birds/settings.yaml", "--folder", "again")
    assert (
        Path("again/model/weights.safetensors").read_bytes()
        == Path("runs/birds/model/weights.safetensors").read_bytes()
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "none.csv"], "none.csv must be a table's file, but does not exist"),
        (["train", "polydigits", "--missing", "?"], "--missing is for a table's file"),
        (["train", "birds.csv", "--columns", "a,b"], "there must be a name for each of the 5 columns"),
        (["train", "birds.csv", "--modality", "specis=label"], "unknown column 'specis'"),
        (["train", "birds.csv", "--modality", "species=lable"], "label, number, log"),
        (["train", "odd.csv", "--modality", "grams=number"], "grams, row 7: the value must be a number; got 'heavy'"),
        (["impute", "nowhere", "birds.csv"], "nowhere must be a run folder"),
    ],
)
def test_a_mistake_is_one_line(run, arguments, said):
    frame = birds()
    frame.to_csv("birds.csv", index=False)
    frame.loc[7, "grams"] = "heavy"
    frame.to_csv("odd.csv", index=False)
    done = run(*arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not Path("runs").exists()


def png(image):
    PIL.Image.fromarray(image).save(file := io.BytesIO(), "PNG")
    return file.getvalue()

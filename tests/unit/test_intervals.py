"""Intervals of imputed numbers: coverage, units, files, and what is refused."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

import polymodal as pm
from polymodal.imputation import extend_arrow_schema, impute_batches
from polymodal.inference.calibration import calibrate
from polymodal.inference.imputer import Imputer
from polymodal.modalities import Label, Vector
from polymodal.models.conformal import MOST, ConformalScores

LEVELS = (0.5, 0.8, 0.9, 0.95)
SMALL = {"latent_dim": 4, "hidden": (16,)}
RNG = np.random.default_rng


def linear(rows, seed):
    """Numbers that depend linearly on three hidden ones, whose noise grows with the first, and a class."""
    generator = RNG(seed)
    codes, loadings = generator.normal(size=(rows, 3)), RNG(7).normal(size=(3, 5))
    noise = generator.normal(size=(rows, 5)) * np.exp(codes[:, :1] / 2) / 2
    frame = pd.DataFrame(codes @ loadings + noise, columns=[*"abcde"]) * 10 + 50
    return frame.assign(kind=np.where(codes[:, 0] > 0, "high", "low"))


def with_holes(frame, seed, share=0.2):
    return frame.mask(RNG(seed).random(frame.shape) < share)


@pytest.fixture(scope="module")
def trained():
    frame = with_holes(linear(3000, 1), 2)
    train = pm.Table.from_frame(frame[:800], say=None)
    validation = pm.Table.from_frame(frame[800:], train.schema, say=None)
    model = pm.build("mac-wae", train.schema.replace(hidden=(16,)), latent_dim=8, hidden=(32,))
    pm.fit(model, train, validation, epochs=6, batch_size=100, learning_rate=3e-3, progress=False)
    return model


@pytest.fixture(scope="module")
def whole():
    return linear(5000, 3)


def covered(made, whole, rows):
    """Shares of the true numbers of imputed cells that are within their intervals, with the numbers of cells."""
    shares = {}
    for name in "abcde":
        imputed = rows & made[f"{name}_low"].notna()
        within = whole[name].between(made[f"{name}_low"], made[f"{name}_high"])
        shares[name] = within[imputed].mean(), imputed.sum()
    return shares


@pytest.mark.parametrize("level", LEVELS)
def test_coverage_on_simulated_data_is_the_level(trained, whole, level):
    holes = with_holes(whole, 4)
    made = pm.impute(trained, holes, interval=level, say=None)
    for name, (share, cells) in covered(made, whole, np.ones(len(whole), bool)).items():
        error = np.sqrt(level * (1 - level) * (1 / cells + 1 / trained.calibration[name].rows))
        assert abs(share - level) < 4 * error, (name, share)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.7])
def test_coverage_holds_where_more_or_fewer_cells_are_missing(trained, whole, share):
    """It is no theorem there, but the expected error grows with the number of missing cells as the errors do."""
    made = pm.impute(trained, with_holes(whole, 5, share), interval=0.9, say=None)
    shares = covered(made, whole, np.ones(len(whole), bool))
    assert np.mean([share for share, _ in shares.values()]) == pytest.approx(0.9, abs=0.03)
    holes = with_holes(whole, 4)
    many = (holes.isna().sum(axis=1) >= 3).to_numpy()
    made = pm.impute(trained, holes, interval=0.9, say=None)
    assert np.mean([share for share, _ in covered(made, whole, many).values()]) == pytest.approx(0.9, abs=0.03)


def test_intervals_nest_and_contain_the_prediction(trained, whole):
    holes = with_holes(whole[:500], 6)
    before = None
    for level in LEVELS:
        made = pm.impute(trained, holes, interval=level, bounds="none", say=None)
        for name in "abcde":
            imputed = made[f"{name}_low"].notna()
            assert (made[name].between(made[f"{name}_low"], made[f"{name}_high"])[imputed]).all()
            if before is not None:
                assert (made[f"{name}_low"] < before[f"{name}_low"])[imputed].all()
                assert (made[f"{name}_high"] > before[f"{name}_high"])[imputed].all()
        before = made


def test_columns_stand_after_their_column_and_cells_that_are_not_imputed_have_none(trained, whole):
    holes = with_holes(whole[:200], 6)
    plain = pm.impute(trained, holes, say=None)
    made = pm.impute(trained, holes, interval=0.9, sure=True, marked=True, say=None)
    assert made.columns.tolist()[:5] == ["a", "a_low", "a_high", "a_sure", "b"]
    assert made.columns.tolist()[-3:] == ["kind", "kind_sure", "filled"]
    pd.testing.assert_frame_equal(made[plain.columns], plain)
    empty = holes["a"].isna() & plain["a"].notna()
    for added in ("a_low", "a_high", "a_sure"):
        assert (made[added].notna() == empty).all()
    pieces = pm.impute(trained, holes, interval=0.9, sure=True, marked=True, batch_size=7, say=None)
    pd.testing.assert_frame_equal(pieces, made, rtol=1e-5)


@pytest.mark.parametrize("rows", [1, 9, 30, MOST])
@pytest.mark.parametrize("level", [0.03, *LEVELS, 0.999])
def test_the_quantile_is_numpys(rows, level):
    errors = RNG(rows).standard_t(3, rows)
    scores = ConformalScores.from_errors(errors, np.zeros(rows), np.zeros(0), np.zeros(0))
    expected = np.quantile(np.abs(errors), level, method="weibull")  # rank (n + 1) level
    unit = float(scores.compute_expected_errors(np.zeros(1))[0])
    assert unit == pytest.approx(np.abs(errors).mean())
    assert scores.compute_quantile(level) * unit == pytest.approx(expected, rel=1e-6)
    assert scores.has_enough_rows(level) == ((rows + 1) * level <= rows)


@pytest.mark.parametrize("level", [*LEVELS, 0.99])
def test_of_many_scores_a_grid_is_kept(level):
    errors = RNG(0).normal(size=10_000)
    scores = ConformalScores.from_errors(errors, np.zeros(10_000), np.zeros(0), np.zeros(0))
    assert (len(scores.scores), scores.rows) == (MOST, 10_000)
    unit = scores.expected[0]
    near = [np.quantile(np.abs(errors), level + shift, method="weibull") for shift in (-1 / MOST, 1 / MOST)]
    assert near[0] <= scores.compute_quantile(level) * unit <= near[1]
    assert scores.deviation * unit == pytest.approx(np.sqrt(np.square(errors).mean()))


@pytest.mark.parametrize("coefficients", [(1, 0, 0), (1, 2, 0), (0.5, 0, 3), (1, 0.5, 2)])
def test_the_expected_error_is_the_one_that_made_the_errors(coefficients):
    shares = RNG(0).integers(0, 9, 500) / 8
    errors = np.stack([np.ones(500), shares, shares**4], 1) @ np.array(coefficients)
    scores = ConformalScores.from_errors(errors[:100], shares[:100], errors[100:], shares[100:])
    assert scores.expected == pytest.approx(coefficients, abs=1e-6)
    assert scores.scores == pytest.approx([1.0] * 100)


def test_an_expected_error_never_falls_and_is_never_negative():
    shares = RNG(0).random(300)
    scores = ConformalScores.from_errors(1 - shares, shares, 1 - shares, shares)
    assert min(scores.expected) >= 0
    assert scores.expected[0] > 0
    zero = ConformalScores.from_errors(np.zeros(3), np.zeros(3), np.zeros(0), np.zeros(0))
    assert (zero.scores, zero.compute_quantile(0.9)) == ((0, 0, 0), 0)


NUMBERS = {
    "grams": Vector(1, center=(190.0,), scale=(25.0,), hidden=(8,)),
    "count": Vector(1, center=(3.0,), scale=(2.0,), hidden=(8,), log=True, limits=((0.0, 30.0),)),
    "kind": Label(2, names=("emu", "owl"), hidden=(8,)),
}
FRAME = pd.DataFrame(
    {
        "grams": [180.0, None, 205.0, 170.5] * 10,
        "count": [3.0, 1.0, None, 8.0] * 10,
        "kind": ["owl", "emu", None, "emu"] * 10,
    }
)


def calibrated(name="mac-wae", scores=(0.5, 1.0, 2.0)):
    """A model whose scores are known; its expected error is 0.1 if nothing is missing."""
    model = pm.build(name, pm.Schema(NUMBERS), **SMALL)
    model.calibration = {name: ConformalScores(3, (0.1, 0.2, 0.0), 1.5, scores) for name in ("grams", "count")}
    return model


def test_ends_are_in_the_units_of_the_table():
    """The quantile of three scores at 0.5 is the second, 1.0; one of two other columns is missing in the third row."""
    model = calibrated()
    made = pm.impute(model, FRAME, interval=0.5, sure=True, bounds="none", say=None)
    width = 0.1 * 25.0
    assert made["grams_high"][1] - made["grams"][1] == pytest.approx(width, rel=1e-4)
    assert made["grams"][1] - made["grams_low"][1] == pytest.approx(width, rel=1e-4)
    assert made["grams_sure"][1] == pytest.approx(1.5 * 0.1 * 25.0, rel=1e-4)
    logs = np.log1p(made.loc[2, ["count_low", "count", "count_high"]].to_numpy(float))
    assert np.diff(logs) == pytest.approx([2 * (0.1 + 0.2 / 2)] * 2, rel=1e-4)
    high, low = (np.expm1(logs[1] + sign * 2 * 1.5 * (0.1 + 0.2 / 2)) for sign in (1, -1))
    assert made["count_sure"][2] == pytest.approx((high - low) / 2, rel=1e-4)


def test_ends_respect_bounds():
    model = calibrated(scores=(0.5, 1.0, 50.0))
    made = {bounds: pm.impute(model, FRAME, interval=0.9, bounds=bounds, say=None) for bounds in ("observed", "none")}
    assert made["observed"]["count_low"][2] == 0.0
    assert made["observed"]["count_high"][2] == 30.0
    assert made["none"]["count_high"][2] > 30.0


def test_a_model_with_samples_keeps_their_deviation_and_intervals_are_those_of_the_mean():
    model = calibrated("mac-vae")
    plain = pm.build("mac-vae", pm.Schema(NUMBERS), **SMALL)
    made = pm.impute(model, FRAME, interval=0.5, sure=True, say=None)
    pd.testing.assert_series_equal(made["grams_sure"], pm.impute(plain, FRAME, sure=True, say=None)["grams_sure"])
    several = pm.impute(model, FRAME, interval=0.5, imputations=2, say=None)
    assert not several[0]["grams"].equals(several[1]["grams"])
    for one in several:
        pd.testing.assert_series_equal(one["grams_low"], made["grams_low"])


def test_a_batch_of_arrow_is_imputed_like_a_frame():
    model = calibrated()
    table = pa.Table.from_pandas(FRAME, preserve_index=False)
    imputer = Imputer(model, interval=0.5)
    fields = extend_arrow_schema(imputer, table.schema, sure=True, marked=True)
    made = pa.Table.from_batches(impute_batches(imputer, table.to_batches(7), fields))
    same = pm.impute(model, FRAME, interval=0.5, sure=True, marked=True, batch_size=7, say=None)
    pd.testing.assert_frame_equal(made.to_pandas(), same)


@pytest.mark.parametrize("kind", ["float32", "Int64", "object", "str"])
def test_ends_have_the_type_of_their_column(kind):
    model = calibrated()
    frame = FRAME.assign(grams=FRAME["grams"].round().astype("Int64" if kind == "Int64" else "float64").astype(kind))
    if kind == "str":
        frame["grams"] = [None if cell != cell else f"{cell:.1f}" for cell in FRAME["grams"]]
    made = pm.impute(model, frame, interval=0.5, say=None)
    assert made["grams_low"].dtype == made["grams"].dtype
    assert made["grams_low"].notna().sum() == frame["grams"].isna().sum()
    assert float(made["grams_low"][1]) <= float(made["grams"][1]) <= float(made["grams_high"][1])


def test_dates_have_dates_as_ends():
    days = pd.date_range("2021-03-01", periods=40).to_series(index=range(40)).mask(np.arange(40) % 4 == 1)
    frame = pd.DataFrame({"day": days, "x": np.arange(40.0)})
    table = pm.Table.from_frame(frame, pm.Schema({"day": Vector(1), "x": Vector(1)}), say=None)
    model = pm.build("mac-wae", table.schema, **SMALL)
    calibrate(model, table)
    made = pm.impute(model, frame, interval=0.9, say=None)
    assert made["day_low"].dtype == days.dtype
    assert (made["day_low"] < made["day"])[days.isna()].all()
    assert (made["day"] < made["day_high"])[days.isna()].all()


def test_scores_are_those_of_predictions_from_the_other_columns(trained, whole):
    holes = with_holes(whole[:300], 8)
    table = pm.Table.from_frame(holes, trained.schema, say=None)
    model = pm.build("mac-wae", table.schema.replace(hidden=(16,)), latent_dim=8, hidden=(32,))
    model.load_state_dict(trained.state_dict())
    calibrate(model, table)
    for name in "ab":
        scores, rows = model.calibration[name], holes[name].notna() & (holes.notna().sum(axis=1) > 1)
        predicted = pm.impute(model, holes[rows].assign(**{name: np.nan}), bounds="none", say=None)[name]
        errors = (predicted - holes[name][rows]).abs().to_numpy() / model.schema[name].scale[0]
        missing = holes[rows].drop(columns=name).isna().sum(axis=1).to_numpy() / (len(model.schema) - 1)
        expected = np.sort(errors / scores.compute_expected_errors(missing))
        assert scores.rows == len(expected)
        np.testing.assert_allclose(scores.scores, expected, atol=1e-4)


def test_calibration_does_not_change_random_states(trained, whole):
    table = pm.Table.from_frame(whole[:50], trained.schema, say=None)
    before = torch.get_rng_state()
    first = calibrate(trained_copy := pm.build("mac-wae", table.schema, **SMALL), table) or trained_copy.calibration
    assert torch.equal(torch.get_rng_state(), before)
    calibrate(trained_copy, table)
    assert trained_copy.calibration == first


def test_training_calibrates_and_files_keep_it(tmp_path, whole):
    frame = with_holes(whole[:80], 9)
    train = pm.Table.from_frame(frame[:50], say=None)
    validation = pm.Table.from_frame(frame[50:], train.schema, say=None)
    run = {"epochs": 2, "batch_size": 16, "folder": tmp_path / "run", "progress": False}
    model = pm.build("mac-wae", train.schema, **SMALL)
    pm.fit(model, train, validation, **run)
    assert {*model.calibration} == {*"abcde"}
    loaded = pm.load(tmp_path / "run" / "model")
    assert loaded.calibration == model.calibration
    pd.testing.assert_frame_equal(
        pm.impute(loaded, frame, interval=0.8, say=None), pm.impute(model, frame, interval=0.8, say=None)
    )
    assert pm.load(loaded.save(tmp_path / "copy")).calibration == model.calibration
    content = (tmp_path / "run" / "model" / "model.json").read_bytes()
    pm.fit(pm.build("mac-wae", train.schema, **SMALL), train, validation, resume=True, **run)
    assert (tmp_path / "run" / "model" / "model.json").read_bytes() == content
    longer = pm.build("mac-wae", train.schema, **SMALL)
    pm.fit(longer, train, validation, resume=True, **run | {"epochs": 5})
    assert pm.load(tmp_path / "run" / "model").calibration == longer.calibration != model.calibration


def test_a_model_without_numbers_has_no_calibration_and_needs_none():
    frame = pd.DataFrame({"kind": ["owl", "emu", None] * 9, "tame": [True, None, False] * 9})
    table = pm.Table.from_frame(frame, say=None)
    model = pm.build("mac-wae", table.schema, **SMALL)
    calibrate(model, table)
    assert model.calibration is None
    made = pm.impute(model, frame, interval=0.9, sure=True, say=None)
    assert made.columns.tolist() == ["kind", "kind_sure", "tame", "tame_sure"]


def test_what_is_refused():
    model = calibrated()
    for level in (0, 1, -0.5, 90):
        with pytest.raises(ValueError, match=rf"interval.*{level}"):
            pm.impute(model, FRAME, interval=level)
    with pytest.raises(TypeError, match="interval"):
        pm.impute(model, FRAME, interval="0.9")
    with pytest.raises(ValueError, match=r"interval.*given"):
        pm.impute(model, FRAME, given=["kind"], interval=0.9)
    with pytest.raises(ValueError, match=r"calibrate\(model, validation\)"):
        pm.impute(pm.build("mac-wae", pm.Schema(NUMBERS), **SMALL), FRAME, interval=0.9)
    with pytest.raises(ValueError, match="grams_low"):
        pm.impute(model, FRAME.assign(grams_low=1.0), interval=0.9)


def test_too_few_validation_rows_are_reported():
    messages = []
    model = calibrated()
    pm.impute(model, FRAME, interval=0.75, say=messages.append)
    assert not [message for message in messages if "interval" in message]
    widest = pm.impute(model, FRAME, interval=0.9, bounds="none", say=messages.append)
    assert [message for message in messages if "'grams'" in message and "9 validation rows" in message]
    assert widest["grams_high"][1] - widest["grams"][1] == pytest.approx(2.0 * 0.1 * 25.0, rel=1e-4)
    del model.calibration["grams"]
    made = pm.impute(model, FRAME, interval=0.75, say=messages.append)
    assert [message for message in messages if "'grams' has no intervals" in message]
    assert made["grams_low"].isna().all()


ENTRY = {"rows": 3, "expected": [0.1, 0.2, 0.0], "deviation": 1.0, "scores": [0.5, 1.0, 2.0]}
HOSTILE = {
    "list": ([], "calibration must be dict"),
    "unknown column": ({"weight": ENTRY}, "weight"),
    "no object": ({"grams": [1.0]}, "calibration of 'grams'"),
    "unknown entry": ({"grams": {**ENTRY, "row": 3}}, "'row'"),
    "no scores": ({"grams": {"rows": 3}}, "expected in the calibration of 'grams'"),
    "huge rows": ({"grams": {**ENTRY, "rows": 10**30}}, "rows in the calibration of 'grams'"),
    "true rows": ({"grams": {**ENTRY, "rows": True, "scores": [1.0]}}, "rows in the calibration of 'grams'"),
    "other rows": ({"grams": {**ENTRY, "rows": 4}}, "scores in the calibration of 'grams'"),
    "negative": ({"grams": {**ENTRY, "scores": [-1.0, 0.0, 1.0]}}, "scores in the calibration of 'grams'"),
    "falling": ({"grams": {**ENTRY, "scores": [2.0, 1.0, 3.0]}}, "scores in the calibration of 'grams'"),
    "text": ({"grams": {**ENTRY, "scores": ["a", "b", "c"]}}, "scores in the calibration of 'grams'"),
    "not finite": ({"grams": {**ENTRY, "scores": [0.0, 1.0, float("inf")]}}, "calibration of 'grams'|Infinity|finite"),
    "no error": ({"grams": {**ENTRY, "expected": [0.0, 0.0, 0.0]}}, "expected in the calibration of 'grams'"),
    "negative deviation": ({"grams": {**ENTRY, "deviation": -1}}, "deviation in the calibration of 'grams'"),
}


@pytest.mark.parametrize(("calibration", "why"), HOSTILE.values(), ids=[*HOSTILE])
def test_hostile_calibrations_are_refused(tmp_path, calibration, why):
    file = calibrated().save(tmp_path / "model") / "model.json"
    document = json.loads(file.read_text())
    assert pm.load(file.parent).calibration == calibrated().calibration
    file.write_text(json.dumps({**document, "calibration": calibration}))
    with pytest.raises(ValueError, match=why) as error:
        pm.load(file.parent)
    assert "\n" not in str(error.value)

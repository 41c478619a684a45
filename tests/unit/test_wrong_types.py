"""Public functions refuse what is of a wrong type in one sentence: what must be there, what came, and what to do."""

import traceback
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import polymodal as pm
from polymodal.modalities import Audio, Image, Label, Text, Vector

FRAME = pd.DataFrame(
    {"kind": ["oak", "elm", "ash"] * 4, "height": np.arange(12) / 7, "rings": [3, 5, 8, 1, 9, 2, 3, 5, 8, 1, 9, 2]}
)
TABLE = pm.Table.from_frame(FRAME, say=None)
SCHEMA = TABLE.schema.replace(hidden=(4,))
MODEL = pm.build("mac-vae", SCHEMA, latent_dim=2, hidden=(4,))
FIT = {"epochs": 1, "progress": False}
VALUES = {
    "None": None,
    "int": 3,
    "float": 1.5,
    "str": "height",
    "bytes": b"x",
    "list": [1, 2],
    "dict": {"height": [1.0]},
    "set": {1},
    "Series": FRAME["height"],
    "array": FRAME[["height"]].to_numpy(),
    "Tensor": torch.ones(3, 2),
    "DataFrame": FRAME,
    "Table": TABLE,
    "Batch": TABLE[:3],
    "Model": MODEL,
    "Schema": SCHEMA,
    "function": lambda: 0,
    "class": pm.Table,
    "Path": Path("absent"),
    "object": object(),
    "bool": True,
}
CALLS = {
    "build(name)": lambda x: pm.build(x, SCHEMA, latent_dim=2),
    "build(schema)": lambda x: pm.build("mac-wae", x, latent_dim=2),
    "build(seed)": lambda x: pm.build("mac-wae", SCHEMA, latent_dim=2, seed=x),
    "build(latent_dim)": lambda x: pm.build("mac-wae", SCHEMA, latent_dim=x),
    "fit(model)": lambda x: pm.fit(x, TABLE, TABLE, **FIT),
    "fit(train)": lambda x: pm.fit(MODEL, x, TABLE, **FIT),
    "fit(validation)": lambda x: pm.fit(MODEL, TABLE, x, **FIT),
    "fit(epochs)": lambda x: pm.fit(MODEL, TABLE, TABLE, epochs=x, progress=False),
    "evaluate(model)": lambda x: pm.evaluate(x, TABLE, tasks=["reconstruction"]),
    "evaluate(table)": lambda x: pm.evaluate(MODEL, x, tasks=["reconstruction"]),
    "evaluate(tasks)": lambda x: pm.evaluate(MODEL, TABLE, tasks=x),
    "evaluate(batch_size)": lambda x: pm.evaluate(MODEL, TABLE, tasks=["reconstruction"], batch_size=x),
    "impute(model)": lambda x: pm.impute(x, FRAME, say=None),
    "impute(frame)": lambda x: pm.impute(MODEL, x, say=None),
    "impute(given)": lambda x: pm.impute(MODEL, FRAME, given=x, say=None),
    "impute(to)": lambda x: pm.impute(MODEL, FRAME, to=x, say=None),
    "impute(batch_size)": lambda x: pm.impute(MODEL, FRAME, batch_size=x, say=None),
    "impute(imputations)": lambda x: pm.impute(MODEL, FRAME, imputations=x, say=None),
    "impute(root)": lambda x: pm.impute(MODEL, FRAME, root=x, say=None),
    "impute(unreadable)": lambda x: pm.impute(MODEL, FRAME, unreadable=x, say=None),
    "impute(seed)": lambda x: pm.impute(MODEL, FRAME, seed=x, say=None),
    "load(folder)": lambda x: pm.load(x),
    "datasets.load(name)": lambda x: pm.datasets.load(x),
    "translate(batch)": lambda x: MODEL.translate(x),
    "translate(given)": lambda x: MODEL.translate(TABLE[:3], given=x),
    "translate(to)": lambda x: MODEL.translate(TABLE[:3], to=x),
    "translate(samples)": lambda x: MODEL.translate(TABLE[:3], samples=x),
    "predict(batch)": lambda x: MODEL.predict(x),
    "embed(batch)": lambda x: MODEL.embed(x),
    "embed(given)": lambda x: MODEL.embed(TABLE[:3], given=x),
    "reconstruct(batch)": lambda x: MODEL.reconstruct(x),
    "sample(n)": lambda x: MODEL.sample(x),
    "sample(to)": lambda x: MODEL.sample(2, to=x),
    "Schema(modalities)": lambda x: pm.Schema(x),
    "Schema(groups)": lambda x: pm.Schema({"a": Vector(1), "b": Vector(1)}, groups=x),
    "Schema.infer(frame)": lambda x: pm.Schema.infer(x, say=None),
    "Schema.infer(modalities)": lambda x: pm.Schema.infer(FRAME, modalities=x, say=None),
    "Schema.infer(ignore)": lambda x: pm.Schema.infer(FRAME, ignore=x, say=None),
    "Schema.infer(groups)": lambda x: pm.Schema.infer(FRAME, groups=x, say=None),
    "Schema.batch(values)": lambda x: SCHEMA.batch(x),
    "Schema.mask(names)": lambda x: SCHEMA.mask(x),
    "Schema.index(name)": lambda x: SCHEMA.index(x),
    "Schema.write(values)": lambda x: SCHEMA.write(x),
    "Schema.require(other)": lambda x: SCHEMA.require(x, "train"),
    "Schema.from_json(document)": lambda x: pm.Schema.from_json(x),
    "Table(values)": lambda x: pm.Table(x, TABLE.observed, SCHEMA),
    "Table(observed)": lambda x: pm.Table(TABLE.values, x, SCHEMA),
    "Table(schema)": lambda x: pm.Table(TABLE.values, TABLE.observed, x),
    "Table.from_frame(frame)": lambda x: pm.Table.from_frame(x, say=None),
    "Table.from_frame(schema)": lambda x: pm.Table.from_frame(FRAME, x, say=None),
    "Table.from_csv(path)": lambda x: pm.Table.from_csv(x, say=None),
    "Table.from_parquet(path)": lambda x: pm.Table.from_parquet(x, say=None),
    "Table.from_arrow(table)": lambda x: pm.Table.from_arrow(x, say=None),
    "Table.from_dataset(dataset)": lambda x: pm.Table.from_dataset(x, say=None),
    "Table.batches(batch_size)": lambda x: list(TABLE.batches(x)),
    "Table.first(rows)": lambda x: TABLE.first(x),
    "Vector(size)": Vector,
    "Vector(center)": lambda x: Vector(1, center=x),
    "Vector(cost)": lambda x: Vector(1, cost=x),
    "Label(classes)": Label,
    "Label(names)": lambda x: Label(2, names=x),
    "Text(length)": lambda x: Text(x, ("a",)),
    "Text.learn(texts)": Text.learn,
    "Image(channels)": lambda x: Image(x, 8, 8),
    "Audio(frames)": lambda x: Audio(x, 8),
}


def raw(call, value, what):
    """An error that is another library's, or names no rule; None where there is none."""
    try:
        with warnings.catch_warnings(action="ignore"):
            call(value)
    except Exception as error:
        last = Path(traceback.extract_tb(error.__traceback__)[-1].filename)
        ours = isinstance(error, TypeError | ValueError | OSError) and Path(pm.__file__).parent in last.parents
        plain = " must " in str(error) or str(error).startswith("unknown ")
        return None if ours and plain else f"{what}: {type(error).__name__}: {error}"
    return None


@pytest.mark.parametrize("call", CALLS)
def test_wrong_types_are_refused_in_a_sentence(call, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert [said for kind, value in VALUES.items() if (said := raw(CALLS[call], value, f"{call} of {kind}"))] == []


@pytest.mark.parametrize("call", ["fit(train)", "impute(frame)", "Schema.infer(frame)", "Table.from_frame(frame)"])
@pytest.mark.parametrize("kind", ["None", "str", "list", "dict", "Series", "array", "Tensor", "Model"])
def test_what_is_no_table_names_what_is_expected_and_given(call, kind):
    with pytest.raises(TypeError) as error:
        CALLS[call](VALUES[kind])
    said = str(error.value)
    assert "must be a Table" in said or "must be a pandas data frame" in said
    assert f"got {type(VALUES[kind]).__name__}; " in said or f"got {VALUES[kind]!r}; " in said


def test_a_series_is_told_how_to_be_a_frame():
    with pytest.raises(TypeError, match=r"got Series; pass .to_frame\(\) of it, or frame\[\[name\]\]"):
        pm.impute(MODEL, FRAME["height"])


def test_a_map_style_data_set_is_read():
    class Rows:
        def __len__(self) -> int:
            return 3

        def __getitem__(self, row: int) -> dict[str, float]:
            return {"height": [1.5, 2.0, 7.25][row]}

    assert len(pm.Table.from_dataset(Rows(), say=None)) == 3


@pytest.mark.parametrize(
    "call",
    [
        lambda x: pm.build("mac-wae", SCHEMA, latent_dim=x),
        lambda x: pm.fit(MODEL, TABLE, TABLE, epochs=x, progress=False),
        lambda x: pm.evaluate(MODEL, TABLE, batch_size=x),
        lambda x: pm.impute(MODEL, FRAME, imputations=x),
        lambda x: pm.impute(MODEL, FRAME.astype(object).assign(height=[x * 1j] * 12)),
        lambda x: Vector(x),
        lambda x: Label(2, names=("a", "b")).read(x),
        lambda x: pm.Schema.infer(pd.DataFrame({"x": [x] * 9}), say=None),
    ],
)
@pytest.mark.parametrize("number", [np.float64(2.5), np.float32(2.5), np.float64(-2.5)])
def test_no_message_shows_numbers_as_numpy_does(call, number):
    with pytest.raises((TypeError, ValueError)) as error:
        call(number)
    assert "np." not in str(error.value)
    assert "numpy" not in str(error.value)

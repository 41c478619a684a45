"""What lies under False changes nothing that training, evaluation or imputation computes, for each table."""

import io
import os
from pathlib import Path

import numpy as np
import pandas as pd
import PIL.Image
import pytest
import torch

from polymodal import Schema, Table, build, evaluate, fit, impute
from polymodal.inference.streaming import embed
from polymodal.table import frames
from polymodal.table.frames import Reader

DATA = Path(os.environ.get("POLYMODAL_DATA", Path(__file__).parents[3] / "shared" / "data"))
ROWS = 60


def png(image):
    PIL.Image.fromarray(image).save(file := io.BytesIO(), "PNG")
    return file.getvalue()


def made():
    generator = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "kind": generator.choice(["owl", "emu"], ROWS),
            "grams": generator.normal(size=ROWS),
            "curve": [generator.normal(size=3).tolist() for _ in range(ROWS)],
            "note": [" ".join(generator.choice(["a", "red", "bird", "sings"], 3)) for _ in range(ROWS)],
        }
    )
    return frame.mask(generator.random(frame.shape) < 0.3)


def csv(name, columns=None):
    return frames.read_csv(DATA / "tabular" / name, columns and [f"c{i}" for i in range(columns)], ["?"])


def emoji():
    images = np.load(DATA / "emoji" / "noto_emoji_rgba72.npz")["images"][:ROWS, ::6, ::6]
    told = pd.read_csv(DATA / "emoji" / "emoji_text.csv")[:ROWS]
    frame = pd.DataFrame({"picture": [png(image) for image in images], "name": told["emoji_test_name"]})
    frame["group"] = told["subgroup"]
    return frame.mask(np.random.default_rng(0).random(frame.shape) < 0.2)


TABLES = {
    "made": made,
    "penguins": lambda: csv("penguins.csv"),
    "cars": lambda: csv("auto_imports.csv", 26),
    "adult": lambda: csv("adult_train.csv", 15),
    "emoji": emoji,
}


@pytest.fixture(params=TABLES)
def frame(request):
    if request.param != "made" and not DATA.is_dir():
        pytest.skip(f"{DATA} has no tables")
    every = TABLES[request.param]()
    lacking = every.index[every.isna().any(axis=1)][: ROWS // 2]
    whole = every.index.difference(lacking)[: ROWS - len(lacking)]
    return every.loc[[*lacking, *whole]].reset_index(drop=True)


def scramble(values, observed, schema):
    """Anything under False."""
    scrambled = {}
    for column, name in enumerate(schema):
        value = values[name].clone()
        odd = torch.nan if value.is_floating_point() else 211 if value.dtype == torch.uint8 else 10**6
        value[~observed[:, column]] = odd
        scrambled[name] = value
    return scrambled


def test_what_lies_under_false_changes_nothing(frame, monkeypatch):
    table = Table.from_frame(frame, Schema.infer(frame, say=None), say=None)
    assert not table.observed.all()
    other = Table(scramble(table.values, table.observed, table.schema), table.observed, table.schema)
    seen = []
    for rows in (table, other):
        model = build("mac-vae", table.schema.replace(hidden=(8,)), latent_dim=4, hidden=(8,))
        fit(model, rows, rows, epochs=2, batch_size=40, device="cpu", progress=False)
        codes = torch.cat([code for _, code in embed(model, rows)])
        seen.append((model.state_dict(), evaluate(model, rows), codes))
    (weights, scores, codes), (others, same, equal) = seen
    assert all(torch.equal(weight, others[name]) for name, weight in weights.items())
    pd.testing.assert_frame_equal(scores, same)
    assert torch.equal(codes, equal)

    filled, read = impute(model, frame, sure=True), Reader.read

    def scrambled(self, piece):
        batch = read(self, piece)
        return type(batch)(scramble(batch.values, batch.observed, self.schema), batch.observed)

    monkeypatch.setattr(Reader, "read", scrambled)
    pd.testing.assert_frame_equal(impute(model, frame, sure=True), filled)

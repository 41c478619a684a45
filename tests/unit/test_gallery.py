"""What translations leave in a folder, for every kind of modality and rows that lack some."""

import csv
import json
from pathlib import Path

import pandas as pd
import PIL.Image
import pytest
import torch
from conftest import draw, rows_of

from polymodal.cli import input_rows, output_folder, predict, stream_predictions
from polymodal.cli.contact_sheet import draw_contact_sheet
from polymodal.cli.predictions import Predictions
from polymodal.inference.streaming import embed
from polymodal.modalities import Image, Label, Vector
from polymodal.models import build
from polymodal.schema import Schema
from polymodal.table.table import Table

NAMES = ["../a/b.png", "table.csv", "made.json", "größe 1", "x" * 40]


@pytest.fixture
def made(schema):
    batch = rows_of(schema, 7, complete=False)
    values = {name: draw(modality, 14, 3).unflatten(0, (2, 7)) for name, modality in schema.items()}
    return Predictions(schema, [4, 9, 1, 0, 22, 6, 8], values, batch, batch.observed & schema.mask(["text"]))


def test_the_table_holds_what_is_no_picture_and_nothing_where_there_is_none(made, tmp_path):
    output_folder.write_output_folder(tmp_path / "out", made, {})
    with (tmp_path / "out" / "table.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 14
    assert {path.name for path in (tmp_path / "out").iterdir() if path.is_dir()} == {"audio", "image"}
    for number, row in enumerate(rows):
        place, draws = divmod(number, 2)
        assert (row["row"], row["draw"]) == (str(made.rows[place]), str(draws))
        assert row["label"] == str(int(made.values["label"][draws, place]))
        assert row["text"] == made.schema["text"].write(made.values["text"][draws, place])
        assert json.loads(row["vector"]) == made.schema["vector"].write(made.values["vector"][draws, place]).tolist()
        for name in ("label", "text", "vector"):
            known = made.true_value(name, place) is not None
            assert bool(row[f"{name}_truth"]) == known or name == "text"
    pictures = sorted(path.name for path in (tmp_path / "out" / "image").iterdir())
    assert pictures == sorted(f"{row}-{draw}.png" for row in made.rows for draw in range(2))


@pytest.mark.parametrize("modalities", [1, 5])
def test_a_sheet_of_many_samples_is_no_wider_than_a_screen(modalities):
    schema = Schema({f"m{one}": Image(3, 28, 28) for one in range(modalities)})
    batch, count = rows_of(schema, 3, complete=True), 4
    values = {name: torch.rand(count, 3, 3, 28, 28) for name in schema}
    widths = [
        draw_contact_sheet(Predictions(schema, [0, 1, 2], {name: x[:some] for name, x in values.items()}, batch)).width
        for some in (1, count)
    ]
    assert max(widths) <= 1920
    if modalities == 1:
        assert widths[1] >= 5 * 84  # few images are not made smaller


@pytest.mark.parametrize("names", [NAMES, NAMES[::-1]])
def test_a_modality_may_have_any_name(tmp_path, names):
    schema = Schema({name: Image(1, 5, 4) for name in names})
    values = {name: torch.rand(1, 2, 1, 5, 4) for name in schema}
    output_folder.write_output_folder(tmp_path / "out", Predictions(schema, [0, 1], values), {})
    folders = [path for path in (tmp_path / "out").iterdir() if path.is_dir()]
    assert len(folders) == len(names)
    assert all(len(list(folder.iterdir())) == 2 for folder in folders)
    assert len(list(tmp_path.iterdir())) == 1
    output_folder.write_output_folder(
        tmp_path / "out", Predictions(schema, [0], {names[0]: values[names[0]][:, :1]}), {}
    )
    assert len([path for path in (tmp_path / "out").iterdir() if path.is_dir()]) == 1


def test_a_failure_leaves_the_earlier_folder(made, tmp_path, monkeypatch):
    output_folder.write_output_folder(tmp_path / "out", made, {})
    before = {path: path.is_dir() or path.read_bytes() for path in (tmp_path / "out").rglob("*")}

    def fail(table):
        raise OSError("no space left")

    monkeypatch.setattr(output_folder, "_csv", fail)
    with pytest.raises(OSError, match="no space"):
        output_folder.write_output_folder(tmp_path / "out", made, {})
    assert before == {path: path.is_dir() or path.read_bytes() for path in (tmp_path / "out").rglob("*")}
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("name", ["thesis.tex", "image/mine.png", "empty"])
def test_a_folder_with_something_else_is_left_alone(made, tmp_path, name):
    out = tmp_path / "out"
    output_folder.write_output_folder(out, made, {})
    (out / name).mkdir() if name == "empty" else (out / name).write_text("years")
    with pytest.raises(ValueError, match=f"it holds {name}"):
        output_folder.write_output_folder(out, made, {})
    assert (out / name).exists()
    with pytest.raises(ValueError, match="it is a file"):
        output_folder.write_output_folder(out / "table.csv", made, {})


@pytest.mark.parametrize("files", [5, [5], {"a": 1}, None])
def test_a_damaged_record_is_named(tmp_path, files):
    (tmp_path / "made.json").write_text(json.dumps({"files": files}))
    with pytest.raises(
        ValueError, match=r"made.json must have a list of file names as files; got .*; restore or remove it"
    ):
        output_folder.refuse_foreign_files(tmp_path)


@pytest.mark.parametrize("content", [b"", b"PAR", b'{"fit": 1}'])
def test_codes_take_the_place_of_codes_alone(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)  # there is no run: the file is looked at before
    (tmp_path / "mine").write_bytes(content)
    with pytest.raises(ValueError, match="mine must be a Parquet file that this command wrote"):
        stream_predictions.embed_to_parquet(tmp_path, out=tmp_path / "mine")
    for folder in (".", tmp_path):
        with pytest.raises(ValueError, match=r"--out must be a file, and .* is a folder; use --out .*/?codes.parquet"):
            stream_predictions.embed_to_parquet(tmp_path, out=Path(folder))
    with pytest.raises(OSError, match=r"mine must be a writable folder: .*; free disk space, .* another --out"):
        stream_predictions.embed_to_parquet(tmp_path, out=tmp_path / "mine" / "x.parquet")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_the_sheet_has_a_column_for_what_is_given_made_and_true(made):
    columns = (
        draw_contact_sheet(made),
        draw_contact_sheet(made._replace(given=None)),
        draw_contact_sheet(made._replace(given=None, truth=None)),
    )
    widths = [page.width for page in columns]
    assert widths == sorted(widths, reverse=True)
    assert len({*widths}) == 3
    small = draw_contact_sheet(made._replace(values={"label": made.values["label"]}, given=None))
    assert isinstance(small, PIL.Image.Image)
    assert small.size < columns[0].size


def test_codes_are_those_of_the_rows_that_have_something(schema):
    model = build("mac-wae", schema, latent_dim=5, hidden=(8,))
    batch = rows_of(schema, 23, complete=False)
    table = Table(batch.values, batch.observed, schema)
    has = batch.observed[:, [schema.index("label"), schema.index("text")]].any(1)
    rows, z = map(torch.cat, zip(*embed(model, table, ["label", "text"], 4), strict=True))
    assert rows.tolist() == has.nonzero().squeeze(1).tolist()
    assert len(rows) < 23
    torch.testing.assert_close(z, model.embed(table[has], ["label", "text"]))
    assert torch.cat([rows for rows, _ in embed(model, table)]).tolist() == list(range(23))


@pytest.fixture
def run(monkeypatch):
    """A run on rows that lack some: labels with names, and one that few rows have."""
    schema = Schema({"size": Vector(2), "kind": Label(3, names=("a", "b", "c")), "odd, name": Label(2)})
    observed = torch.tensor([[1, 1, 0], [0, 1, 0], [1, 0, 0], [1, 1, 1]]).bool()
    values = {"size": torch.rand(4, 2), "kind": torch.tensor([0, 2, -1, 1]), "odd, name": torch.tensor([-1, -1, -1, 1])}
    table, model = Table(values, observed, schema), build("mac-wae", schema, latent_dim=3, hidden=(8,))
    monkeypatch.setattr(input_rows, "open_tables", lambda *_, **__: [table])
    monkeypatch.setattr(input_rows, "choose_split", lambda folder: "test")
    for place in (predict, stream_predictions):
        monkeypatch.setattr(place, "open_model", lambda folder, device: model)
    return table, model


def test_codes_have_labels_beside_them_where_there_are_any(run, tmp_path):
    for _ in range(2):  # the second replaces the first
        assert stream_predictions.embed_to_parquet(
            tmp_path, out=tmp_path / "x" / "codes.parquet", given=["size"], overwrite=True
        ) == (3, 1)
    codes = pd.read_parquet(tmp_path / "x" / "codes.parquet")
    assert codes.columns.tolist() == ["row", "z0", "z1", "z2", "kind", "odd, name"]
    assert codes["row"].tolist() == [0, 2, 3]
    assert codes["kind"].fillna("").tolist() == ["a", "", "b"]
    assert codes["odd, name"].isna().tolist() == [True, True, False]
    assert len(list((tmp_path / "x").iterdir())) == 1


def test_a_row_that_has_nothing_of_what_is_given_is_named_by_its_number(run, tmp_path):
    with pytest.raises(
        ValueError, match=r"row 2 observes only size, and given are kind, odd, name; leave it out of --rows"
    ):
        predict.translate_to_folder(tmp_path, given=["kind", "odd, name"], rows="1:3", out=tmp_path / "out")
    assert not list(tmp_path.iterdir())
    predict.translate_to_folder(tmp_path, given=["kind"], to=["odd, name"], rows="3,0:2", out=tmp_path / "out")
    assert (tmp_path / "out" / "table.csv").read_text().startswith('row,"odd, name","odd, name_truth"\n3,')


@pytest.mark.parametrize(
    ("texts", "names"),
    [
        ([], ["size", "kind", "odd, name"]),
        (["kind,size"], ["kind", "size"]),
        (["odd, name", "size,size"], ["odd, name", "size"]),
    ],
)
def test_names_are_separated_by_commas_unless_a_comma_is_theirs(run, texts, names):
    assert input_rows.parse_modality_names(texts, run[0].schema) == names

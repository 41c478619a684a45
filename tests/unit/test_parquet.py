"""Files of answers that are written as they come: what they hold, and what is left where writing fails."""

import io

import pandas as pd
import PIL.Image
import pyarrow.parquet as pq
import pytest
import torch
from conftest import rows_of

from polymodal.cli import input_rows, parquet_output, stream_predictions
from polymodal.inference import streaming
from polymodal.modalities import Label, Vector
from polymodal.models import build
from polymodal.schema import Schema
from polymodal.table.table import Table


@pytest.fixture
def run(monkeypatch, schema):
    """A run on rows that lack some; a label with names, and a vector of one number, beside one of each modality."""
    schema = Schema({**schema, "kind": Label(3, names=("a", "b", "c")), "size": Vector(1, center=(5.0,), scale=(2.0,))})
    batch = rows_of(schema, 23, complete=False)
    table, model = Table(batch.values, batch.observed, schema), build("mac-wae", schema, latent_dim=3, hidden=(8,))
    monkeypatch.setattr(input_rows, "open_tables", lambda *_, **__: [table])
    monkeypatch.setattr(input_rows, "choose_split", lambda folder: "test")
    monkeypatch.setattr(stream_predictions, "open_model", lambda folder, device: model)
    return table, model


def test_a_file_holds_what_the_schema_writes(run, tmp_path):
    table, model = run
    has = (table.observed & table.schema.mask(["text", "kind"])).any(1)
    written, left_out = int(has.sum()), int((~has).sum())
    out = tmp_path / "new" / "made.parquet"
    counts = stream_predictions.translate_to_parquet(tmp_path, out=out, given=["text,kind"], batch_size=5)
    assert counts == (written, left_out)
    assert left_out > 0
    frame = pd.read_parquet(out)
    expected = model.schema.write(model.translate(table[has], ["text", "kind"]))
    assert frame.columns.tolist() == ["row", *model.schema]
    assert frame["row"].tolist() == has.nonzero().squeeze(1).tolist()
    for name in ("label", "text", "kind"):
        assert frame[name].tolist() == expected[name]
    assert set(frame["kind"]) <= {"a", "b", "c"}
    for made, value in zip(frame["size"], expected["size"], strict=True):
        assert made == pytest.approx(float(value), abs=1e-5)
    for made, value in zip(frame["vector"], expected["vector"], strict=True):
        assert made.tolist() == pytest.approx(value.tolist(), abs=1e-5)
    for made, value in zip(frame["audio"], expected["audio"], strict=True):
        assert [row.tolist() for row in made] == [pytest.approx(row, abs=1e-5) for row in value.tolist()]
    for made, picture in zip(frame["image"], expected["image"], strict=True):
        with PIL.Image.open(io.BytesIO(made)) as file:
            difference = torch.tensor(list(file.tobytes())) - torch.tensor(list(picture.tobytes()))
            assert (file.format, file.size) == ("PNG", picture.size)
            assert difference.abs().max() <= 1  # a rounding
    assert pq.ParquetFile(out).num_row_groups == 5
    assert [path.name for path in out.parent.iterdir()] == ["made.parquet"]


def test_rows_and_modalities_are_those_asked_for(run, tmp_path):
    out = tmp_path / "made.parquet"
    for rows, expected in (("3,5,0", [3, 5, 0]), ("4:6", [4, 5])):  # the second replaces the first
        options = {"to": ["kind", "size"], "rows": rows, "batch_size": 2, "overwrite": True}
        assert stream_predictions.translate_to_parquet(tmp_path, out=out, **options) == (len(expected), 0)
        frame = pd.read_parquet(out)
        assert frame.columns.tolist() == ["row", "kind", "size"]
        assert frame["row"].tolist() == expected


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
@pytest.mark.parametrize("command", ["translate", "embed"])
def test_a_failure_leaves_what_was_there(run, tmp_path, monkeypatch, command, error):
    out = tmp_path / "made.parquet"
    call = getattr(stream_predictions, f"{command}_to_parquet")
    call(tmp_path, out=out)
    before, steps = out.read_bytes(), []
    whole = getattr(streaming, command)

    def failing(*arguments, **named):
        for part in whole(*arguments, **named):
            yield part
            steps.append(sorted(path.suffix for path in tmp_path.iterdir()))
            assert out.read_bytes() == before  # a process that is killed here leaves the earlier file
            if len(steps) == 2:
                raise error("stop")

    monkeypatch.setattr(streaming, command, failing)
    with pytest.raises(error):
        call(tmp_path, out=out, batch_size=5, overwrite=True)
    assert steps == [[".lock", ".parquet", ".partial"]] * 2
    assert out.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["made.parquet"]


def test_a_modality_may_not_be_called_like_a_column_of_the_file():
    schema = Schema({"row": Label(2), "z0": Vector(2)})
    with pytest.raises(ValueError, match="must not have the name of another column of the file; got 'row'; rename"):
        parquet_output.make_arrow_schema(schema, ["z0", "row"], {"row": None})


def test_a_file_that_is_not_parquet_is_left_alone(run, tmp_path):
    out = tmp_path / "mine.parquet"
    out.write_text("years")
    with pytest.raises(ValueError, match=r"mine.parquet must be a Parquet file that this command wrote"):
        stream_predictions.translate_to_parquet(tmp_path, out=out)
    with pytest.raises(ValueError, match=r"is a folder; use --out .*translations.parquet"):
        stream_predictions.translate_to_parquet(tmp_path, out=tmp_path)
    assert out.read_text() == "years"

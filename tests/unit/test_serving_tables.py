"""`POST /api/impute` writes what `polymodal impute` writes, byte for byte."""

import json

import numpy as np
import pandas as pd
import pytest

from polymodal.cli.impute_file import impute_table_file
from polymodal.cli.table_settings import read_training_options
from polymodal.models import build
from polymodal.serving.limits import Limits
from polymodal.table.table import Table

testclient = pytest.importorskip("fastapi.testclient")
from polymodal.serving import create_app  # noqa: E402


@pytest.fixture(scope="module")
def frame():
    random = np.random.default_rng(0)
    kinds = random.integers(3, size=5000)
    frame = pd.DataFrame(
        {"kind": np.array(["oak", "elm", "ash"])[kinds], "height": kinds * 3 + random.normal(size=5000).round(2)}
    )
    frame["rings"] = random.integers(90, size=5000).astype(float)
    return frame.mask(random.random(frame.shape) < 0.2)


@pytest.fixture(scope="module")
def run(frame, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "old trees"
    model = build("mac-wae", Table.from_frame(frame, say=None).schema, latent_dim=4, stochastic=True)
    model.save(folder / "model")
    arguments = {"path": "trees.csv", "missing": ["?"]}
    (folder / "experiment.json").write_text(json.dumps({"data": {"dataset": "table", "arguments": arguments}}))
    return folder, model.eval()


@pytest.fixture
def client(run):
    folder, model = run
    with testclient.TestClient(
        create_app(model, name=folder.name, csv_options=read_training_options(folder))
    ) as client:
        yield client


OPTIONS = [
    {},
    {"given": "height, rings", "to": "kind"},
    {"marked": "true", "bounds": "none"},
    {"sure": "true", "to": "kind,height"},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("kind", ["csv", "semicolons", "parquet"])
def test_the_file_is_that_of_the_command(run, client, frame, tmp_path, kind, options):
    path = tmp_path / ("trees.parquet" if kind == "parquet" else "trees.csv")
    if kind == "parquet":
        frame.to_parquet(path)
    elif kind == "csv":
        path.write_text(frame.to_csv(index=False, na_rep="?"))
    else:
        path.write_text(frame.to_csv(index=False, sep=";", decimal=",", lineterminator="\r\n"), newline="")
    flags = {name: options.get(name) == "true" for name in ("sure", "marked")}
    names = {name: [options[name]] if name in options else () for name in ("given", "to")}
    out = tmp_path / f"out{path.suffix}"
    impute_table_file(run[0], path, out, device="cpu", bounds=options.get("bounds", "observed"), **names, **flags)
    response = client.post("/api/impute", files={"file": ("any.xls", path.read_bytes())}, data=options)
    assert response.status_code == 200, response.text
    assert response.content == out.read_bytes()
    assert response.headers["content-disposition"] == f'attachment; filename="old-trees-imputed{path.suffix}"'
    assert response.headers["content-type"] in ("text/csv", "application/vnd.apache.parquet")


def test_files_that_cells_name_are_not_read(run, tmp_path):
    import PIL.Image

    from polymodal import Image, Label, Schema

    model = build("mac-wae", Schema({"photo": Image(3, 8, 8, widths=(4, 6)), "kind": Label(2)}), latent_dim=4)
    PIL.Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    with testclient.TestClient(create_app(model)) as client:
        response = client.post("/api/impute", files={"file": f"photo,kind\n{tmp_path}/a.png,\n".encode()})
    assert response.status_code == 422
    assert "photo" in response.json()["error"]


def test_rows_are_counted_and_the_time_is_limited(run, frame):
    content = frame.to_csv(index=False).encode()
    with testclient.TestClient(create_app(run[1], limits=Limits(body=100))) as client:
        assert client.post("/api/impute", files={"file": content}).status_code == 413
    with testclient.TestClient(create_app(run[1])) as client:
        assert client.post("/api/impute", files={"file": content}).status_code == 200
        assert f"polymodal_rows_total {len(frame)}.0" in client.get("/api/metrics").text

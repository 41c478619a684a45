"""The REST API: batched requests equal single ones, missing values change nothing, and each limit has its status."""

import base64
import io
import json
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import PIL.Image
import pytest
import torch
from conftest import rows_of

import polymodal as pm
from polymodal.modalities import Audio, Image, Label, Modality, Text, Vector
from polymodal.modalities.cell_texts import DATES
from polymodal.serving.limits import Limits
from polymodal.serving.request_reader import RequestReader, parse_json
from polymodal.serving.wire_values import make_codec
from polymodal.testing import EXAMPLES

testclient = pytest.importorskip("fastapi.testclient")
from polymodal.serving import create_app  # noqa: E402
from polymodal.serving.batch_predictor import BatchPredictor  # noqa: E402

KINDS = Label(3, names=("oak", "elm", "ash"), hidden=(6,))
SIZES = Vector(2, center=(100.0, 5.0), scale=(50.0, 2.0), names=("height", "weight"), partial=True, hidden=(6,))
ALL = pm.Schema(EXAMPLES)
TREES = pm.Schema({"kind": KINDS, "sizes": SIZES, "rings": Vector(1, center=(30.0,), scale=(9.0,), hidden=(6,))})
ROW = {"kind": "elm", "sizes": [120.0, None], "rings": 20}

MODELS = {
    "mac-wae": (ALL, {"stochastic": True}),
    "mvae": (ALL, {}),
    "mmvae-plus": (ALL, {}),
    "ensemble": (TREES, {"members": 3}),
}


def make_model(name, schema, **arguments):
    torch.manual_seed(0)
    return pm.build("mac-wae" if name == "ensemble" else name, schema, latent_dim=4, **arguments).eval()


@pytest.fixture(scope="module", params=MODELS)
def model(request):
    schema, arguments = MODELS[request.param]
    return make_model(request.param, schema, **arguments)


@pytest.fixture(scope="module")
def trees():
    return make_model("mac-wae", TREES, stochastic=True)


@pytest.fixture
def client(trees):
    with testclient.TestClient(create_app(trees, name="trees", examples=[ROW])) as client:
        yield client


def make_requests(schema, number):
    """Requests of one to three rows with random masks, names of modalities, samples and seeds, as JSON."""
    random, reader = np.random.default_rng(3), RequestReader(schema, Limits())
    batch = rows_of(schema, 3 * number, complete=False, seed=1)
    for place in range(number):
        rows = [reader.write_row(batch[3 * place + row : 3 * place + row + 1]) for row in range(1 + place % 3)]
        to = [str(name) for name in random.permutation(list(schema))[: 1 + place % len(schema)]]
        request = {"rows": rows, "to": to, "details": place % 2 == 0}
        if place % 3:
            request |= {"samples": 1 + place % 3, "seed": place % 2}
        yield request


def measure_gap(one, other):
    """Largest difference between two JSON values, relative for numbers; infinite if anything else differs."""
    if isinstance(one, dict) and isinstance(other, dict) and list(one) == list(other):
        return max((measure_gap(one[name], other[name]) for name in one), default=0.0)
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return max((measure_gap(*pair) for pair in zip(one, other, strict=True)), default=0.0)
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) / max(1.0, abs(other))
    if isinstance(one, str) and one != other and one.startswith("iVBOR"):
        pixels = [np.asarray(PIL.Image.open(io.BytesIO(base64.b64decode(text)))).astype(int) for text in (one, other)]
        return float(np.abs(pixels[0] - pixels[1]).max() > 1)  # a rounding error may change a pixel by 1 of 255
    return 0.0 if one == other else float("inf")


def test_batched_tasks_equal_each_alone(model):
    reader, predictor = RequestReader(model.schema, Limits()), BatchPredictor(model)
    tasks = [reader.read_translation(request) for request in make_requests(model.schema, 15)]
    tasks += [reader.read_embedding({"rows": request["rows"]}) for request in make_requests(model.schema, 4)]
    alone = [predictor.predict([task])[0] for task in tasks]
    for task, one, other in zip(tasks, predictor.predict(tasks), alone, strict=True):
        assert set(one.values) == set(task.to)
        assert set(one.samples) == (set(task.to) if task.sampling else set())
        assert one.distributions.keys() == other.distributions.keys()
        for made, expected in ((one.values, other.values), (one.samples, other.samples)):
            torch.testing.assert_close(made, expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(one.codes, other.codes, rtol=1e-4, atol=1e-5)


def test_requests_that_wait_together_are_one_batch_and_get_what_they_get_alone(model, monkeypatch):
    requests, sizes, release = list(make_requests(model.schema, 12)), [], threading.Event()
    predict = BatchPredictor.predict

    def hold(self, tasks):
        sizes.append(len(tasks))
        release.wait(20)
        return predict(self, tasks)

    def post(request):
        return client.post("/api/translate", json=request)

    monkeypatch.setattr(BatchPredictor, "predict", hold)
    with testclient.TestClient(create_app(model)) as client:
        with ThreadPoolExecutor(len(requests)) as pool:
            responses = pool.map(post, requests)
            for _ in range(200):
                if sizes and f"polymodal_waiting {len(requests) - sizes[0]}.0" in client.get("/api/metrics").text:
                    break
                time.sleep(0.05)
            release.set()
            together = list(responses)
        batches = list(sizes)
        alone = [post(request) for request in requests]
    assert sum(batches) == len(requests)
    assert max(batches) >= len(requests) // 2
    assert {response.status_code for response in together + alone} == {200}
    for one, other in zip(together, alone, strict=True):
        assert measure_gap(one.json(), other.json()) < 1e-3


def test_predictions_are_those_of_the_model(model):
    reader = RequestReader(model.schema, Limits())
    batch = rows_of(model.schema, 5, complete=True, seed=2)
    rows = [reader.write_row(batch[row : row + 1]) for row in range(5)]
    names = list(model.schema)
    with testclient.TestClient(create_app(model)) as client:
        request = {"rows": rows, "given": names[:2], "to": names[1:], "samples": 3, "seed": 7, "bounds": "none"}
        found = client.post("/api/translate", json=request).json()
        codes = client.post("/api/embed", json={"rows": rows, "given": names[:2]}).json()["codes"]
        sampled = client.post("/api/sample", json={"n": 2, "seed": 5}).json()["rows"]
    read = reader.read_translation(request).batch
    points = model.translate(read, names[:2], names[1:])
    samples = model.translate(read, names[:2], names[1:], 3, seed=7)
    assert measure_gap(found["rows"], json.loads(json.dumps(reader.write_rows(points)))) < 1e-3
    for place in range(3):
        expected = reader.write_rows({name: value[place] for name, value in samples.items()})
        assert measure_gap([row[place] for row in found["samples"]], expected) < 1e-3
    torch.testing.assert_close(torch.tensor(codes), model.embed(read, names[:2]), rtol=1e-4, atol=1e-5)
    expected = model.sample(2, seed=5)
    assert measure_gap(sampled, reader.write_rows({n: model.schema[n].bound(v) for n, v in expected.items()})) < 1e-3


def test_missing_values_change_nothing(model):
    reader = RequestReader(model.schema, Limits())
    row = reader.write_row(rows_of(model.schema, 1, complete=True))
    names = list(model.schema)
    other = reader.write_row(rows_of(model.schema, 1, complete=True, seed=8))
    part = {name: row[name] for name in names[:1]}
    asked = [
        {"rows": [part]},
        {"rows": [part | dict.fromkeys(names[1:])]},
        {"rows": [row], "given": names[:1]},
        {"rows": [other | part], "given": names[:1], "to": None, "samples": None, "bounds": "observed"},
    ]
    with testclient.TestClient(create_app(model)) as client:
        first, *others = [client.post("/api/translate", json=request).json() for request in asked]
        assert all(found == first for found in others)
        assert first["samples"] is None
        assert first["details"] is None
        assert list(first["rows"][0]) == names


def test_missing_elements_are_null(client):
    def embed(sizes):
        return client.post("/api/embed", json={"rows": [{"sizes": sizes, "rings": 3}]}).json()["codes"]

    assert embed([None, None]) == client.post("/api/embed", json={"rows": [{"rings": 3}]}).json()["codes"]
    assert embed([120.0, None]) != embed([120.0, 6.0])


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e999"])
@pytest.mark.parametrize("place", ['{"rings": %s}', '{"sizes": [1, %s]}', '{"kind": %s}'])
def test_numbers_that_are_not_finite_are_refused(client, text, place):
    response = client.post("/api/translate", content='{"rows": [%s]}' % (place % text))
    assert response.status_code == 422
    assert text in response.json()["error"] or "row 0" in response.json()["error"]


VALUES: dict[str, tuple[Modality, list]] = {
    "label": (KINDS, ["oak", "ash"]),
    "class without a name": (Label(4), [0, 3]),
    "class with the name of another's place": (Label(2, names=("1", "0")), ["1", "0"]),
    "number": (TREES["rings"], [0.0, -12.5, 30.0]),
    "logarithm": (Vector(1, center=(1.0,), scale=(2.0,), log=True), [0.0, 999.0]),
    "vector": (Vector(2, center=(1.0, 2.0), scale=(3.0, 4.0)), [[0.5, -7.0]]),
    "partial vector": (SIZES, [[120.0, None], [None, 3.0], [100.0, 5.0]]),
    "date": (Vector(1, center=(15000.0,), scale=(10.0,), formats=(DATES,)), ["2011-01-26", "2011-01-27"]),
    "text": (EXAMPLES["text"], ["one three", "four"]),
    "audio": (Audio(2, 3), [[[0.0, 0.25, 1.0], [0.5, 0.5, 0.125]]]),
    "image of two channels": (Image(2, 1, 2), [[[[0, 255]], [[3, 4]]]]),
}


@pytest.mark.parametrize("name", VALUES)
def test_values_there_and_back(name):
    modality, values = VALUES[name]
    codec = make_codec(modality, pixels=1000)
    for value in values:
        tensor = codec.read(parse_json(json.dumps(value).encode()))
        assert tensor.dtype == modality.dtype
        assert tensor.shape == modality.shape
        assert measure_gap(_write(codec, tensor), value) < 1e-5
    assert codec.read(None) is None
    assert codec.describe()["shape"] == list(modality.shape)


def _write(codec, tensor):
    """JSON of a value, with null for missing elements."""
    value = codec.write(tensor)
    return [None if one != one else one for one in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", sorted(EXAMPLES.keys() - {"text"}))  # whose unknown words are written as [UNK]
def test_values_of_every_modality_there_and_back(name):
    codec = make_codec(EXAMPLES[name], pixels=1000)
    for value in rows_of(pm.Schema({name: EXAMPLES[name]}), 5, complete=True).values[name]:
        again = codec.read(json.loads(json.dumps(codec.write(value))))
        torch.testing.assert_close(again, value, rtol=1e-5, atol=6e-5)  # spectrograms are written with four digits


def test_other_forms_of_values():
    label, numbered, text = (make_codec(one, 1000) for one in (KINDS, Label(4), Text(4, ("a", "b"))))
    assert label.read("elm") == 1
    assert numbered.read("3") == numbered.read(3) == numbered.read(3.0) == 3
    assert text.write(text.read("b a")) == "b a"
    date = make_codec(VALUES["date"][0], 1000)
    assert date.read("2011-01-26T12:00:00") == date.read(date.modality.center[0] + 0.5)
    with pytest.raises(ValueError, match=r"26.01.2011"):
        date.read("26.01.2011")


@pytest.mark.parametrize("prefix", ["", "data:image/png;base64,"])
def test_images_of_any_size_and_format_are_read_as_from_a_file(prefix):
    modality = EXAMPLES["image"]
    image = PIL.Image.effect_noise((30, 20), 50).convert("RGB")
    for form in ("PNG", "JPEG", "WEBP", "GIF", "BMP"):
        image.save(file := io.BytesIO(), form)
        found = make_codec(modality, 600).read(prefix + base64.b64encode(file.getvalue()).decode())
        assert torch.equal(found, modality.read(PIL.Image.open(file)))
        with pytest.raises(ValueError, match=r"at most 599 pixels.*30 x 20"):
            make_codec(modality, 599).read(base64.b64encode(file.getvalue()).decode())
    image.save(file := io.BytesIO(), "TIFF")
    with pytest.raises(ValueError, match="format is unknown"):
        make_codec(modality, 600).read(base64.b64encode(file.getvalue()).decode())


def ask(limits=None, token=None, model=None, **request):
    """Status and JSON of one request to `/api/translate` of a server with these limits."""
    headers = request.pop("headers", {})
    content = request.pop("content", None) or json.dumps({"rows": [ROW]} | request)
    with testclient.TestClient(create_app(model, limits=limits, token=token)) as client:
        response = client.post("/api/translate", content=content, headers=headers)
    assert response.headers["content-type"] == "application/json"
    assert response.json().get("status", 200) == response.status_code
    return response.status_code, response.json().get("error")


@pytest.mark.parametrize(
    ("limits", "request_", "status", "named"),
    [
        ({"body": 100}, {"content": b" " * 101}, 413, "100 bytes.*101"),
        ({"rows": 2}, {"rows": [ROW] * 3}, 422, "at most 2.*3"),
        ({"samples": 5}, {"samples": 6}, 422, "1..5.*6"),
        ({"samples": 5}, {"rows": [ROW] * 2, "samples": 3}, 422, "at most 5.*3 x 2"),
        ({}, {"samples": 0}, 422, "samples.*0"),
        ({}, {"content": '{"rows": [{"rings": 1}], "samples": 1%s}' % ("0" * 4000)}, 422, "samples.*1..1000"),
        ({}, {"samples": True}, 422, "samples.*True|samples.*true"),
        ({}, {"steps": 5}, 422, "steps.*samples"),
        ({}, {"samples": 2, "steps": 5}, 422, "steps.*flow"),
        ({}, {"bounds": "wide"}, 422, "bounds.*wide"),
        ({}, {"details": 1}, 422, "details.*1"),
        ({}, {"rows": []}, 422, "empty list"),
        ({}, {"rows": None}, 422, "rows"),
        ({}, {"rows": [1]}, 422, "row 0.*int"),
        ({}, {"rows": [{}]}, 422, "row 0.*no value"),
        ({}, {"rows": [ROW, {"rings": 1}], "given": ["kind"]}, 422, "row 1.*rings.*kind"),
        ({}, {"rows": [{"kinds": "elm"}]}, 422, "row 0.*kinds.*kind"),
        ({}, {"rows": [{"kind": "elk"}]}, 422, "row 0, kind.*elm.*elk"),
        ({}, {"rows": [{"rings": "20"}]}, 422, "row 0, rings.*20"),
        ({}, {"rows": [{"rings": True}]}, 422, "row 0, rings"),
        ({}, {"rows": [{"rings": 1e300}]}, 422, "row 0, rings"),
        ({}, {"rows": [{"sizes": [1]}]}, 422, "row 0, sizes.*list of 2"),
        ({}, {"to": ["ring"]}, 422, "ring.*rings"),
        ({}, {"to": "rings"}, 422, "to.*list"),
        ({}, {"to": []}, 422, "to.*list"),
        ({}, {"give": None}, 422, "give.*given"),
        ({}, {"content": "[1]"}, 422, "object.*list"),
        ({}, {"content": "{"}, 400, "JSON"),
        ({}, {"content": b"\xff"}, 400, "JSON"),
        ({}, {"content": "[" * 10**6}, 400, "nested"),
        ({}, {"headers": {"content-type": "text/csv"}}, 415, "application/json.*text/csv"),
    ],
)
def test_each_limit_has_its_status_and_a_sentence(trees, limits, request_, status, named):
    found, error = ask(Limits(**limits), model=trees, **request_)
    assert found == status, error
    assert re.search(named, error), error
    assert len(error) < 700
    assert error.isprintable()


def test_samples_of_a_model_without_them_are_refused():
    status, error = ask(model=make_model("mac-wae", TREES), samples=2)
    assert status == 422
    assert "deterministic" in error


def test_the_token_is_needed_below_api_only(trees):
    with testclient.TestClient(create_app(trees, token="secret-token")) as client:
        for path in ("/api/schema", "/api/metrics", "/api/example", "/api/other", "/API/schema", "/api//schema"):
            assert client.get(path).status_code in (401, 404)
        for path in ("/api/health", "/openapi.json"):
            assert client.get(path).status_code == 200
        for given in ("secret-token", "Bearer", "Bearer secret-toke", "Bearer secret-tokens", "Basic secret-token"):
            response = client.get("/api/schema", headers={"Authorization": given})
            assert response.status_code == 401
            assert response.headers["www-authenticate"] == "Bearer"
        assert client.get("/api/schema", headers={b"Authorization": b"Bearer secret-tok\xe9n"}).status_code == 401
        for given in ("Bearer secret-token", "bearer  secret-token "):
            assert client.get("/api/schema", headers={"Authorization": given}).status_code == 200
        assert client.post("/api/translate", content=b"{").status_code == 401


def test_too_many_waiting_requests_are_refused_and_slow_ones_end(trees, monkeypatch):
    begun, release = threading.Event(), threading.Event()

    def predict(self, tasks):
        begun.set()
        release.wait(60)
        raise ArithmeticError

    def post(_=None):
        return client.post("/api/translate", json={"rows": [ROW]})

    monkeypatch.setattr(BatchPredictor, "predict", predict)
    with testclient.TestClient(create_app(trees, limits=Limits(seconds=5, waiting=2))) as client:
        with ThreadPoolExecutor(8) as pool:
            first = pool.submit(post)
            assert begun.wait(20)  # one is computed, so two more can wait
            responses = [*pool.map(post, range(7)), first.result()]
        release.set()
    statuses = sorted(response.status_code for response in responses)
    assert statuses == [429] * 5 + [503] * 3
    assert all(int(response.headers["retry-after"]) >= 1 for response in responses)


def test_a_failing_request_fails_alone(trees, monkeypatch):
    predict = BatchPredictor.predict

    def fail(self, tasks):
        if any(task.embed for task in tasks):
            raise ValueError("the row is too strange")
        return predict(self, tasks)

    monkeypatch.setattr(BatchPredictor, "predict", fail)
    with testclient.TestClient(create_app(trees)) as client, ThreadPoolExecutor(9) as pool:
        post = lambda name: client.post(f"/api/{name}", json={"rows": [ROW]}).status_code  # noqa: E731
        assert list(pool.map(post, ["translate", "embed", "translate"] * 3)) == [200, 422, 200] * 3


def test_metrics_count_requests_rows_and_errors(client):
    for rows in (1, 2, 4):
        assert client.post("/api/translate", json={"rows": [ROW] * rows}).status_code == 200
    client.post("/api/translate", content=b"{")
    client.get("/api/nothing/at/all")
    lines = client.get("/api/metrics").text.splitlines()
    for line in (
        'polymodal_requests_total{endpoint="/api/translate",status="200"} 3.0',
        'polymodal_requests_total{endpoint="/api/translate",status="400"} 1.0',
        'polymodal_requests_total{endpoint="other",status="404"} 1.0',
        'polymodal_errors_total{endpoint="/api/translate"} 1.0',
        "polymodal_rows_total 7.0",
        "polymodal_waiting 0.0",
        'polymodal_seconds_count{endpoint="/api/translate"} 4.0',
        "polymodal_batch_rows_count 3.0",
    ):
        assert line in lines


def test_schema_examples_and_health(client):
    schema = client.get("/api/schema").json()
    assert [one["name"] for one in schema["modalities"]] == list(TREES)
    assert schema["modalities"][0]["classes"] == ["oak", "elm", "ash"]
    assert {one["name"]: one["example"] for one in schema["modalities"]} == ROW
    assert schema["examples"] == 1
    assert client.get("/api/example?index=0").json() == {"index": 0, "count": 1, "row": ROW}
    assert [client.get(f"/api/example?index={index}").status_code for index in (1, -1, "a")] == [404, 422, 422]
    assert client.get("/api/health").json()["status"] == "ok"
    assert client.get("/api/translate").status_code == 405


def test_requests_of_the_openapi_document_work(client):
    paths = client.get("/openapi.json").json()["paths"]
    for path, methods in paths.items():
        for method, described in methods.items():
            content = described.get("requestBody", {}).get("content", {})
            if "application/json" in content:
                assert client.post(path, json=content["application/json"]["example"]).status_code == 200
            elif not content:
                assert client.request(method, path).status_code == 200


def test_answers_allow_no_other_site(client):
    for path in ("/", "/api/schema", "/nothing"):
        response = client.get(path, headers={"Origin": "https://example.org"})
        assert response.headers["x-content-type-options"] == "nosniff"
        assert not any(name.startswith("access-control") for name in response.headers)
        if "text/html" in response.headers["content-type"]:
            assert "default-src 'none'" in response.headers["content-security-policy"]


def test_the_documentation_names_every_endpoint_and_needs_no_script(client):
    response = client.get("/docs")
    assert response.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert not re.search(r"<script|<style|style=|javascript:|https?://(?!HOST)", response.text)
    for path in client.get("/openapi.json").json()["paths"]:
        assert f"<code>{path}</code>" in response.text
    for address in re.findall(r'(?:href|src)="(/[^"]*)"', response.text):
        assert client.get(address).status_code == 200, address


def test_names_in_the_documentation_are_escaped():
    schema = pm.Schema({"<b>&": Label(2, names=("<script>alert(1)</script>", '"'))})
    with testclient.TestClient(create_app(make_model("mac-wae", schema), name="<img src=x>")) as client:
        text = client.get("/docs").text
    assert "<script" not in text
    assert "<img" not in text
    assert "<b>" not in text

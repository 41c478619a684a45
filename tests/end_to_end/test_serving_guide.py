"""The commands and programs of docs/serving.md do what the page says, and the command reports mistakes."""

import re
import shlex
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from commands import process
from tables import birds

pytest.importorskip("uvicorn")
httpx = pytest.importorskip("httpx")

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
ADDRESS = "http://127.0.0.1:8000"


def find_blocks(kind):
    return re.findall(rf"^```{kind}\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)


def find_commands(name):
    """The arguments of the commands of the page that run `polymodal NAME`."""
    lines = "\n".join(find_blocks("console")).splitlines()
    return [shlex.split(line)[2:] for line in lines if line.startswith(f"$ polymodal {name} ")]


@contextmanager
def serving(folder, *arguments):
    """A server on a free port: its process and the line that it prints."""
    command = [sys.executable, "-m", "polymodal.cli.app", *arguments, "--port", "0"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=folder, **pipes) as server:
        try:
            yield server, server.stdout.readline()
        finally:
            server.kill()


def find_address(line):
    return re.search(r"at (http://[\w.]+:\d+) ", line)[1]


@pytest.fixture(scope="module", autouse=True)
def environment():
    """Processes run this copy of the package in any folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder in which the first command of the page has run."""
    folder = tmp_path_factory.mktemp("serving")
    birds().to_csv(folder / "birds.csv", index=False)
    done = process(*find_commands("train")[0], cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def address(folder):
    with serving(folder, *find_commands("serve")[0]) as (_, line):
        shown = next(line for line in PAGE.splitlines() if line.startswith("Serving "))
        assert line.strip() == shown.replace(ADDRESS, find_address(line))
        yield find_address(line)


def test_the_commands_of_curl_run(address):
    (command,) = find_blocks("bash")
    curl = shlex.split(command.replace("\\\n", " ").replace(ADDRESS, address))
    json = curl[curl.index("--json") + 1]
    response = httpx.post(curl[1], content=json, headers={"Content-Type": "application/json"}, timeout=60)
    assert response.status_code == 200, response.text
    answer = response.json()
    assert [set(row) for row in answer["rows"]] == [{"grams", "migrates"}] * 2
    assert answer["samples"] is None
    assert sum(answer["details"][0]["migrates"]["probabilities"].values()) == pytest.approx(1, abs=1e-4)


def test_the_python_runs(folder, address, monkeypatch):
    monkeypatch.chdir(folder)
    client, application = find_blocks("python")
    exec(client.replace(ADDRESS, address), names := {})
    assert names["modalities"] == ["species", "wing_mm", "grams", "migrates"]
    assert [set(sample) for sample in names["samples"]] == [{"wing_mm", "grams"}] * 4
    assert len(names["codes"]) == 1
    exec(application, names)
    testclient = pytest.importorskip("fastapi.testclient")
    with testclient.TestClient(names["app"]) as other:
        assert other.get("/api/schema").status_code == 401
        limits = other.get("/api/schema", headers={"Authorization": "Bearer a long secret"}).json()["limits"]
    assert (limits["rows"], limits["seconds"]) == (100, 10)


def test_the_error_that_the_page_shows(address):
    response = httpx.post(f"{address}/api/translate", json={"rows": [{"wing": 300}]})
    assert response.status_code == 422
    assert "'wing'" in response.json()["error"]
    assert response.json()["error"] in PAGE


def test_the_page_names_every_endpoint_metric_and_limit(address):
    documented = httpx.get(f"{address}/openapi.json").json()["paths"]
    for path, methods in documented.items():
        for method in methods:
            assert f"`{method.upper()} {path}" in PAGE
    metrics = httpx.get(f"{address}/api/metrics").text
    kinds = dict(re.findall(r"^# TYPE (\w+) (\w+)$", metrics, flags=re.MULTILINE))
    assert {f"polymodal_{name}" for name in ("requests_total", "rows_total", "waiting", "batch_rows")} <= set(kinds)
    for name in kinds:
        assert name.endswith("_created") or f"`{name}`" in PAGE
    shown = dict(re.findall(r"^\| `--max-(\w+)` \| (\d+) \|", PAGE, flags=re.MULTILINE))
    limits = httpx.get(f"{address}/api/schema").json()["limits"]
    units = {"body": 2**20, "pixels": 10**6}
    assert {name: int(number) * units.get(name, 1) for name, number in shown.items()} == limits


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_server_with_code_0_and_the_token_is_needed(folder, number):
    (folder / "token").write_text("a-long-secret\n", encoding="utf-8")
    with serving(folder, *find_commands("serve")[1]) as (server, line):
        address = find_address(line).replace("0.0.0.0", "127.0.0.1")
        assert httpx.get(f"{address}/api/health").status_code == 200
        for token, status in (("a-long-secret", 200), ("a-long-secreT", 401), ("a", 401)):
            assert (
                httpx.get(f"{address}/api/schema", headers={"Authorization": f"Bearer {token}"}).status_code == status
            )
        server.send_signal(number)
        assert server.wait(30) == 0
        assert "Traceback" not in server.stderr.read()


def test_a_port_in_use_is_one_sentence(folder):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = process("serve", "runs/birds", "--port", port, cwd=folder)
    assert done.returncode == 2
    assert re.search(rf"^polymodal: .*{port}.*--port", done.stderr, flags=re.MULTILINE)
    assert "Traceback" not in done.stderr


def test_other_machines_without_a_token_are_warned_about(folder):
    with serving(folder, "serve", "runs/birds", "--host", "0.0.0.0") as (server, line):
        assert "http://0.0.0.0:" in line
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 0
        assert "--token-file" in server.stderr.read()


def test_short_tokens_are_refused(folder):
    (folder / "short").write_text("abc", encoding="utf-8")
    done = process("serve", "runs/birds", "--token-file", "short", cwd=folder)
    assert done.returncode == 2
    assert "at least 8" in done.stderr

"""The command line with models on the Hugging Face Hub, against a stand-in of its HTTP API on this machine."""

import json
import os
import re
import shlex
import shutil
from pathlib import Path

import pytest
from commands import Kept, process, within
from hub_server import use_hub
from tables import birds
from test_guide import steps, text_of, wordless

import polymodal as pm

pytestmark = [pytest.mark.network, pytest.mark.slow]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The run folder of a table."""
    folder = tmp_path_factory.mktemp("trained")
    birds().to_csv(folder / "birds.csv", index=False)
    with pytest.MonkeyPatch.context() as patch:
        run = ("train", folder / "birds.csv", "--folder", folder / "run", "--set", "fit.epochs=2")
        assert within(patch, Kept(), *run).returncode == 0
        assert within(patch, Kept(), "evaluate", folder / "run").returncode == 0
    return folder / "run"


@pytest.fixture
def polymodal(monkeypatch, capsys, tmp_path):
    """Runs a command in an empty folder, and returns what it printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    birds().to_csv("birds.csv", index=False)
    return lambda *arguments: within(monkeypatch, capsys, *arguments)


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with use_hub(monkeypatch, tmp_path / "hub") as made:
        yield made


@pytest.fixture
def pushed(hub, trained, polymodal):
    done = polymodal("push", trained, "owner/birds", "--licence", "mit")
    assert done.returncode == 0, done.stderr
    assert "hf://owner/birds@" in done.stdout
    return hub


def test_push_uploads_the_model_the_card_and_a_figure(pushed, trained):
    files = pushed.files("owner/birds")
    assert files.keys() == {".gitattributes", "README.md", "figure.png", "model.json", "weights.safetensors"}
    for name in ("model.json", "weights.safetensors"):
        assert files[name] == (trained / "model" / name).read_bytes()
    card = files["README.md"].decode()
    assert "birds.csv" in card
    assert "Rows of the test split" in card
    assert "| species | acc |" in card
    assert "model-index:" in card


def test_push_uploads_no_path_of_this_machine(pushed, trained):
    record = json.loads((trained / "experiment.json").read_text(encoding="utf-8"))
    path = Path(record["data"]["arguments"]["path"])
    assert path.is_absolute()
    for content in pushed.bodies:
        for part in (path.parent, trained, Path.home(), Path.cwd()):
            assert str(part).encode() not in content


def test_push_uploads_no_row_of_the_table(pushed):
    """The rings differ from row to row; the model does not use them, and no other row is written as it is."""
    for content in pushed.files("owner/birds").values():
        assert b"R10000" not in content


def test_a_dry_run_writes_what_would_be_uploaded_and_uploads_nothing(hub, trained, polymodal):
    done = polymodal("push", trained, "owner/birds", "--dry-run", "upload", "--licence", "mit")
    assert done.returncode == 0, done.stderr
    assert hub.requests == []
    written = {path.name: path.read_bytes() for path in Path("upload").iterdir()}
    assert polymodal("push", trained, "owner/birds", "--licence", "mit").returncode == 0
    assert written == {name: content for name, content in hub.files("owner/birds").items() if name != ".gitattributes"}
    assert polymodal("push", trained, "owner/birds", "--dry-run", "upload").returncode == 0  # replaces its own files


def test_scores_from_before_further_training_are_left_out(trained, polymodal, tmp_path):
    shutil.copytree(trained, "run")
    weights, scores = Path("run/model/weights.safetensors"), Path("run/scores.csv")
    os.utime(scores, (1, 1))
    assert weights.stat().st_mtime > scores.stat().st_mtime
    done = polymodal("push", "run", "owner/birds", "--dry-run", "upload")
    assert done.returncode == 0, done.stderr
    assert "scores.csv is older than the model" in done.stderr
    assert "model-index" not in Path("upload/README.md").read_text(encoding="utf-8")


def test_push_without_a_token_is_one_line(hub, trained, polymodal, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    done = polymodal("push", trained, "owner/birds")
    assert done.returncode == 2
    assert "HF_TOKEN" in done.stderr.splitlines()[-1]
    assert hub.requests == []


def test_the_environment_names_the_server_the_cache_and_the_token(hub, trained, polymodal, monkeypatch, tmp_path):
    """As a process of its own, in which `huggingface_hub` reads its variables."""
    from huggingface_hub import constants

    settings = {"HF_ENDPOINT": constants.ENDPOINT, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1"}
    settings["PYTHONPATH"] = str(Path(pm.__file__).parents[1])
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    done = process("push", trained, "owner/birds", "--private", "--licence", "mit")
    assert (done.returncode, done.stderr) == (0, "")
    done = process("sample", "hf://owner/birds", "--out", "first")
    assert (done.returncode, done.stderr) == (0, "")
    assert list((tmp_path / "home" / "hub").rglob("weights.safetensors"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    before = len(hub.requests)
    assert process("sample", "hf://owner/birds", "--out", "second").returncode == 0
    assert len(hub.requests) == before
    assert Path("first/table.csv").read_bytes() == Path("second/table.csv").read_bytes()
    assert not any(b"hf_write" in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


@pytest.mark.parametrize("source", ["hub", "folder"])
def test_commands_take_a_model_without_its_run(pushed, trained, polymodal, source):
    shutil.copytree(trained / "model", "model")
    model = "hf://owner/birds" if source == "hub" else "model"
    before = {path.name for path in Path("model").iterdir()}
    runs = {
        ("translate", model, "birds.csv", "--to", "species", "--rows", "0:4"): "translations/table.csv",
        ("translate", model, "birds.csv", "--to", "species", "--out", "a.parquet"): "a.parquet",
        ("impute", model, "birds.csv"): "birds-filled.csv",
        ("embed", model, "birds.csv", "--out", "codes.parquet"): "codes.parquet",
        ("sample", model, "--number", "3"): "samples/table.csv",
    }
    for arguments, out in runs.items():
        done = polymodal(*arguments)
        assert done.returncode == 0, done.stderr
        assert Path(out).exists(), arguments
    assert {path.name for path in Path("model").iterdir()} == before
    assert polymodal("impute", trained, "birds.csv", "--out", "of-run.csv").returncode == 0
    assert Path("birds-filled.csv").read_bytes() == Path("of-run.csv").read_bytes()


@pytest.mark.parametrize(
    "arguments", [("evaluate",), ("report",), ("translate",), ("embed", "--out", "codes.parquet")], ids=lambda a: a[0]
)
def test_commands_that_need_rows_say_so(pushed, polymodal, arguments):
    command, *others = arguments
    done = polymodal(command, "hf://owner/birds", *others)
    assert done.returncode == 2
    assert "experiment.json; it holds only a model, without its data" in done.stderr


@pytest.mark.parametrize("address", ["hf://owner", "hf://owner/nothing", "hf://owner/birds@v7", "hf://owner/pickled"])
def test_a_wrong_address_is_one_line(pushed, polymodal, address):
    pushed.add("owner/pickled", {"model.pkl": b"\x80\x04."})
    done = polymodal("sample", address)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert address.partition("@")[0] in line


def test_push_of_a_known_data_set_shows_predictions(hub, polymodal, monkeypatch, tmp_path):
    monkeypatch.setenv("POLYMODAL_CACHE", str(tmp_path / "polymodal"))
    small = ("--set", "data.rows=60", "--set", "data.held_out_rows=20", "--set", "build.latent_dim=4")
    done = polymodal("train", "polydigits", "--folder", "run", "--epochs", "1", *small)
    assert done.returncode == 0, done.stderr
    assert polymodal("push", "run", "owner/digits").returncode == 0
    card = hub.files("owner/digits")["README.md"].decode()
    assert "trained on **polydigits**" in card
    assert "Predictions given m0, next to the true values, for rows of the test split" in card


def test_the_page_on_the_hub_does_what_it_shows(hub, polymodal):
    """The commands and the Python code of docs/hub.md run in its order, and print what the page shows."""
    commands = iter(list(steps("docs/hub.md")))
    names = {}
    for kind, block in re.findall(r"^```(\w+)\n(.*?)^```", text_of("docs/hub.md"), flags=re.MULTILINE | re.DOTALL):
        if kind == "python":
            exec(block, names)
            continue
        for _ in range(block.count("$ polymodal")):
            arguments, shown = next(commands)
            done = polymodal(*arguments)
            assert done.returncode == 0, f"$ polymodal {shlex.join(arguments)}\n{done.stderr}"
            printed = [wordless(line) for line in done.stdout.splitlines()]
            assert all(wordless(line) in printed for line in shown), done.stdout
    assert names["address"].startswith("hf://owner/birds@")
    assert next(commands, None) is None

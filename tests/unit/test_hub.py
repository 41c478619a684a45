"""Sharing by the Hugging Face Hub, against a stand-in of its HTTP API on the loopback interface."""

import getpass
import json
import socket
import sys
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import PIL.Image
import pytest
import torch
import yaml
from hub_server import use_hub
from markdown_it import MarkdownIt

import polymodal as pm
from polymodal.modalities import Label, Text, Vector
from polymodal.models.hub_sharing import write_hub_folder
from polymodal.models.model_card import escape_markdown

pytestmark = pytest.mark.network

FILES = {"README.md", "model.json", "weights.safetensors"}
HOSTILE = (
    "a|b",
    "<img src=x onerror=alert(1)>",
    "[link](http://example.org)",
    "**bold** `code` $x$",
    "two\n---\nlines\n# head",
    "![x](y) www.example.org https://example.org",
    "```\n~~~",
    "key: [value]",
    "\u202eright to left",
    "&lt;b&gt; \\| |",
    "\"quoted\" 'twice' {{ template }} {% if %}",
    "- list",
    "x" * 500,
)


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with use_hub(monkeypatch, tmp_path) as made:
        yield made


@pytest.fixture
def model():
    words = Text.learn(["one two", "two three"])
    schema = pm.Schema({"size": Vector(2), "kind": Label(3, ("a", "b", "c")), "text": words})
    return pm.build("mac-wae", schema, latent_dim=4, hidden=(8,), features=4).eval()


def predict(model):
    batch = model.schema.batch({"size": torch.tensor([[0.5, -1.0], [2.0, 0.1]])})
    return model.translate(batch, given=["size"])


def assert_equal(one, other):
    for name, value in predict(one).items():
        assert torch.equal(value, predict(other)[name]), name


def scores_of(names, value=97.5):
    lines = [("many-to-one", name, "others", "acc", "higher", value, 20, "") for name in names]
    return pd.DataFrame(lines, columns=["task", "modality", "given", "metric", "better", "value", "rows", "note"])


def metadata(card):
    return yaml.safe_load(card.split("---\n")[1])


def disconnect(monkeypatch):
    """Makes the address of the Hub one where nothing listens."""
    from huggingface_hub import constants

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{free.getsockname()[1]}")


def everything(folder):
    return {path: path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


# Push, then load


def test_a_pushed_model_loads_with_equal_predictions_and_equal_bytes(hub, model, tmp_path):
    address = model.push_to_hub("owner/name", licence="mit", data="birds")
    assert_equal(pm.load("hf://owner/name"), model)
    folder = model.save(tmp_path / "model")
    for name in ("model.json", "weights.safetensors"):
        assert hub.files("owner/name")[name] == (folder / name).read_bytes()
    assert_equal(pm.load(address), model)
    assert address == f"hf://owner/name@{hub.branches['owner/name']['main']}"


def test_only_safetensors_json_the_card_and_a_figure_are_uploaded(hub, model):
    figure = PIL.Image.new("RGB", (4, 4))
    model.push_to_hub("owner/name", figure=figure, examples=[{"kind": "a"}])
    files = hub.files("owner/name")
    assert files.keys() - {".gitattributes"} == FILES | {"figure.png", "examples.json"}
    assert files["figure.png"][:4] == b"\x89PNG"
    assert json.loads(files["examples.json"]) == {"rows": [{"kind": "a"}]}
    model.push_to_hub("owner/name")  # without them, those of the earlier model are removed
    assert hub.files("owner/name").keys() - {".gitattributes"} == FILES


def test_all_files_are_in_one_commit_with_the_message(hub, model):
    model.push_to_hub("owner/name", message="first try")
    commits = [body for (_, path), body in zip(hub.requests, hub.bodies, strict=True) if "/commit/" in path]
    assert len(commits) == 1
    assert json.loads(commits[0].splitlines()[0])["value"]["summary"] == "first try"


def test_a_branch_is_made_and_main_stays(hub, model):
    model.push_to_hub("owner/name")
    before = hub.branches["owner/name"]["main"]
    other = pm.build("mac-wae", model.schema, latent_dim=4, hidden=(8,), features=4, seed=1)
    other.push_to_hub("owner/name", revision="other")
    assert hub.branches["owner/name"]["main"] == before
    assert_equal(pm.load("hf://owner/name"), model)
    assert_equal(pm.load("hf://owner/name@other"), other.eval())
    assert_equal(pm.load(f"hf://owner/name@{before}"), model)


def test_a_private_repository_needs_the_token(hub, model, monkeypatch, tmp_path):
    model.push_to_hub("owner/name", private=True)
    assert hub.private == {"owner/name"}
    assert_equal(pm.load("hf://owner/name"), model)
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "other"))
    with pytest.raises(FileNotFoundError, match=r"owner/name.*private.*HF_TOKEN is not set"):
        pm.load("hf://owner/name")


def test_an_ensemble_is_shared_too(hub):
    schema = pm.Schema({"size": Vector(2), "kind": Label(3)})
    model = pm.build("mac-wae", schema, latent_dim=4, hidden=(8,), features=4, members=2).eval()
    model.push_to_hub("owner/name")
    assert_equal(pm.load("hf://owner/name"), model)
    assert "ensemble of 2 members" in hub.files("owner/name")["README.md"].decode()


# Downloads that go wrong


def test_a_cut_download_is_resumed(hub, model):
    model.push_to_hub("owner/name")
    size = len(hub.files("owner/name")["weights.safetensors"])
    hub.cut_after = size // 2
    assert_equal(pm.load("hf://owner/name"), model)
    ranges = [headers["range"] for headers in hub.headers if "range" in headers]
    assert len(ranges) == 1
    start = int(ranges[0].removeprefix("bytes=").rstrip("-"))
    assert 0 < start <= size // 2


def test_a_second_load_downloads_nothing(hub, model):
    model.push_to_hub("owner/name")
    pm.load("hf://owner/name")
    before = len(hub.downloads())
    assert_equal(pm.load("hf://owner/name"), model)
    assert len(hub.downloads()) == before > 0


def test_a_new_commit_is_downloaded(hub, model):
    model.push_to_hub("owner/name")
    pm.load("hf://owner/name")
    other = pm.build("mac-wae", model.schema, latent_dim=4, hidden=(8,), features=4, seed=1).eval()
    other.push_to_hub("owner/name")
    assert_equal(pm.load("hf://owner/name"), other)


def test_a_wrong_revision_is_one_sentence(hub, model):
    model.push_to_hub("owner/name")
    with pytest.raises(FileNotFoundError, match="hf://owner/name has no revision v7") as caught:
        pm.load("hf://owner/name@v7")
    assert "\n" not in str(caught.value)
    assert hub.downloads() == []


def test_an_unknown_repository_is_one_sentence(hub):
    with pytest.raises(FileNotFoundError, match=r"hf://owner/nothing does not exist.*or is private") as caught:
        pm.load("hf://owner/nothing")
    assert "\n" not in str(caught.value)


def test_a_repository_that_is_given_on_request_says_so(hub, model):
    model.push_to_hub("owner/name")
    hub.gated.add("owner/name")
    with pytest.raises(PermissionError, match=r"hf://owner/name.*ask for access"):
        pm.load("hf://owner/name")
    assert hub.downloads() == []


def test_a_failed_upload_of_the_weights_is_one_sentence(hub, model, monkeypatch):
    monkeypatch.setattr(
        "hub_server.plan", lambda asked, address: {**asked, "actions": {"upload": {"href": f"{address}/api/x"}}}
    )
    with pytest.raises((PermissionError, ValueError, ConnectionError), match=r"owner/name|cannot be reached") as caught:
        model.push_to_hub("owner/name")
    assert "\n" not in str(caught.value)
    assert "model.json" not in hub.files("owner/name")


@pytest.mark.parametrize(
    "name", ["pytorch_model.bin", "model.pt", "data.pkl", "last.ckpt", "a.pth", "sub/folder/STATE.PKL", "a.joblib"]
)
def test_a_repository_with_a_pickle_is_refused_and_nothing_is_downloaded(hub, model, name):
    model.push_to_hub("owner/name")
    hub.add("owner/name", {name: b"\x80\x04."})
    with pytest.raises(ValueError, match=f"owner/name.*{Path(name).name}.*pickle"):
        pm.load("hf://owner/name")
    assert hub.downloads() == []
    with pytest.raises(ValueError, match=f"{Path(name).name}.*pickle"):
        model.push_to_hub("owner/name")


def test_a_pickle_in_place_of_the_weights_is_refused(hub, model, tmp_path):
    folder = model.save(tmp_path / "model")
    hub.add("owner/name", {"model.json": (folder / "model.json").read_bytes(), "weights.pkl": b"\x80\x04."})
    with pytest.raises(ValueError, match=r"weights\.pkl.*pickle"):
        pm.load("hf://owner/name")


def test_a_repository_of_another_library_is_refused(hub):
    hub.add("owner/name", {"config.json": b"{}", "model.safetensors": b""})
    with pytest.raises(FileNotFoundError, match=r"owner/name.*polymodal.*model\.json"):
        pm.load("hf://owner/name")
    assert hub.downloads() == []


def test_other_files_of_a_repository_are_not_downloaded(hub, model):
    model.push_to_hub("owner/name")
    hub.add("owner/name", {"script.py": b"", "sub/model.json": b"{}", "large.npz": b""})
    pm.load("hf://owner/name")
    assert {path.rpartition("/")[2] for path in hub.downloads()} == FILES
    assert all("sub" not in path for path in hub.downloads())


def test_a_damaged_file_is_an_error_of_the_loader(hub, model):
    model.push_to_hub("owner/name")
    hub.add("owner/name", {"model.json": b'{"format": 2, "model": "os.system"}'})
    with pytest.raises(ValueError, match=r"model\.json"):
        pm.load("hf://owner/name")


@pytest.mark.parametrize("down", ["nothing listens", 500, 503])
def test_without_the_hub_the_cached_copy_is_used(hub, model, monkeypatch, capsys, down):
    model.push_to_hub("owner/name", revision="v1")
    pm.load("hf://owner/name@v1")
    if down == "nothing listens":
        disconnect(monkeypatch)
    else:
        hub.status = down
    assert_equal(pm.load("hf://owner/name@v1"), model)
    assert "cached copy of hf://owner/name@v1" in capsys.readouterr().err
    with pytest.raises(ConnectionError, match="hf://owner/other is not in the cache"):
        pm.load("hf://owner/other")


def test_an_incomplete_cached_copy_is_not_used(hub, model, monkeypatch, tmp_path):
    model.push_to_hub("owner/name")
    pm.load("hf://owner/name")
    for path in (tmp_path / "cache").rglob("weights.safetensors"):
        path.unlink()
    disconnect(monkeypatch)
    with pytest.raises(ConnectionError, match="hf://owner/name is not in the cache"):
        pm.load("hf://owner/name")


def test_offline_mode_asks_nothing(hub, model, monkeypatch):
    model.push_to_hub("owner/name")
    pm.load("hf://owner/name")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    before = len(hub.requests)
    assert_equal(pm.load("hf://owner/name"), model)
    with pytest.raises(ConnectionError, match=r"hf://owner/other is not in the cache.*HF_HUB_OFFLINE"):
        pm.load("hf://owner/other")
    assert len(hub.requests) == before


@pytest.mark.parametrize(
    "address",
    [
        "hf://",
        "hf://name",
        "hf://a/b/c",
        "hf://../b",
        "hf://a/..",
        "hf://a/b@",
        "hf://a/b@../../x",
        "hf://a/b@/x",
        "hf://a/b@x y",
        "hf://a b/c",
        "hf://a/b?x=1",
        "hf://a/b\n",
        "hf://user:secret@host/b",
    ],
)
def test_another_address_is_refused_before_any_request(hub, address):
    with pytest.raises(ValueError, match="hf://"):
        pm.load(address)
    assert hub.requests == []


# The token


def test_the_token_comes_from_the_environment_only(hub, model, monkeypatch, tmp_path):
    model.push_to_hub("owner/name")
    assert {headers.get("authorization", "none") for headers in hub.headers} <= {"Bearer hf_write", "none"}
    assert hub.headers[0]["authorization"] == "Bearer hf_write"
    hub.headers.clear()
    monkeypatch.delenv("HF_TOKEN")
    (tmp_path / "token").write_text("hf_write")  # that of `hf auth login`
    pm.load("hf://owner/name")
    assert hub.headers
    assert not any("authorization" in headers for headers in hub.headers)
    before = len(hub.requests)
    with pytest.raises(PermissionError, match="HF_TOKEN"):
        model.push_to_hub("owner/name")
    assert len(hub.requests) == before


def test_the_token_is_never_in_a_file_or_a_message(hub, model, monkeypatch, tmp_path, capsys):
    model.push_to_hub("owner/name")
    pm.load("hf://owner/name")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with pytest.raises(PermissionError, match=r"owner/name.*HF_TOKEN") as caught:
        model.push_to_hub("owner/name")
    hub.status = 418
    with pytest.raises(ValueError, match="418") as other:
        pm.load("hf://owner/name")
    texts = [str(caught.value), str(other.value), *capsys.readouterr()]
    assert not any(token in text for text in texts for token in ("hf_secret", "hf_write"))
    found = everything(tmp_path) | hub.files("owner/name")
    assert not any(b"hf_write" in content or b"hf_secret" in content for content in found.values())


# The card


def test_the_card_has_metadata_that_the_hub_reads(hub, model):
    scores = {"test": scores_of(["kind"]), "validation": scores_of(["kind"], 98.5)}
    model.push_to_hub("owner/name", licence="cc-by-4.0", data="birds", scores=scores)
    found = metadata(hub.files("owner/name")["README.md"].decode())
    assert (found["library_name"], found["license"]) == ("polymodal", "cc-by-4.0")
    assert {"polymodal", "multimodal", "mac-wae", "label", "text", "vector"} <= {*found["tags"]}
    assert found["metrics"] == ["accuracy"]
    (index,) = found["model-index"]
    assert index["name"] == "name"
    values = {result["dataset"]["split"]: result["metrics"][0]["value"] for result in index["results"]}
    assert values == {"test": 97.5, "validation": 98.5}
    assert {result["dataset"]["name"] for result in index["results"]} == {"birds"}


def test_the_card_explains_the_model(model, tmp_path):
    scores = {"test": scores_of(["kind"])}
    write_hub_folder(model, tmp_path / "up", "owner/name", licence="mit", data="birds", scores=scores)
    card = (tmp_path / "up" / "README.md").read_text(encoding="utf-8")
    for section in ("Modalities", "Scores", "How to use it", "Limitations", "Licence", "Citation"):
        assert f"\n## {section}\n" in card
    assert "trained on **birds**" in card
    assert "| kind | acc | higher | 97.5 |" in card
    assert 'pm.load("hf://owner/name")' in card


def test_the_python_of_the_card_runs(hub, model, tmp_path, monkeypatch):
    model.push_to_hub("owner/name")
    card = hub.files("owner/name")["README.md"].decode()
    monkeypatch.chdir(tmp_path)
    columns = [column for name, modality in model.schema.items() for column in modality.columns(name)]
    pd.DataFrame({name: [None, None] for name in columns} | {"kind": ["a", "b"]}).to_csv("rows.csv", index=False)
    values = {}
    exec(card.split("```python\n")[1].split("```")[0], values)
    assert len(values["imputed"]) == 2
    assert not values["imputed"].isna().any(axis=None)


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.cells = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag == "td":
            self.cells.append("")

    def handle_data(self, data):
        if self.cells and self.tags[-1] == "td":
            self.cells[-1] += data


def render(text):
    read = Tags()
    read.feed(MarkdownIt("gfm-like", {"linkify": False}).render(text))
    return read


def write_card(folder, name, other):
    """The card of a model with a modality `name`, where this is one, and with `other` wherever else a text may be."""
    schema = pm.Schema({name: Label(2, (other, "b")), "size": Vector(1)})
    model = pm.build("mac-wae", schema, latent_dim=4, hidden=(8,), features=4)
    model.untrained = (name,)
    figure, scores = PIL.Image.new("RGB", (2, 2)), {"test": scores_of([other])}
    write_hub_folder(model, folder, "owner/name", data=other, scores=scores, figure=figure, caption=other)
    return (folder / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_names_cannot_add_markup_to_the_card(tmp_path, name):
    allowed = name.isprintable() and len(name) <= 200  # a schema refuses other names
    cards = [
        write_card(tmp_path / "hostile", name if allowed else "kind", name),
        write_card(tmp_path / "b", "kind", "k"),
    ]
    for card in cards:
        found = metadata(card)
        assert {*found} == {"library_name", "metrics", "model-index", "tags"}
        assert found["library_name"] == "polymodal"
    read, plain = (render(card.split("\n---\n", 1)[1]) for card in cards)
    assert read.tags == plain.tags
    if allowed:
        assert name in [cell.strip() for cell in read.cells]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_an_escaped_text_is_shown_as_it_is(text):
    if text.isprintable() and len(text) < 200:
        read = Tags()
        shown = MarkdownIt("gfm-like", {"linkify": False}).render(f"x {escape_markdown(text)} x")
        read.cells, read.tags = [""], ["td"]
        read.feed(shown.replace("<p>", "").replace("</p>", ""))
        assert read.cells[0].strip() == f"x {text} x"
        assert read.tags == ["td"]


def test_a_licence_is_an_identifier(hub, model):
    with pytest.raises(ValueError, match=r"licence.*MIT: yes"):
        model.push_to_hub("owner/name", licence="MIT: yes\nx: y")
    assert hub.requests == []


@pytest.mark.parametrize("name", ["name", "a/b/c", "../x", "a/b@c", "hf://a/b", "a/b\nc", ""])
def test_a_repository_has_an_owner_and_a_name(hub, model, name):
    with pytest.raises(ValueError, match="owner/name"):
        model.push_to_hub(name)
    assert hub.requests == []


def test_a_folder_with_other_files_is_not_replaced(model, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"mine\.txt"):
        write_hub_folder(model, tmp_path, "owner/name")
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_nothing_uploaded_names_this_machine(hub, model, tmp_path):
    model.push_to_hub("owner/name", data="birds.csv", scores={"test": scores_of(["kind"])})
    named = [str(tmp_path), str(Path.home()), str(Path.cwd()), getpass.getuser() + "@", socket.gethostname()]
    for content in hub.bodies:
        assert not any(name.encode() in content for name in named if len(name) > 5)


def test_without_huggingface_hub_the_error_says_how_to_install_it(model, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_write")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for call in (lambda: pm.load("hf://owner/name"), lambda: model.push_to_hub("owner/name")):
        with pytest.raises(ImportError, match=r"pip install 'polymodal\[hub\]'"):
            call()

"""Which folders a demo takes for its own."""

import json

import pytest

from polymodal.cli import demo

DEMO = {"data": {"dataset": "polydigits", "command": "demo"}}
LEFT = [
    "history.csv",
    "prior_history.csv",
    "report.html",
    "scores.csv",
    "settings.yaml",
    "scores-validation.csv",
    "scores-train.csv",
]


class Trained(Exception):
    """Training would begin."""


@pytest.fixture
def begin(monkeypatch):
    """A demo up to its training, of which there is none."""

    def stop(*rows):
        raise Trained

    monkeypatch.setattr(demo.train, "train_in_folder", stop)
    return lambda folder: demo.run_demo(folder, epochs=1, rows=100, seed=0, device="cpu")


def filled(folder, record):
    folder.mkdir()
    for name in LEFT:
        (folder / name).write_text("")
    for name in ("state", "model", "logs", "translations/m0"):
        (folder / name).mkdir(parents=True)
        (folder / name / "x").write_text("")
    (folder / "translations" / "made.json").write_text(json.dumps({"files": ["m0/x", "made.json"]}))
    if record is not None:
        (folder / "experiment.json").write_text(json.dumps(record))
    return folder


def test_what_was_made_from_a_demo_goes_with_it(begin, tmp_path):
    folder = filled(tmp_path / "run", DEMO)
    (folder / ".history.csv-0123abcd.partial").touch()  # of a process that was killed
    with pytest.raises(Trained):
        begin(folder)
    assert not list(folder.iterdir())


def test_a_folder_by_another_name_is_emptied_and_stays(begin, tmp_path):
    (tmp_path / "link").symlink_to(filled(tmp_path / "run", DEMO))
    with pytest.raises(Trained):
        begin(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert not list((tmp_path / "run").iterdir())


@pytest.mark.parametrize("record", [None, {}, {"data": {}}, {"data": {"command": "train"}}])
def test_a_run_that_is_no_demo_is_left_alone(begin, tmp_path, record):
    folder = filled(tmp_path / "run", record)
    before = sorted(folder.rglob("*"))
    with pytest.raises(ValueError, match="must be empty or hold an earlier demo; it holds another run; choose another"):
        begin(folder)
    assert sorted(folder.rglob("*")) == before


def test_a_run_killed_in_its_first_epoch_is_left_alone(begin, tmp_path):
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "state.safetensors").write_text("")
    (tmp_path / "settings.yaml").write_text("")
    with pytest.raises(ValueError, match="it holds another run"):
        begin(tmp_path)
    (tmp_path / "state" / "state.safetensors").unlink()
    with pytest.raises(ValueError, match=r"it holds settings\.yaml, state"):
        begin(tmp_path)
    assert (tmp_path / "settings.yaml").exists()


@pytest.mark.parametrize(
    ("name", "held"), [("thesis.tex", "thesis.tex"), ("translations/my.txt", "translations/my.txt")]
)
def test_what_is_not_of_the_demo_keeps_it_from_being_replaced(begin, tmp_path, name, held):
    folder = filled(tmp_path / "run", DEMO)
    (folder / name).write_text("years")
    with pytest.raises(ValueError, match=f"it holds {held}"):
        begin(folder)
    assert (folder / name).exists()
    assert (folder / "model" / "x").exists()

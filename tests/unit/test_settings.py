"""Settings: where a name goes, what counts more, and what is refused."""

import inspect
import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import get_args

import pytest
import yaml

from polymodal.cli import train
from polymodal.datasets import DATASETS
from polymodal.io.yaml import assignments, dump, read
from polymodal.models import MODELS, build
from polymodal.settings import NOT_SETTINGS, make, resolve
from polymodal.training import fit

SOME = {"dataset": "polydigits", "data": {"rows": 200, "held_out_rows": 50}, "schema": {"widths": (8, 16)}}
VALUES = [7, 0.25, True, False, [3], ["text"], {"m0": 2.0}, {"m0": "text"}, "text"]


def named(function, without):
    parameters = inspect.signature(function).parameters.values()
    return [p for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL) and p.name not in without]


ALL = [
    *(("data", "mac-wae", data, p) for data, make in DATASETS.items() for p in named(make, set())),
    *(("build", model, "polydigits", p) for model, make in MODELS.items() for p in named(make, {"schema"})),
    *(("fit", "mac-wae", "polydigits", p) for p in named(fit, NOT_SETTINGS)),
    ("build", "mac-wae", "polydigits", inspect.signature(build).parameters["seed"]),
]


def choices(parameter, module):
    """Values of which its type takes one, other than the default."""
    hint = eval(parameter.annotation, vars(module)) if isinstance(parameter.annotation, str) else parameter.annotation
    literals = [value for part in get_args(hint) for value in (get_args(part) or [part])]
    return [value for value in [*literals, *VALUES] if value != parameter.default]


@pytest.mark.parametrize(
    ("section", "model", "dataset", "parameter"), ALL, ids=lambda value: getattr(value, "name", value)
)
def test_every_argument_can_be_set_by_its_name_and_arrives(section, model, dataset, parameter):
    make = {"data": DATASETS[dataset], "build": MODELS[model], "fit": fit}[section]
    module = inspect.getmodule(getattr(make, "func", make))
    needed = {"data.path": "birds.csv"} if dataset == "table" else {}
    for value in choices(parameter, module):
        try:
            settings = resolve({"dataset": dataset, "model": model, **needed, f"{section}.{parameter.name}": value})
        except ValueError:
            continue  # of another type than this argument's
        assert getattr(settings, section)[parameter.name] == value
        return
    pytest.fail("no value is taken")


@pytest.mark.parametrize("model", MODELS)
def test_what_is_written_resolves_to_itself(model, tmp_path):
    settings = resolve({**SOME, "model": model, "learning_rate": 1e-5, "weights": {"m0": 2.0}, "folder": "on"})
    (tmp_path / "settings.yaml").write_text(train.format_settings(settings), encoding="utf-8")
    again = resolve(read(tmp_path / "settings.yaml"))
    assert again == settings
    assert dump(asdict(again)) == dump(asdict(settings))


def test_the_defaults_are_those_of_the_functions():
    settings = resolve({"dataset": "polydigits"})
    for name, value in settings.fit.items():
        default = inspect.signature(fit).parameters[name].default
        assert value == (list(default) if isinstance(default, tuple) else default)
    assert resolve({"dataset": "polydigits", "model": "m-wae"}).build["conditioned"] is False
    assert settings.build["hidden"] == [512]


def test_plain_dotted_and_nested_names_agree():
    plain = resolve({**SOME, "beta": 2, "epochs": 3, "seed": 4, "cost": "l2"})
    dotted = resolve({**SOME, "build.beta": 2, "fit.epochs": 3, "fit.seed": 4, "build.seed": 4, "schema.cost": "l2"})
    nested = {"build": {"beta": 2, "seed": 4}, "fit": {"epochs": 3, "seed": 4}}
    assert plain == dotted == resolve({**SOME, **nested, "schema": {"widths": [8, 16], "cost": "l2"}})
    assert plain.data["seed"] == 0


def test_a_name_with_its_section_counts_more_than_a_plain_one_in_any_order():
    some = resolve({**SOME, "seed": 1, "build.seed": 2})
    assert some == resolve({**SOME, "build.seed": 2, "seed": 1})
    assert (some.fit["seed"], some.build["seed"]) == (1, 2)


def test_the_line_counts_more_than_the_file_and_the_file_more_than_defaults():
    settings = resolve({**SOME, "build": {"seed": 1, "beta": 5}, "fit": None}, {"seed": 2, "data.rows": 100})
    assert settings.build["seed"] == settings.fit["seed"] == 2
    assert settings.build["beta"] == 5
    assert settings.data["rows"] == 100
    assert settings.fit["epochs"] == inspect.signature(fit).parameters["epochs"].default


def test_a_plain_name_of_a_model_goes_to_the_model_and_not_to_the_schema():
    settings = resolve({**SOME, "hidden": [64], "schema.hidden": [16]})
    assert settings.build["hidden"] == [64]
    assert settings.schema["hidden"] == [16]


def test_another_model_on_the_line_does_not_take_over_the_defaults_of_the_one_in_the_file():
    whole = yaml.safe_load(dump(asdict(resolve({**SOME, "beta": 5}))))
    settings = resolve(whole, {"model": "m-wae"})
    assert settings.build["conditioned"] is False
    assert settings.build["beta"] == 5
    assert resolve(whole).build["conditioned"] is True


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("-2E+3", -2000.0),
        ("16,32", [16, 32]),
        ("[16, 32]", [16, 32]),
        ("1e-4,2", [1e-4, 2]),
        ("010", "010"),
        ("1:30", "1:30"),
        ("0x1f", "0x1f"),
        ("1_000", "1_000"),
        ("2024-13-45", "2024-13-45"),
        ("-0.5", -0.5),
        ("16,", [16]),
        ("null", None),
        ("", None),
        ("true", True),
        ("bf16", "bf16"),
        ("'a,b'", "a,b"),
        ("{m0: 1, m1: 2e0}", {"m0": 1, "m1": 2.0}),
        ("a=b", "a=b"),
    ],
)
def test_values_are_yaml(text, value):
    assert assignments([f"name={text}"]) == {"name": value}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"bta": 1}, "unknown setting 'bta'; nearest are beta"),
        ({"fit.beta": 1}, "unknown setting 'fit.beta'; nearest are build.beta"),
        ({"epoch": 1}, "unknown setting 'epoch'; nearest are epochs"),
        ({"data": {"row": 1}}, "unknown setting 'data.row'; nearest are data.rows"),
        ({"schema.width_": 1}, "nearest are schema.width, schema.widths"),
        ({"buid.seed": 1}, "unknown setting 'buid.seed'; nearest are "),
        ({"xyzzy": 1}, "unknown setting 'xyzzy'; `polymodal train"),
        ({"epochs": "three"}, "epochs of fit must be int; got 'three'"),
        ({"epochs": True}, "epochs of fit must be int; got True"),
        ({"fit.epochs": 1.5}, "epochs of fit must be int; got 1.5"),
        ({"beta": "x"}, "beta of mac-wae must be float; got 'x'"),
        ({"indices": "all"}, "indices of mac-wae must be 'per-batch', 'per-sample', 'exhaustive'; got 'all'"),
        ({"build.seed": "x"}, "seed of build must be int"),
        ({"rows": [1]}, "rows of polydigits must be int; got "),
        ({"widths": "wide"}, "widths of audio must be"),
        ({"widths": [8, "x"]}, "widths of audio must be"),
        ({"cost": "l3"}, "cost must be one of"),
        ({"fit": 3}, "fit must hold settings by name"),
        ({"dataset": "polydigit"}, "unknown data set 'polydigit'; known are polydigits"),
        ({"dataset": 5}, "dataset must be a name; got 5"),
        ({"dataset": None}, "a data set must be named"),
        ({"network": "foo"}, "network must be given from Python, by schema.replace(network=...); leave it out here"),
        ({"schema": {"network": "foo"}}, "schema.network must be given from Python"),
        ({"beta": "2024-13-45"}, "beta of mac-wae must be float; got '2024-13-45'"),
        ({"fit": {"epochs": 3}, "fit.epochs": 4}, "a setting must be given once; got fit.epochs twice; leave one out"),
        ({"epochs": 3, "fit": {"epochs": 4}}, "a setting must be given once; got epochs and fit.epochs; leave one out"),
        ({"model": "mac"}, "unknown model 'mac'; known are mac-"),
    ],
)
@pytest.mark.parametrize("layer", ["file", "line"])
def test_what_is_wrong_is_said_in_one_line(given, said, layer):
    named = {"dataset": "polydigits"}
    with pytest.raises(ValueError, match=re.escape(said)) as error:
        resolve({**named, **given}) if layer == "file" else resolve({}, {**named, **given})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["beta", "=2", " =2"])
def test_an_assignment_has_a_name_and_a_value(text):
    with pytest.raises(ValueError, match="must be name=value"):
        assignments([text])


def test_a_setting_comes_once():
    with pytest.raises(ValueError, match="got 'beta' twice"):
        assignments(["beta=1", "beta=2"])
    with pytest.raises(ValueError, match="got beta as an option and by --set"):
        train.combine_settings({"dataset": "polydigits", "beta": 1.0}, ["beta=2"], None, None)
    with pytest.raises(ValueError, match=re.escape("got epochs and fit.epochs; leave one out")):
        train.combine_settings({"dataset": "polydigits", "epochs": 1}, ["fit.epochs=2"], None, None)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"fit: [1", "must be YAML; got "),
        (b"- 1\n- 2\n", "must hold settings, such as"),
        (b"\xff\xfe\x00", "it is no text"),
        (b"a: \x01", "must be YAML; got no text"),
        (b"[" * 3000, "must not hold lists or sections in each other so deep"),
        (b"a: &a [*a]", "x.yaml must be YAML; got the alias *a; write out what it stands for, in line 1, column 8"),
        (b"a: !!timestamp x", "x.yaml must be plain YAML; got what is not: "),
        (b"fit:\n  epochs: 1\n  epochs: 2\n", "x.yaml must be YAML; got 'epochs' twice, in line 3, column 3"),
    ],
)
def test_a_file_that_is_no_settings(tmp_path, content, said):
    (tmp_path / "x.yaml").write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(said)) as error:
        read(tmp_path / "x.yaml")
    assert "\n" not in str(error.value)


def test_text_that_looks_like_a_number_comes_back_as_text():
    some = {"a": ["1e-4", "010", "1:30", "5", "null"], "b": [1e-4, 10, 1e22, None]}
    assert assignments([f"name={{{dump(some)[:-1].replace(chr(10), ', ')}}}"])["name"] == some


def test_a_folder_is_no_file_of_settings(tmp_path):
    with pytest.raises(ValueError, match="must be a file; it is a folder, a pipe or a device"):
        read(tmp_path)


def test_an_empty_file_sets_nothing(tmp_path):
    (tmp_path / "x.yaml").write_text("# nothing\n")
    assert read(tmp_path / "x.yaml") == {}


def test_settings_reach_the_data_the_schema_the_model_and_the_fit(tmp_path, monkeypatch):
    given = {}
    monkeypatch.setattr(train.training, "fit", lambda *rows, **arguments: given.update(arguments))
    settings = resolve({**SOME, "folder": str(tmp_path / "run"), "latent_dim": 8, "clip": 1, "build.seed": 3})
    data, model = make(settings)
    train.train_in_folder(settings, data, model)
    assert (len(data.train), len(data.test)) == (200, 50)
    assert data.schema["m0"].widths is None
    assert model.schema["m0"].widths == (8, 16)
    chosen = {"relative": None, "factors": None}  # the model chooses these by its penalty and its schema
    assert {**model.arguments, "hidden": [512], **chosen, "seed": model.seed, "members": 1} == settings.build
    assert given == {"folder": Path(settings.folder), "resume": False, **settings.fit}
    assert resolve(read(tmp_path / "run" / "settings.yaml")) == settings


def test_a_setting_that_would_change_the_values_is_refused_before_anything_is_written(tmp_path):
    settings = resolve({**SOME, "folder": str(tmp_path / "run"), "schema.classes": 5})
    with pytest.raises(ValueError, match="'label' of train must be the model's"):
        make(settings)


def test_what_shows_without_data_is_refused_without_data(tmp_path):
    settings = resolve({**SOME, "folder": str(tmp_path)})
    train.check_run(settings)
    with pytest.raises(ValueError, match="device must be an available one"):
        train.check_run(replace(settings, fit={**settings.fit, "device": "gpu"}))
    with pytest.raises(ValueError, match="it is a file"):
        train.check_run(replace(settings, folder=__file__))
    (tmp_path / "model").mkdir()
    with pytest.raises(
        ValueError, match="must not hold a run, and it does; choose another --folder, resume the run with"
    ):
        train.check_run(settings)
    train.check_run(settings, new=False)


@pytest.mark.parametrize("folder", ["/proc/x", f"{__file__}/x"])
def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_made(folder):
    with pytest.raises(OSError, match=f"{re.escape(folder)} must be a writable folder: .*; free disk space") as said:
        train.check_run(resolve({**SOME, "folder": folder}))
    assert "\n" not in str(said.value)


def test_a_folder_that_can_be_written_is_left_as_it_was(tmp_path):
    train.check_run(resolve({**SOME, "folder": str(tmp_path / "a" / "b")}))
    assert not list(tmp_path.iterdir())


def test_a_run_goes_on_with_its_own_settings(tmp_path, monkeypatch):
    given = {}
    settings = resolve({**SOME, "folder": "elsewhere", "latent_dim": 8, "device": "cpu", "epochs": 2})
    (tmp_path / "settings.yaml").write_text(train.format_settings(settings), encoding="utf-8")
    on = train.combine_settings({"epochs": 5}, [], None, tmp_path)
    assert on == replace(settings, folder=str(tmp_path), fit={**settings.fit, "epochs": 5})
    monkeypatch.setattr(train.training, "fit", lambda *rows, **arguments: given.update(arguments))
    train.train_in_folder(on, *make(on), resume=True)
    assert given["resume"] is True
    assert given["epochs"] == 5
    assert resolve(read(tmp_path / "settings.yaml")) == on


def test_a_run_does_not_go_back(tmp_path):
    settings = resolve({**SOME, "folder": str(tmp_path)})
    (tmp_path / "settings.yaml").write_text(train.format_settings(settings), encoding="utf-8")
    (tmp_path / "history.csv").write_text("epoch\n1\n2\n3\n")
    assert train.combine_settings({"epochs": 3}, [], None, tmp_path).fit["epochs"] == 3
    with pytest.raises(ValueError, match="must be at least 3, the number of finished epochs; got 2"):
        train.combine_settings({"epochs": 2}, [], None, tmp_path)
    with pytest.raises(ValueError, match="must be at least 3, the number of finished epochs; got 2"):
        train.combine_settings({}, ["fit.epochs=2"], None, tmp_path)


def test_settings_that_a_run_cannot_go_on_with_leave_its_file_as_it_was(tmp_path, monkeypatch):
    settings = resolve({**SOME, "folder": str(tmp_path), "schedule": "cosine", "latent_dim": 8})
    (tmp_path / "settings.yaml").write_text(train.format_settings(settings), encoding="utf-8")

    def refuse(*rows, **arguments):
        raise ValueError("another experiment")

    monkeypatch.setattr(train.training, "fit", refuse)
    on = train.combine_settings({"epochs": 50}, [], None, tmp_path)
    with pytest.raises(ValueError, match="another experiment"):
        train.train_in_folder(on, *make(on), resume=True)
    assert (tmp_path / "settings.yaml").read_text(encoding="utf-8") == train.format_settings(settings)


@pytest.mark.parametrize("before", [None, "epochs: 1\n"])
@pytest.mark.parametrize(("began", "error"), [(False, RuntimeError), (False, OSError), (True, OSError)])
def test_settings_stay_when_training_has_begun(tmp_path, monkeypatch, before, began, error):
    path = tmp_path / "settings.yaml"
    if before:
        path.write_text(before)
        (tmp_path / "experiment.json").write_text("{}")

    def fail(*rows, **arguments):
        if began:
            (tmp_path / "experiment.json").unlink(missing_ok=True)
            (tmp_path / "experiment.json").write_text('{"new": 1}')
        raise error("no more")

    monkeypatch.setattr(train.training, "fit", fail)
    settings = resolve({**SOME, "folder": str(tmp_path), "latent_dim": 8})
    data, model = make(settings)
    with pytest.raises(error, match="no more"):
        train.train_in_folder(settings, data, model, resume=bool(before))
    assert (path.read_text() if path.exists() else None) == (train.format_settings(settings) if began else before)


def test_settings_that_cannot_be_written_are_one_sentence(tmp_path, monkeypatch):
    def full(path, text):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(train.checkpoint, "write_text", full)
    settings = resolve({**SOME, "folder": str(tmp_path), "latent_dim": 8})
    with pytest.raises(OSError, match=f"{tmp_path} must be writable: No space left on device; free disk space"):
        train.train_in_folder(settings, *make(settings))


@pytest.mark.parametrize("name", ["patience", "fit.patience", "save_every", "fit.epochs"])
def test_what_may_change_when_a_run_goes_on(tmp_path, name):
    settings = resolve({**SOME, "folder": str(tmp_path)})
    (tmp_path / "settings.yaml").write_text(train.format_settings(settings), encoding="utf-8")
    assert train.combine_settings({}, [f"{name}=90"], None, tmp_path).fit[name.removeprefix("fit.")] == 90


@pytest.mark.parametrize(
    ("given", "assigned", "config"),
    [
        ({"beta": 2.0}, [], None),
        ({}, ["data.rows=100"], None),
        ({}, [], Path("x.yaml")),
        ({"model": "m-wae"}, [], None),
    ],
)
def test_nothing_else_changes_when_a_run_goes_on(tmp_path, given, assigned, config):
    with pytest.raises(ValueError, match=r"--resume can change only epochs, patience, .*, trackers"):
        train.combine_settings(given, assigned, config, tmp_path)


def test_a_run_made_from_python_goes_on_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="must be a run folder"):
        train.combine_settings({}, [], None, tmp_path)
    (tmp_path / "experiment.json").write_text("{}")
    with pytest.raises(ValueError, match=r"trained from Python; .* fit\(\.\.\., folder=.*, resume=True\)"):
        train.combine_settings({}, [], None, tmp_path)

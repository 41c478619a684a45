"""`model.json`, edited by hand or by an enemy."""

import json
import os

import pytest

import polymodal as pm
from attacks.guard import PAYLOAD, guarded, refused

pytestmark = pytest.mark.slow


def at(*path, value):
    """A change of one entry; None removes it."""

    def change(document):
        *way, last = path
        for key in way:
            document = document[key]
        if value is None:
            del document[last]
        else:
            document[last] = value

    return change


def modality(number, **arguments):
    def change(document):
        document["schema"]["modalities"][number].update(arguments)

    return change


AUDIO, IMAGE, LABEL, TEXT, VECTOR = range(5)
HUGE = 10**12

EDITED = {
    "newer": (at("format", value=3), "format must be 1 to 2; got 3; it is newer than this library; update polymodal"),
    "older": (at("format", value=0), "format must be 1 to 2; got 0; take another copy"),
    "true": (at("format", value=True), "format must be 1 to 2; got True"),
    "float": (at("format", value=1.0), "format must be 1 to 2; got 1.0"),
    "string": (at("format", value="1"), "format must be 1 to 2; got '1'"),
    "no format": (at("format", value=None), "format must be 1 to 2; got None"),
    "no schema": (at("schema", value=None), "it must have schema"),
    "unknown entry": (at("sed", value=3), "unknown argument of a model's file 'sed'; known are seed"),
    "unknown model": (at("model", value="mac-vea"), "unknown model 'mac-vea'; known are mac-vae"),
    "model of code": (at("model", value=PAYLOAD), "unknown model"),
    "model of another type": (at("model", value=["mac-wae"]), "model must be str; got ['mac-wae']"),
    "dotted model": (at("model", value="os.system"), "unknown model 'os.system'"),
    "seed": (at("seed", value="0"), "seed must be int; got '0'"),
    "big seed": (at("seed", value=2**70), "does not describe a model"),
    "arguments": (at("arguments", value=[]), "arguments must be dict; got []"),
    "unknown argument": (
        at("arguments", "latent", value=4),
        "unknown argument of mac-wae 'latent'; known are latent_dim",
    ),
    "private argument": (at("arguments", "__class__", value="x"), "unknown argument of mac-wae '__class__'"),
    "schema twice": (at("arguments", "schema", value={}), "multiple values for argument 'schema'"),
    "argument's type": (at("arguments", "latent_dim", value="2"), "latent_dim of mac-wae must be int; got '2'"),
    "argument of code": (at("arguments", "regularizer", value=PAYLOAD), "unknown regularizer"),
    "argument's range": (at("arguments", "p0", value=1.0), "p0 must be in [0, 1); got 1.0"),
    "weights": (at("arguments", "weights", value={"lable": 1.0}), "unknown modality 'lable'; known are label"),
    "big weights": (at("arguments", "weights", value={"label": 1e300}), "does not describe a model"),
    "schema's type": (at("schema", value=[]), "schema must be dict; got []"),
    "schema's entries": (
        at("schema", "modality", value=[]),
        "unknown argument of a schema 'modality'; known are modalities",
    ),
    "no modalities": (at("schema", "modalities", value=[]), "must have at least one modality"),
    "modalities": (at("schema", "modalities", value={"a": 1}), "modalities of a schema must be a list of objects"),
    "a modality": (at("schema", "modalities", value=["label"]), "must be a list of objects; got ['label']"),
    "no type": (at("schema", "modalities", value=[{"name": "a"}]), "a modality must be an object with its type"),
    "groups": (at("schema", "groups", value=["a"]), "groups of a schema must be"),
    "a group": (at("schema", "groups", value={"g": "label"}), "groups of a schema must be"),
    "a group of strangers": (at("schema", "groups", value={"g": ["x"]}), "unknown modality 'x'"),
    "unknown type": (modality(IMAGE, type="imgae"), "unknown modality type 'imgae'; known are image"),
    "type of code": (modality(IMAGE, type=PAYLOAD), "unknown modality type"),
    "type of another type": (modality(IMAGE, type={}), "a modality must be an object with its type"),
    "no name": (modality(IMAGE, name=None), "a schema must map names to modalities"),
    "empty name": (modality(IMAGE, name=""), "names of modalities and groups must have 1 to 200 characters"),
    "name's letters": (modality(IMAGE, name="a\x00\n\x1b[31m"), r"got 'a\x00\n"),
    "name that is written backwards": (modality(IMAGE, name="a\u202eb"), r"got 'a\u202eb'; rename the column"),
    "name without width": (modality(IMAGE, name="a\u200bb"), r"got 'a\u200bb'"),
    "name with a mark of an order of bytes": (modality(IMAGE, name="\ufeffa"), r"got '\ufeffa'"),
    "name of tags": (modality(IMAGE, name="a\U000e0041"), r"got 'a\U000e0041'"),
    "half a letter": (modality(IMAGE, name="\ud800"), "names of modalities and groups must have 1 to 200 characters"),
    "long name": (modality(IMAGE, name="x" * 100_000), "1 to 200 characters"),
    "same name": (modality(IMAGE, name="audio"), "must be unique; 'audio' occurs 2 times"),
    "unknown network": (
        modality(IMAGE, network={"type": "r"}),
        "unknown network type 'r'; there are none; if it is your own",
    ),
    "network's type": (
        modality(IMAGE, network="residual"),
        "a network must be an object with its type; got 'residual'",
    ),
    "modality's unknown argument": (modality(LABEL, clases=3), "unknown argument of label 'clases'; known are classes"),
    "modality's argument": (modality(LABEL, classes="4"), "classes of label must be int; got '4'"),
    "cost": (modality(LABEL, cost=PAYLOAD), "cost must be one of 'categorical', 'categorical-squashed', 'l2'"),
    "cost's type": (modality(LABEL, cost=[PAYLOAD]), "cost of label must be str; got ("),
    "names": (modality(LABEL, names=["a"]), "names must name all 4 classes; got 1 names"),
    "no classes": (modality(LABEL, classes=0), "classes must be at least 1; got 0"),
    "no pixels": (modality(IMAGE, height=-9), "height must be at least 1; got -9"),
    "no numbers": (modality(VECTOR, size=-1), "size must be at least 1; got -1"),
    "no heads": (modality(TEXT, heads=0), "heads must be at least 1; got 0"),
    "layers": (modality(TEXT, layers=10**9), "layers must be in 1..1000; got 1000000000"),
    "dropout": (modality(TEXT, dropout=2.0), "dropout probability has to be between 0 and 1"),
    "vocabulary": (modality(TEXT, vocabulary=[1, 2]), "vocabulary of text must be tuple[str, ...]; got (1, 2)"),
    "code's size": (
        at("arguments", "latent_dim", value=3),
        "does not fit the model: encoders.0.7.weight must be float32 (3, ",
    ),
    "huge code": (at("arguments", "latent_dim", value=HUGE), ""),
    "large code": (at("arguments", "latent_dim", value=10**6), "does not fit the model"),
    "huge layers": (at("arguments", "hidden", value=[10**9]), "does not fit the model"),
    "impossible layers": (at("arguments", "hidden", value=[-1]), "does not describe a model"),
    "very many layers": (at("arguments", "hidden", value=[1] * 10**6), "it describes more than 1"),
    "huge label": (modality(LABEL, classes=HUGE), ""),
    "large label": (modality(LABEL, classes=10**10), "does not fit the model"),
    "huge vector": (modality(VECTOR, size=HUGE), ""),
    "huge text": (modality(TEXT, length=HUGE), ""),
    "huge picture": (modality(IMAGE, height=10**9, width=10**9), ""),
    "unspeakable picture": (modality(IMAGE, height=10**400), ""),
    "very many modalities": (
        at("schema", "modalities", value=[{"name": f"m{i}", "type": "label", "classes": 2} for i in range(100_000)]),
        "a schema must have at least one modality and at most 10000; got 100000",
    ),
    "very many members": (at("schema", "groups", value={"g": ["label"] * 10**6}), "'label' occurs twice"),
    "very many groups": (at("schema", "groups", value={f"g{i}": ["x"] for i in range(10**5)}), "unknown modality 'x'"),
}


@pytest.mark.parametrize("attack", EDITED)
def test_edited(attack, edit):
    change, message = EDITED[attack]
    assert message in refused(edit(change))


def test_the_original_is_fine(folder):
    with guarded():
        assert pm.load(folder).name == "mac-wae"


def test_a_file_of_a_picture_so_large_that_no_blank_of_it_fits_is_no_danger(edit, tmp_path):
    """Few numbers can describe a network for very large pictures; loading must not try it."""
    widths = (1,) * 20
    small = pm.build("mac-wae", pm.Schema({"photo": pm.Image(1, 8, 8, widths=widths)}), latent_dim=2).save(
        tmp_path / "small"
    )
    path = small / "model.json"
    document = json.loads(path.read_text())
    document["schema"]["modalities"][0].update(height=2**20, width=2**20)
    path.write_text(json.dumps(document))
    with guarded():
        assert pm.load(small).schema["photo"].shape == (1, 2**20, 2**20)


RAW = {
    "nothing": (b"", "must be JSON: Expecting value"),
    "half": (b'{"format": 1, "mod', "must be JSON: Unterminated string"),
    "a list": (b"[]", "must hold a JSON object; got list"),
    "a number": (b"1", "must hold a JSON object; got int"),
    "nan": (b'{"format": NaN}', "must be JSON: numbers must be finite; got NaN"),
    "infinity": (b'{"format": -Infinity}', "must be JSON: numbers must be finite; got -Infinity"),
    "overflow": (b'{"format": 1e999}', "must be JSON: numbers must be finite; got 1e999"),
    "many digits": (b'{"format": ' + b"9" * 10**5 + b"}", "must be JSON: "),
    "deep list": (b"[" * 10**6, "must be JSON: it holds lists or objects in each other too deep"),
    "deep object": (b'{"a":' * 10**6, "must be JSON: it holds lists or objects in each other too deep"),
    "rather deep list": (b'{"a":' + b"[" * 300 + b"]" * 300 + b"}", "lists or objects in each other too deep"),
    "rather deep object": (b'{"a":' * 101 + b"1" + b"}" * 101, "lists or objects in each other too deep"),
    "long number": (b'{"format": 1' + b"0" * 400 + b"}", "whole numbers must have at most 40 digits; got 10000"),
    "long negative number": (b'{"seed": -' + b"9" * 41 + b"}", "whole numbers must have at most 40 digits; got -9"),
    "latin": ("{'é': 1}".encode("latin-1"), "must be JSON: 'utf-8' codec can't decode"),
    "utf-16": (b"\xff\xfe{\x00", "must be JSON: 'utf-8' codec can't decode"),
    "zeros": (bytes(1000), "must be JSON: Expecting value"),
    "python": (b"{'format': 1}", "must be JSON: Expecting property name enclosed in double quotes"),
    "pickle": (b"cos\nsystem\n(S'touch owned'\ntR.", "must be JSON: Expecting value"),
    "code": (PAYLOAD.encode(), "must be JSON: Expecting value"),
    "oversized": (b" " * (16 * 2**20 + 1), "must be at most 16777216 bytes of JSON; it is 16777217"),
    "lines": (b'{"format": 1,\n"model":\n\x1b[31m', "must be JSON: Expecting value"),
}


@pytest.mark.parametrize("attack", RAW)
def test_raw(attack, folder):
    content, message = RAW[attack]
    (folder / "model.json").write_bytes(content)
    assert message in refused(folder)


@pytest.mark.parametrize("name", ["model.json", "weights.safetensors"])
class TestPaths:
    def test_missing(self, name, folder):
        (folder / name).unlink()
        assert f"{name} must exist, and does not" in refused(folder)

    def test_a_folder(self, name, folder):
        (folder / name).unlink()
        (folder / name).mkdir()
        assert f"{name} must be a file; it is a folder, a pipe or a device" in refused(folder)

    def test_a_pipe_that_nobody_writes(self, name, folder):
        (folder / name).unlink()
        os.mkfifo(folder / name)
        assert f"{name} must be a file; it is a folder, a pipe or a device" in refused(folder)

    def test_a_device_that_never_ends(self, name, folder):
        (folder / name).unlink()
        (folder / name).symlink_to("/dev/zero")
        assert f"{name} must be a file; it is a folder, a pipe or a device" in refused(folder)

    def test_a_circle_of_links(self, name, folder):
        (folder / name).unlink()
        (folder / name).symlink_to(folder / name)
        assert f"{name} cannot be read" in refused(folder)

    def test_a_link_as_in_a_cache_is_read(self, name, folder):
        (folder / name).rename(folder / "blob")
        (folder / name).symlink_to("blob")
        with guarded():
            pm.load(folder)


def test_folders_that_are_none(folder):
    (folder.parent / "file").write_text("x")
    for there in ("none", "file"):
        assert "model.json must exist, and does not" in refused(folder.parent / there)
    with guarded(), pytest.raises(ValueError, match="cannot be read"):
        pm.load("a\x00b")
    with guarded(), pytest.raises(ValueError, match="cannot be read"):
        pm.load("a" * 10_000)

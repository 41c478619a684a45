"""Exports to ONNX predict what PyTorch predicts, without PyTorch."""

import json
import shutil
import subprocess
import sys
from itertools import product

import numpy as np
import pytest
import torch

import polymodal as pm
from polymodal.batch import Batch
from polymodal.cli.export_run import export_run
from polymodal.onnx import Predictor, export
from polymodal.onnx import exporting as exporting_module
from polymodal.onnx.value_conversion import read_value, write_value
from polymodal.testing.examples import EXAMPLES, sample_rows

NAMES = ("a photo", "../size/'\"", "δ ; kind")
FILES = ["decode.onnx", "encode.onnx", "schema.json", "translate.onnx", "weights.bin"]


def require_equal(made: np.ndarray, expected: torch.Tensor) -> None:
    """Numbers are equal to 1e-5 of the largest one, and classes are equal."""
    value = expected.numpy()
    assert made.shape == value.shape
    if value.dtype.kind == "f":
        np.testing.assert_allclose(made, value, rtol=1e-5, atol=1e-5 * max(1e-3, float(np.abs(value).max())))
    else:
        np.testing.assert_array_equal(made, value)


def require_equal_predictions(model: pm.Model, predictor: Predictor, batch: Batch) -> None:
    """Hidden values are NaN, or classes that do not exist."""
    arrays = {name: value.numpy().copy() for name, value in batch.values.items()}
    for m, (name, value) in enumerate(arrays.items()):
        if value.dtype == np.uint8:
            arrays[name] = value = value.astype(np.float32) / np.float32(255)
        value[~batch.observed[:, m].numpy()] = np.nan if value.dtype.kind == "f" else 10**9
    require_equal(predictor.embed_arrays(arrays, batch.observed.numpy()), model.embed(batch))
    made = predictor.translate_arrays(arrays, batch.observed.numpy())
    for name, value in model.translate(batch).items():
        require_equal(made[name], value)
    decoded = predictor.decode_arrays(predictor.embed_arrays(arrays, batch.observed.numpy()))
    assert all(np.array_equal(decoded[name], made[name]) for name in made)


def all_masks(modalities: int) -> torch.Tensor:
    return torch.tensor([mask for mask in product([False, True], repeat=modalities) if any(mask)])


@pytest.fixture(scope="module")
def model():
    schema = pm.Schema(
        {
            NAMES[0]: pm.Image(3, 6, 5, widths=(4,)),
            NAMES[1]: pm.Vector(2, center=(3.0, 1.0), scale=(2.0, 0.5), log=True, hidden=(8,), partial=True),
            NAMES[2]: pm.Label(3, names=("ash", "oak", "yew"), hidden=(8,)),
        }
    )
    return pm.build("mac-wae", schema, latent_dim=4, hidden=(64,), mask_hidden=8)


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    return export(model, tmp_path_factory.mktemp("onnx") / "exported")


@pytest.fixture(scope="module")
def predictor(folder):
    return Predictor(folder, threads=1)


@pytest.mark.parametrize("rows", [1, 2, 33])
def test_predictions_equal_those_of_pytorch_for_all_masks(model, predictor, rows):
    batch = sample_rows(model.schema, rows, complete=True, seed=rows)
    for mask in all_masks(3):
        require_equal_predictions(model, predictor, Batch(batch.values, mask.expand(rows, -1)))
    mixed = all_masks(3)[torch.arange(rows) % 7]
    require_equal_predictions(model, predictor, Batch(batch.values, mixed))


def test_missing_elements_of_a_vector(model, predictor):
    batch = sample_rows(model.schema, 5, complete=True)
    batch.values[NAMES[1]][::2, 0] = torch.nan
    require_equal_predictions(model, predictor, batch)


def test_users_values_equal_those_of_the_schema(model, predictor, tmp_path):
    generator = np.random.default_rng(0)
    photo = generator.integers(0, 255, (12, 9, 3), np.uint8)
    rows = [
        {NAMES[0]: photo, NAMES[2]: "yew"},
        {NAMES[1]: [250.0, 0.5], NAMES[0]: None, NAMES[2]: float("nan")},
        {NAMES[1]: [float("nan"), 3.5]},
    ]
    values = {name: [] for name in NAMES}
    for row in rows:
        for name, modality in model.schema.items():
            raw = row.get(name)
            missing = raw is None or (isinstance(raw, float) and raw != raw)
            values[name].append(modality.blank if missing else modality.read(raw))
    observed = torch.tensor([[True, False, True], [False, True, False], [False, True, False]])
    batch = Batch({name: torch.stack(some) for name, some in values.items()}, observed)
    expected = model.schema.write(model.translate(batch))
    made = predictor.translate(rows)
    for i, row in enumerate(made):
        assert list(row) == list(NAMES)
        difference = np.abs(np.asarray(row[NAMES[0]], int) - np.asarray(expected[NAMES[0]][i], int))
        assert row[NAMES[0]].mode == "RGB"
        assert difference.max() <= 1  # a float may be rounded to either of two neighbours
        np.testing.assert_allclose(row[NAMES[1]], expected[NAMES[1]][i].numpy(), rtol=1e-5)
        assert row[NAMES[2]] == expected[NAMES[2]][i]
    assert predictor.translate(rows, to=[NAMES[2]]) == [{NAMES[2]: row[NAMES[2]]} for row in made]
    np.testing.assert_allclose(predictor.embed(rows), model.embed(batch).numpy(), rtol=1e-4, atol=1e-5)
    assert predictor.translate([]) == []
    assert predictor.embed([]).shape == (0, model.code_dim)


def test_probabilities_are_those_of_the_model(model, predictor):
    rows = [{NAMES[1]: [4.0, 2.0]}, {NAMES[2]: "oak"}]
    batch = model.schema.batch({NAMES[1]: model.schema[NAMES[1]].read([4.0, 2.0])[None]})
    expected = model.predict(batch)[NAMES[2]].base_dist.probs[0]
    made = predictor.probabilities(rows)
    assert list(made[0][NAMES[2]]) == ["ash", "oak", "yew"]
    np.testing.assert_allclose([*made[0][NAMES[2]].values()], expected.numpy(), rtol=1e-4)


def test_what_does_not_fit_is_refused(predictor):
    for rows, rule in [
        ([{"leaf": 1}], "leaf"),
        ([{NAMES[2]: "elm"}], "row 0.*ash, oak, yew.*elm"),
        ([{NAMES[1]: [1.0]}], "row 0.*2 numbers.*1"),
        ([{NAMES[1]: [-7.0, 1.0]}], "above -1.*-7"),
        ([{NAMES[1]: [np.inf, 1.0]}], "finite.*inf"),
        ([{NAMES[2]: "ash"}, {}], "row 1"),
        ([{NAMES[0]: b"no image"}], "row 0.*image"),
    ]:
        with pytest.raises(ValueError, match=rule):
            predictor.translate(rows)
    with pytest.raises(ValueError, match="row 0"):
        predictor.translate([{NAMES[2]: "ash"}], given=[NAMES[1]])
    with pytest.raises(TypeError, match="list of dictionaries"):
        predictor.translate({NAMES[2]: "ash"})
    mask = np.array([[False, False, True]])
    with pytest.raises(ValueError, match=r"0\.\.2.*7"):
        predictor.translate_arrays({NAMES[2]: np.array([7])}, mask)
    with pytest.raises(ValueError, match=r"\(1, 3, 6, 5\).*\(1, 3\)"):
        predictor.translate_arrays({NAMES[0]: np.zeros((1, 3))}, ~mask)
    with pytest.raises(ValueError, match="no values"):
        predictor.translate_arrays({}, mask)
    with pytest.raises(ValueError, match=r"observed must be bool \(B, 3\)"):
        predictor.translate_arrays({}, np.ones((1, 3)))


BLOCKED = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "onnx", "onnxscript", "pandas"):
            raise ImportError(f"{name} must not be imported")
sys.meta_path.insert(0, Blocker())
from polymodal.onnx import Predictor
predictor = Predictor(sys.argv[1])
names = predictor.names
rows = predictor.translate([{names[1]: [4.0, 2.0]}, {names[2]: "oak"}])
assert rows[0][names[0]].size == (5, 6) and rows[0][names[2]] in ("ash", "oak", "yew")
predictor.translate([{names[0]: rows[0][names[0]]}])
predictor.embed([{names[2]: "ash"}])
assert "torch" not in sys.modules
"""


def test_a_predictor_runs_without_pytorch(folder):
    subprocess.run([sys.executable, "-c", BLOCKED, str(folder)], check=True)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (lambda d: d.update(format=2), "format 1.*2"),
        (lambda d: d.update(modalities=[]), "modalities"),
        (lambda d: d.update(modalities=[3]), "object.*3"),
        (lambda d: d.pop("code"), "'code'.*dict"),
        (lambda d: d["modalities"][0].update(kind="video"), "kind.*video"),
        (lambda d: d["modalities"][0].update(shape=[3, 6, -5]), "shape.*-5"),
        (lambda d: d["modalities"][0].update(shape=[3, 6, 4]), r"shape.*\[3, 6, 5\].*\[3, 6, 4\]"),
        (lambda d: d["modalities"][1].update(scale=[1.0, 0.0]), "positive.*0"),
        (lambda d: d["modalities"][1].update(center=[1.0]), "'center'.*2.*1"),
        (lambda d: d["modalities"][2].update(names=["a", 1, "b"]), "'names'"),
        (lambda d: d["modalities"][2].update(classes=4), "'names'.*4.*3"),
        (lambda d: d["modalities"][2].update(name=d["modalities"][0]["name"]), "different names"),
        (lambda d: d["modalities"][2].update(input="value_9"), "inputs.*value_9"),
    ],
)
def test_a_damaged_description_is_refused(folder, tmp_path, change, rule):
    shutil.copytree(folder, tmp_path / "copy")
    path = tmp_path / "copy" / "schema.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    with pytest.raises(ValueError, match=rule):
        Predictor(tmp_path / "copy")


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_or_missing_file_is_named(folder, tmp_path, name):
    shutil.copytree(folder, tmp_path / "copy")
    path = tmp_path / "copy" / name
    graph = "onnx" if name == "weights.bin" else name
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(ValueError, match=graph):
        Predictor(tmp_path / "copy")
    path.unlink()
    with pytest.raises((FileNotFoundError, ValueError), match=graph):
        Predictor(tmp_path / "copy")


def test_an_export_that_differs_leaves_nothing(model, tmp_path, monkeypatch):
    def differ(model, folder):
        raise RuntimeError("'size' differs")

    monkeypatch.setattr(exporting_module, "compare", differ)
    with pytest.raises(RuntimeError, match="differs"):
        export(model, tmp_path / "exported")
    assert list(tmp_path.iterdir()) == []


def test_other_files_are_never_replaced(model, folder, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"notes\.txt"):
        export(model, tmp_path, overwrite=True)
    with pytest.raises(ValueError, match="overwrite"):
        export(model, folder)
    assert sorted(path.name for path in folder.iterdir()) == FILES


def test_a_missing_package_is_named(model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ImportError, match=r"onnxscript.*pip install 'polymodal\[onnx\]'"):
        export(model, tmp_path / "exported")


def test_texts_and_sounds_are_converted_as_by_their_modalities():
    text = pm.Text.learn(["A red bird.", "A blue bird!"], length=6)
    document = {"kind": "text", "shape": [6], "length": 6, "vocabulary": text.vocabulary}
    document |= {"spellings": None, "glued": None, "capitalized": None, "dates": None}
    for raw in ("a red BIRD!", "", "one two three four five six seven"):
        np.testing.assert_array_equal(read_value(document, raw), text.read(raw).numpy())
        assert write_value(document, read_value(document, raw)) == text.write(text.read(raw))


def test_a_sound_file_has_the_same_spectrogram(tmp_path):
    soundfile = pytest.importorskip("soundfile")
    times = np.arange(9000) / 11_025
    soundfile.write(tmp_path / "a.wav", 0.3 * np.sin(2 * np.pi * 440 * times), 11_025)
    audio = pm.Audio(8, 16)
    document = {"kind": "audio", "shape": [1, 8, 16], "dtype": "float32", "frames": 8, "mels": 16, "rate": 8000}
    made = read_value(document, tmp_path / "a.wav")
    np.testing.assert_allclose(made, audio.read(tmp_path / "a.wav").numpy(), atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", pm.MODELS)
def test_all_models_and_types_equal_pytorch(name, tmp_path):
    model = pm.build(name, pm.Schema(EXAMPLES), latent_dim=8)
    predictor = Predictor(export(model, tmp_path / "exported"), threads=1)
    masks = all_masks(len(EXAMPLES))
    for rows in (1, 2, 33):
        batch = sample_rows(model.schema, rows, complete=True, seed=rows)
        mixed = masks[torch.randperm(len(masks), generator=torch.Generator().manual_seed(rows))]
        require_equal_predictions(model, predictor, Batch(batch.values, mixed[torch.arange(rows) % len(masks)]))
        for mask in masks:
            require_equal_predictions(model, predictor, Batch(batch.values, mask.expand(rows, -1)))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mac-wae", "mac-vae", "mmvae", "nexus"])
def test_ensembles_equal_pytorch(name, tmp_path):
    schema = pm.Schema({"size": pm.Vector(3, hidden=(8,)), "kind": pm.Label(4, hidden=(8,)), "more": EXAMPLES["text"]})
    model = pm.build(name, schema, latent_dim=4, members=3)
    predictor = Predictor(export(model, tmp_path / "exported"), threads=1)
    batch = sample_rows(schema, 33, complete=False)
    require_equal_predictions(model, predictor, batch)


@pytest.mark.slow
@pytest.mark.parametrize("members", [None, 2])
def test_a_linear_path_and_a_flow_equal_pytorch(members, tmp_path):
    schema = pm.Schema({name: pm.Vector(2, hidden=(8,)) for name in "abc"} | {"kind": pm.Label(3, hidden=(8,))})
    arguments = {"factors": 3, "latent_dim": 4} | ({} if members is None else {"members": members})
    model = pm.build("mac-wae", schema, **arguments)
    if members is None:
        model.make_flow(width=8)
    with torch.no_grad():
        for name in ("loadings", "mean", "noise", "share"):
            getattr(model.linear, name).uniform_(0.1, 0.9)
    predictor = Predictor(export(model, tmp_path / "exported"), threads=1)
    require_equal_predictions(model, predictor, sample_rows(schema, 33, complete=False))


@pytest.mark.slow
def test_a_linear_path_that_predicts_nothing(tmp_path):
    schema = pm.Schema({name: pm.Vector(2, hidden=(8,)) for name in "abc"})
    model = pm.build("mac-wae", schema, factors=2, latent_dim=4)
    with torch.no_grad():
        model.linear.loadings.uniform_(0.1, 0.9)
    predictor = Predictor(export(model, tmp_path / "exported"), threads=1)
    require_equal_predictions(model, predictor, sample_rows(schema, 9, complete=False))


@pytest.mark.slow
def test_a_network_that_cannot_be_exported_says_so(model, tmp_path):
    class Choosing(torch.nn.Module):
        def forward(self, x):
            return x[:, :4] * 2 if x.sum() > 0 else x[:, :4]

    schema = pm.Schema({"a": pm.Vector(4, hidden=(8,)), "b": pm.Vector(4, hidden=(8,))})
    model = pm.build("mac-wae", schema, latent_dim=4)
    model.encoders[0] = Choosing()
    with pytest.raises(ValueError, match=r"encoder.*cannot be exported"):
        export(model, tmp_path / "exported")
    assert list(tmp_path.iterdir()) == []


def test_weights_outside_of_the_folder_are_never_read(folder, tmp_path):
    onnx = pytest.importorskip("onnx")
    shutil.copytree(folder, tmp_path / "copy")
    shutil.copy(folder / "weights.bin", tmp_path / "weights.bin")
    graph = onnx.load(tmp_path / "copy" / "translate.onnx", load_external_data=False)
    for tensor in graph.graph.initializer:
        for entry in tensor.external_data:
            entry.value = "../weights.bin" if entry.key == "location" else entry.value
    onnx.save(graph, tmp_path / "copy" / "translate.onnx")
    with pytest.raises(ValueError, match=r"translate\.onnx"):
        Predictor(tmp_path / "copy")


def test_the_command_exports_a_run_into_its_folder(tmp_path, monkeypatch, capsys):
    data = pm.datasets.load("polydigits", rows=20, held_out_rows=10)
    model = pm.build("mac-wae", data.schema.replace(widths=(4,)), latent_dim=4)
    model.save(tmp_path / "model")
    monkeypatch.setattr("polymodal.cli.export_run.open_model", lambda folder, device: model)
    made = export_run(tmp_path, None, to="onnx", overwrite=False)
    assert made == tmp_path / "onnx"
    assert sorted(path.name for path in made.iterdir()) == FILES
    shown = capsys.readouterr().out
    assert all(name in shown for name in FILES)
    with pytest.raises(ValueError, match="--overwrite"):
        export_run(tmp_path, None, to="onnx", overwrite=False)

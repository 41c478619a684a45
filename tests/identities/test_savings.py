"""What makes a step fast or small leaves loss and gradients as they are, on and off, beside the plain loop."""

import pytest
import torch
import torch.nn.functional as F

from benchmarks import reference
from polymodal.batch import Batch
from polymodal.modalities import Audio, Image, Label, Modality, Text, Vector
from polymodal.modalities.costs import SquaredError
from polymodal.models import MAC, build, execution, masks
from polymodal.networks.cpu import chunked, linear, stacked
from polymodal.networks.cpu.deconvolution import Deconvolution
from polymodal.schema import Schema
from polymodal.table.table import Table

pytestmark = pytest.mark.slow

ROWS = 6
MODALITIES: dict[str, Modality] = {
    "photo": Image(3, 12, 12, widths=(8, 6)),
    "sketch": Image(1, 12, 12, widths=(8, 6)),
    "drawing": Image(1, 12, 12, widths=(8, 6)),
    "sound": Audio(8, 6, widths=(4, 6, 4)),
    "species": Label(3, names=("cat", "dog", "hen")),
    "place": Label(3),
    "wild": Label(2),
    "size": Vector(2, center=(3.0, 1.0), scale=(2.0, 1.0)),
    "weight": Vector(2),
    "text": Text(4, ("one", "two"), width=8, layers=1, feedforward=8, dropout=0.0),
}


def one_hot(scores, x):
    return (scores - F.one_hot(x, scores.shape[-1])).square().sum(-1)


OFF = {
    "equal indices decoded once": (masks, "_find_distinct", lambda b: (b, torch.arange(len(b)))),
    "alike networks together": (execution, "architecture", lambda network, **_: None),
    "chains of layers as one function": (stacked, "apply_fused", lambda network, x: network(x)),
    "products by oneDNN": (linear, "_quick", lambda a, b: False),
    "transposed convolutions in another order": (Deconvolution, "link", lambda layer: None),
    "one decoder after another": (
        execution,
        "sum_chunks",
        lambda function, z, _, most: sum(function(z[p], p) for p in chunked.split_codes(*z.shape[:2], most)),
    ),
    "no one-hot code": (SquaredError, "apply", one_hot),
}
"""Of every saving, what stands in its place without it."""
CHOICES = {"all": set(), "none": set(OFF)}
CHOICES |= {f"all but {name}": {name} for name in OFF} | {f"only {name}": set(OFF) - {name} for name in OFF}


@pytest.fixture(autouse=True)
def smallest(monkeypatch):
    """Products as small as these are not worth the way otherwise."""
    monkeypatch.setattr(linear, "FEWEST", 0)


@pytest.fixture
def without(monkeypatch):
    def switch(choice):
        for name in CHOICES[choice]:
            monkeypatch.setattr(*OFF[name])

    return switch


def model_and_rows(name, dtype, *, complete, **arguments):
    schema = Schema(MODALITIES).replace(cost="l2")
    torch.manual_seed(3)
    weights = {"species": 3.0, "sound": 0.5}
    arguments = {"draws": 12, "p0": 0.7, **({"regularizer": "mmd"} if name == "mac-wae" else {}), **arguments}
    model = build(name, schema, latent_dim=5, weights=weights, **arguments)
    values = {
        key: torch.rand(ROWS, *modality.shape)
        if modality.levels is None and modality.dtype.is_floating_point
        else torch.randint(modality.levels or 256, (ROWS, *modality.shape), dtype=modality.dtype)
        for key, modality in schema.items()
    }
    observed = torch.ones(ROWS, len(schema), dtype=torch.bool)
    if not complete:
        observed = torch.rand(ROWS, len(schema)) < 0.6
        observed[:, 0] = True
    return model.to(dtype).train(), Batch(values, observed)


def loss_and_gradients(model, compute):
    torch.manual_seed(11)
    model.zero_grad()
    loss = compute()
    loss.backward()
    return loss.detach(), {name: p.grad.clone() for name, p in model.named_parameters()}


def assert_equal(ours, plain, of_loss, of_gradients):
    (loss, gradients), (plain_loss, plain_gradients) = ours, plain
    assert abs(loss - plain_loss) <= of_loss * abs(plain_loss)
    for name, expected in plain_gradients.items():
        assert (gradients[name] - expected).norm() <= of_gradients * expected.norm(), name
        assert expected.norm() > 0, name


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["fp32", "fp64"])
@pytest.mark.parametrize("complete", [True, False], ids=["complete", "incomplete"])
@pytest.mark.parametrize("choice", CHOICES)
def test_every_saving_on_and_off(choice, complete, dtype, without):
    model, batch = model_and_rows("mac-wae", dtype, complete=complete)
    stock = reference.stock(model)
    plain = loss_and_gradients(stock, lambda: reference.loss(stock, batch))
    without(choice)
    ours = loss_and_gradients(model, lambda: model.loss(batch).total)
    assert_equal(ours, plain, *((1e-6, 1e-4) if dtype == torch.float32 else (1e-9, 1e-9)))


@pytest.mark.parametrize("at_once", [1, 4, ROWS, 2 * ROWS + 1, 1000])
@pytest.mark.parametrize("name", ["mac-wae", "mac-vae"])
@pytest.mark.parametrize("indices", ["per-batch", "per-sample"])
def test_gradients_in_pieces(name, indices, at_once):
    whole, batch = model_and_rows(name, torch.float64, complete=False, indices=indices)
    pieces, _ = model_and_rows(name, torch.float64, complete=False, indices=indices, at_once=at_once)
    pieces.load_state_dict(whole.state_dict())
    a, b = (loss_and_gradients(model, lambda model=model: model.loss(batch).total) for model in (whole, pieces))
    assert_equal(b, a, 1e-9, 1e-9)
    torch.manual_seed(5)
    terms = whole.loss(batch).terms
    torch.manual_seed(5)
    with torch.no_grad():
        for key, term in pieces.loss(batch).terms.items():
            assert term == pytest.approx(float(terms[key]), rel=1e-9)


def test_pieces_are_taken_where_all_would_not_fit(monkeypatch):
    """Half of the memory that is left is what the decoders' backward pass may take."""
    whole, batch = model_and_rows("mac-wae", torch.float64, complete=True, at_once=10**6)
    model, _ = model_and_rows("mac-wae", torch.float64, complete=True)
    taken = []
    emit = MAC._run_decoders
    monkeypatch.setattr(
        MAC, "_run_decoders", lambda self, names, z: taken.append(len(z[names[0]])) or emit(self, names, z)
    )
    monkeypatch.setattr(chunked, "measure_free_memory", lambda device: 500_000)
    loss = loss_and_gradients(model, lambda: model.loss(batch).total)
    assert 1 <= max(taken) < 6
    assert_equal(loss, loss_and_gradients(whole, lambda: whole.loss(batch).total), 1e-9, 1e-9)


class Held:
    """A tensor that a backward pass will need; the class counts the numbers that are held at once."""

    now = most = 0

    def __init__(self, tensor):
        self.tensor = tensor
        Held.now += tensor.numel()
        Held.most = max(Held.most, Held.now)

    def __del__(self):
        Held.now -= self.tensor.numel()


def test_what_is_held_for_the_backward_pass_grows_with_k_but_not_in_pieces():
    """In the plain loop with all decoders, at once with the largest, and in pieces with what makes the codes."""
    growth = {}
    for way, at_once in {"plain": None, "at once": None, "in pieces": ROWS}.items():
        most = []
        for draws in (5, 50):
            model, batch = model_and_rows("m-wae", torch.float32, complete=True, at_once=at_once, indices="per-sample")
            model.draws, Held.now, Held.most = draws, 0, 0
            with torch.autograd.graph.saved_tensors_hooks(Held, lambda held: held.tensor):
                loss = reference.loss(reference.stock(model), batch) if way == "plain" else model.loss(batch).total
                loss.backward()
            most.append(Held.most)
        growth[way] = most[1] - most[0]
    assert growth["plain"] > 20 * growth["in pieces"]
    assert growth["plain"] > 2 * growth["at once"] > 4 * growth["in pieces"]


def test_modalities_whose_costs_differ_are_not_computed_together():
    schema = Schema(
        {"a": Vector(2), "b": Vector(2, cost="laplace"), "c": Vector(2, cost="gaussian(2)"), "d": Vector(2)}
    )
    model = build("mac-wae", schema, latent_dim=3)
    assert model._group_alike(model.decoders, schema) == [["a", "d"], ["b"], ["c"]]


def test_somebody_who_hooks_into_a_network_is_called():
    schema = Schema({"a": Label(2), "b": Label(2)})
    model = build("mac-wae", schema, latent_dim=3)
    table = Table({"a": torch.tensor([0, 1, 1]), "b": torch.tensor([1, 0, 1])}, schema=schema)
    called = []
    model.decoders[1].register_forward_hook(lambda *_: called.append("b"))
    model.translate(table, given=["a"])
    assert called == ["b"]

"""Networks that are computed together, and weights that are held together, against the separate computation."""

import pytest
import torch
from torch.func import functional_call, stack_module_state

from polymodal.batch import Batch
from polymodal.modalities import Label, Vector
from polymodal.models import build, network_groups
from polymodal.models.execution import Networks
from polymodal.networks.cpu import WeightStack, stack_weights
from polymodal.schema import Schema
from polymodal.training.accelerator import make_accelerator
from polymodal.training.loop import complete_settings
from polymodal.training.step import Step, sample_plan

SCHEMA = Schema(
    {
        "large": Label(7),
        "size": Vector(1, hidden=(32,)),
        "small": Label(2),
        "pair": Label(2, names=("a", "b")),
        "weight": Vector(1, hidden=(32,)),
        "middle": Label(4),
        "old": Label(3, cost="l2"),
    }
)
TOLERANCE = {torch.float64: 1e-10, torch.float32: 2e-5}


@pytest.fixture(params=[torch.float64, torch.float32], ids=str)
def dtype(request):
    return request.param


def make_model(dtype=torch.float64, name="mac-wae", **arguments):
    arguments = {"draws": 4, **arguments} if name == "mac-wae" else arguments
    return build(name, SCHEMA, latent_dim=3, seed=1, **arguments).to(dtype)


def make_batch(rows=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    values = {
        name: torch.randn(rows, 1, generator=generator)
        if one.levels is None
        else torch.randint(one.levels, (rows,), generator=generator)
        for name, one in SCHEMA.items()
    }
    observed = torch.rand(rows, len(SCHEMA), generator=generator) < 0.7
    observed[:, 0] = True
    return Batch(values, observed)


def compute_gradients(model, batch):
    torch.manual_seed(3)
    model.zero_grad()
    loss = model.loss(batch)
    loss.total.backward()
    return loss, {name: p.grad for name, p in model.named_parameters()}


def test_labels_of_any_number_of_classes_are_one_group():
    model = make_model()
    groups = model._group_alike(model.decoders, SCHEMA)
    assert groups == [["small", "pair", "middle", "large"], ["size", "weight"], ["old"]]
    assert ["small", "pair", "old", "middle", "large"] in model._group_alike(model.encoders, SCHEMA)
    assert len(model._group_alike(model.decoders, SCHEMA, rows=10**6)) == 5  # equal sizes need no padding


def test_batched_labels_equal_separate_ones(dtype, monkeypatch):
    model, batch = make_model(dtype), make_batch()
    z = torch.randn(2, 6, 3, dtype=dtype)
    outputs, (loss, gradients) = model.emit(z), compute_gradients(model, batch)
    with monkeypatch.context() as patch:
        patch.setattr(network_groups, "architecture", lambda network, **_: None)
        alone = make_model(dtype)
        expected, (plain, plain_gradients) = alone.emit(z), compute_gradients(alone, batch)
    near = {"rtol": TOLERANCE[dtype], "atol": TOLERANCE[dtype]}
    for name, modality in SCHEMA.items():
        assert outputs[name].shape == (2, 6, modality.levels or 1)
        torch.testing.assert_close(outputs[name], expected[name], **near)
    for name, term in plain.terms.items():
        torch.testing.assert_close(loss.terms[name], term, **near)
    for name, gradient in plain_gradients.items():
        torch.testing.assert_close(gradients[name], gradient, **near)


@pytest.mark.parametrize("name", ["mac-wae", "mvae", "jmvae"])
@pytest.mark.parametrize("settings", [{}, {"clip": 0.1, "ema": 0.9}, {"accumulate": 2}], ids=str)
def test_training_with_stacked_weights_equals_training_without(name, settings, monkeypatch):
    steps = []
    for stacked in (True, False):
        with monkeypatch.context() as patch:
            if not stacked:
                patch.setattr(Networks, "stack_weights", lambda self: [])
            arguments = {"rows": "complete"} if name == "jmvae" else {}
            model = make_model(name=name, **arguments)
            step = Step(
                model,
                make_accelerator("cpu", None),
                complete_settings(batch_size=6, learning_rate=0.01, weight_decay=0.1, **settings),
            )
        assert bool(step.weights.stacks) == stacked
        for number in range(4):
            torch.manual_seed(number)
            batch = make_batch(seed=number)
            if name == "jmvae":
                batch = Batch(batch.values, torch.ones_like(batch.observed))
            due = (number + 1) % settings.get("accumulate", 1) == 0
            step(batch, 1.0, 6 * settings.get("accumulate", 1) if due else 0)
        steps.append(step)
    near = {"rtol": 1e-9, "atol": 1e-11}
    states = [step.weights.read_state(step.adam) for step in steps]
    assert states[0].keys() == states[1].keys()
    for key, value in states[1].items():
        torch.testing.assert_close(states[0][key], value, **near)
    for key, value in steps[1].model.state_dict().items():
        torch.testing.assert_close(steps[0].model.state_dict()[key], value, **near)
    if settings.get("ema"):
        for key, value in steps[1].average.state_dict().items():
            torch.testing.assert_close(steps[0].average.state_dict()[key], value, **near)
    for step in steps:
        step.release()
        assert all(p.is_contiguous() and p.untyped_storage().nbytes() == p.nbytes for p in step.model.parameters())


def test_the_state_of_the_optimiser_does_not_depend_on_stacks():
    """A state is restored with and without stacks; parameters with different numbers of steps leave their stack."""

    def make_step():
        step = Step(make_model(), make_accelerator("cpu", None), complete_settings(batch_size=6))
        for number in range(2):
            torch.manual_seed(number)
            step(make_batch(seed=number), 1.0, 6)
        return step

    step, other = make_step(), make_step()
    state = {name: value.clone() for name, value in step.weights.read_state(step.adam).items()}
    other(make_batch(), 1.0, 6)
    other.weights.restore_state(other.adam, state)
    restored = other.weights.read_state(other.adam)
    assert restored.keys() == state.keys()
    assert all(torch.equal(restored[name], value) for name, value in state.items())
    before = len(other.weights.stacks)
    first = other.weights.stacks[0].parameters[0]
    number = next(number for number, p in enumerate(other.weights.parameters) if p is first)
    state[f"{number}/step"] = state[f"{number}/step"] + 1
    other.weights.restore_state(other.adam, state)
    assert len(other.weights.stacks) == before - 1
    restored = other.weights.read_state(other.adam)
    assert all(torch.equal(restored[name], value) for name, value in state.items())
    other(make_batch(), 1.0, 6)


def test_gradients_of_single_parameters_count_too():
    layers = [torch.nn.Linear(2, 3, bias=False) for _ in range(3)]
    stack = WeightStack([layer.weight for layer in layers])
    assert stack_weights([layer.weight for layer in layers]) is stack.tensor
    assert stack_weights([layer.weight for layer in layers[1:]]).shape == (2, 3, 2)
    x = torch.ones(1, 2)
    layers[1](x).sum().backward()
    stack.tensor.sum().backward()
    stack.collect_gradients()
    torch.testing.assert_close(stack.tensor.grad, torch.stack([torch.full((3, 2), g) for g in (1.0, 2.0, 1.0)]))
    assert layers[1].weight.grad is None
    stack.release()


def test_the_loss_is_batched_over_models_by_vmap():
    models, batch = [make_model(), make_model(), make_model()], make_batch()
    for seed, model in enumerate(models):
        torch.manual_seed(seed)
        with torch.no_grad():
            for p in model.parameters():
                p += 0.1 * torch.randn_like(p)
    plan = sample_plan(models[0], batch)
    parameters, buffers = stack_module_state(models)

    def compute(parameters, buffers):
        return functional_call(models[0], (parameters, buffers), (batch,), {"plan": plan}).terms

    terms = torch.vmap(compute, randomness="different")(parameters, buffers)
    for number, model in enumerate(models):
        for name, term in model.loss(batch, plan=plan).terms.items():
            if not name.startswith("penalty"):
                torch.testing.assert_close(terms[name][number], term)

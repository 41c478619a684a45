"""A chain of layers equals the layers one by one, and overwrites nothing but its own."""

from copy import deepcopy

import pytest
import torch
from torch import nn

from polymodal.networks.conv import image_decoder, spectrogram_decoder
from polymodal.networks.cpu import chain
from polymodal.networks.cpu.chain import apply_fused
from polymodal.networks.cpu.deconvolution import Deconvolution

NETWORKS = {
    "one layer": lambda: nn.Linear(4, 3),
    "without a bias": lambda: nn.Sequential(nn.Linear(4, 5, bias=False), nn.ReLU(), nn.Linear(5, 3)),
    "activation first": lambda: nn.Sequential(nn.ReLU(), nn.Linear(4, 3), nn.Sigmoid()),
    "activations alone": lambda: nn.Sequential(nn.ReLU(), nn.Sigmoid()),
    "two activations": lambda: nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Sigmoid()),
    "nested": lambda: nn.Sequential(nn.Sequential(nn.Linear(4, 6), nn.ReLU()), nn.Sequential(nn.Linear(6, 2))),
    "picture": lambda: image_decoder(4, (3, 12, 10), (6, 12)).append(nn.Sigmoid()),
    "picture of many channels": lambda: image_decoder(4, (9, 7, 7), (6, 12)),
    "spectrogram": lambda: spectrogram_decoder(4, (1, 8, 6), (4, 6)).append(nn.Sigmoid()),
}
OTHERS = {
    "an unknown layer": lambda: nn.Sequential(nn.Linear(4, 3), nn.Tanh()),
    "an unflattening elsewhere": lambda: nn.Sequential(nn.Linear(4, 6), nn.Unflatten(1, (2, 3))),
    "a dilated layer": lambda: nn.Sequential(
        nn.Linear(4, 8), nn.ReLU(), nn.Unflatten(1, (2, 2, 2)), Deconvolution(2, 2, 3, dilation=2)
    ),
    "a layer of a subclass": lambda: nn.Sequential(type("Own", (nn.Linear,), {})(4, 3), nn.ReLU()),
}


@pytest.fixture
def runs(monkeypatch):
    """How often links have run."""
    calls, outputs = [], chain._outputs
    monkeypatch.setattr(chain, "_outputs", lambda *arguments: calls.append(1) or outputs(*arguments))
    return calls


def made(name, networks=NETWORKS):
    torch.manual_seed(0)
    return networks[name]().double(), torch.randn(7, 4, dtype=torch.float64)


def answers(compute, network, x):
    x = x.clone().requires_grad_()
    y = compute(network, x)
    g = torch.linspace(0.1, 1, y.numel(), dtype=y.dtype).view_as(y)
    kept = g.clone()
    gradients = torch.autograd.grad(y, [x, *network.parameters()], g)
    assert torch.equal(g, kept)
    return [x, y, *gradients]


@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_and_gradients(name, runs):
    network, x = made(name)
    ours, theirs = (answers(compute, network, x) for compute in (apply_fused, lambda network, x: network(x)))
    assert runs
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)
    assert torch.equal(ours[0], x)


def test_several_leading_axes(runs):
    network, x = made("nested")
    x = torch.stack([x, 2 * x])
    ours, theirs = (answers(compute, network, x) for compute in (apply_fused, lambda network, x: network(x)))
    assert runs
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", NETWORKS)
def test_finite_differences(name):
    network, x = made(name)
    assert torch.autograd.gradcheck(lambda x: apply_fused(network, x), x[:2].requires_grad_())


@pytest.mark.parametrize("name", NETWORKS)
def test_without_gradients_it_is_the_same(name, runs):
    network, x = made(name)
    y = apply_fused(network, x)
    with torch.no_grad():
        assert torch.equal(apply_fused(network, x), y)
    assert len(runs) == 2


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_not_known_runs_as_it_is(name, runs):
    network, x = made(name, OTHERS)
    assert torch.equal(apply_fused(network, x), network(x))
    assert not runs


def test_hooks_are_called(runs):
    network, x = made("nested")
    called = []
    network[0][0].register_forward_hook(lambda *_: called.append(1))
    apply_fused(network, x)
    assert called
    assert not runs


def test_another_forward_pass_is_taken(runs):
    network, x = made("nested")
    vars(network[1])["forward"] = lambda x: x + 1
    assert torch.equal(apply_fused(network, x), network(x))
    assert not runs


def test_lower_precision_and_no_rows_run_as_they_are(runs):
    network, x = made("nested")
    network, x = network.float(), x.float()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(apply_fused(network, x), network(x))
    assert apply_fused(network, x[:0]).shape == (0, 2)
    assert not runs


def test_frozen_parameters_have_no_gradient():
    network, x = made("picture")
    free = deepcopy(network)
    for layer in (network[0], network[5]):
        layer.requires_grad_(False)
    for one in (network, free):
        apply_fused(one, x).square().sum().backward()
    for a, b in zip(network.parameters(), free.parameters(), strict=True):
        assert a.grad is None if not a.requires_grad else torch.equal(a.grad, b.grad)


def test_a_weight_that_changed_before_the_backward_pass_is_an_error():
    network, x = made("nested")
    y = apply_fused(network, x).sum()
    with torch.no_grad():
        network[1][0].weight.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()


def test_a_graph_can_be_gone_through_twice():
    network, x = made("picture")
    x.requires_grad_()
    y = apply_fused(network, x).square().sum()
    first, second = (torch.autograd.grad(y, x, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)

"""Linear layers by oneDNN equal PyTorch's own."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from polymodal.networks.cpu import linear
from polymodal.networks.cpu.linear import Linear, affine, inner, outer

SIZES = [(1, 1, 1), (5, 3, 2), (64, 7, 300), (64, 300, 7), (33, 64, 64)]


@pytest.fixture(autouse=True)
def called(monkeypatch):
    """How often oneDNN was asked: for the smallest products too."""
    monkeypatch.setattr(linear, "FEWEST", 0)
    calls, onednn = [], linear._onednn
    monkeypatch.setattr(linear, "_onednn", lambda *matrices: calls.append(1) or onednn(*matrices))
    return calls


def close(a, b):
    assert a.shape == b.shape
    assert (a - b).norm() <= 1e-5 * b.norm()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("n", "k", "m"), SIZES)
def test_results_and_gradients(n, k, m, bias, called):
    torch.manual_seed(0)
    ours, theirs = Linear(k, m, bias=bias), nn.Linear(k, m, bias=bias)
    theirs.load_state_dict(ours.state_dict())
    made = []
    for layer in (ours, theirs):
        torch.manual_seed(1)
        x = torch.randn(2, n, k, requires_grad=True)
        y = layer(x)
        made.append([y, *torch.autograd.grad(y, [x, *layer.parameters()], torch.randn_like(y))])
    for a, b in zip(*made, strict=True):
        close(a, b)
    assert len(called) == 3


def test_second_derivatives():
    torch.manual_seed(0)
    x, weight = torch.randn(4, 3, requires_grad=True), torch.randn(5, 3, requires_grad=True)

    def second(product):
        (first,) = torch.autograd.grad(product(x, weight).square().sum(), x, create_graph=True)
        return torch.autograd.grad(first.square().sum(), [x, weight])

    for a, b in zip(second(affine), second(F.linear), strict=True):
        close(a, b)


@pytest.mark.parametrize(("n", "k", "m"), SIZES)
def test_products(n, k, m, called):
    torch.manual_seed(0)
    x, w, g = torch.randn(n, k), torch.randn(m, k), torch.randn(n, m)
    close(inner(x, w), x @ w.mT)
    close(inner(g, w.mT), g @ w)
    close(outer(g, x), g.mT @ x)
    close(outer(g[::2], x[::2]), g[::2].mT @ x[::2])
    assert len(called) == 4


def test_only_what_is_asked_for_is_computed(called):
    layer = Linear(3, 2).requires_grad_(False)
    layer(torch.randn(4, 3, requires_grad=True)).sum().backward()
    assert len(called) == 2
    assert layer.weight.grad is None


@pytest.mark.filterwarnings("ignore:TF32 acceleration")
@pytest.mark.parametrize("why", ["double", "lower", "off", "small", "none"])
def test_elsewhere_it_is_pytorchs_own(why, called, monkeypatch):
    layer, x = Linear(3, 2), torch.randn(4, 3)
    if why == "double":
        layer, x = layer.double(), x.double()
    if why == "small":
        monkeypatch.setattr(linear, "FEWEST", 10**6)
    with torch.autocast("cpu", torch.bfloat16, enabled=why == "lower"), torch.backends.mkldnn.flags(why != "off"):
        y = layer(x[:0] if why == "none" else x)
        assert torch.equal(y, F.linear(x[:0] if why == "none" else x, layer.weight, layer.bias))
    assert not called


def test_the_layer_is_pytorchs_own_in_a_file():
    assert Linear(3, 2).state_dict().keys() == nn.Linear(3, 2).state_dict().keys()
    assert repr(Linear(3, 2)) == repr(nn.Linear(3, 2))

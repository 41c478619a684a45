"""Transposed convolutions equal PyTorch's own, whichever way they take."""

from copy import deepcopy

import pytest
import torch
from torch import nn

from polymodal.networks.cpu import deconvolution
from polymodal.networks.cpu.deconvolution import Deconvolution

CASES = {
    "wide": ((12, 16, 3), {"stride": 2, "padding": 1}, (4, 4)),
    "wide, even": ((12, 9, 3), {"stride": 2, "padding": 1, "output_padding": 1}, (7, 5)),
    "narrow": ((8, 3, 3), {"stride": 2, "padding": 1}, (7, 7)),
    "narrow, even in one side": ((8, 3, 3), {"stride": 2, "padding": 1, "output_padding": (0, 1)}, (7, 4)),
    "narrow, one pixel": ((8, 1, 3), {"stride": 2, "padding": 1, "output_padding": 1}, (1, 1)),
    "narrow, large kernel": ((5, 2, 5), {"stride": 3, "padding": 2, "output_padding": 1}, (3, 4)),
    "narrow, taps that reach nothing": ((5, 2, 5), {"stride": 1, "padding": 4}, (6, 5)),
    "sequence": ((12, 6, (4, 1)), {"stride": (2, 1), "padding": (1, 0)}, (8, 1)),
    "sequence, odd": ((12, 6, (4, 1)), {"stride": (2, 1), "padding": (1, 0), "output_padding": (1, 0)}, (5, 1)),
    "sequence to a spectrogram": ((6, 1, (1, 12)), {}, (32, 1)),
    "sequence to two spectrograms": ((6, 2, (3, 12)), {"stride": (2, 1)}, (9, 1)),
    "width 1 that is no sequence": ((6, 9, 3), {"stride": 2, "padding": 1}, (4, 1)),
    "without a bias": ((6, 2, 3), {"bias": False}, (4, 4)),
    "grouped": ((6, 4, 3), {"groups": 2}, (4, 4)),
    "dilated": ((6, 4, 3), {"dilation": 2}, (4, 4)),
}


def pair(case, dtype):
    """A layer, PyTorch's own of the same weights, and values."""
    torch.manual_seed(0)
    channels, arguments, size = CASES[case]
    ours = Deconvolution(*channels, **arguments).to(dtype)
    theirs = nn.ConvTranspose2d(*channels, **arguments).to(dtype)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs, torch.randn(7, channels[0], *size, dtype=dtype)


def answers(layer, x):
    """What a layer gives, and the gradients of it and of all that it depends on."""
    x = x.clone().requires_grad_()
    y = layer(x)
    g = torch.linspace(0.1, 1, y.numel(), dtype=y.dtype).view_as(y)
    return [y, *torch.autograd.grad(y, [x, *layer.parameters()], g)]


@pytest.mark.parametrize("piece", [1, 50, 2**20])
@pytest.mark.parametrize("case", CASES)
def test_equal_in_double_precision(case, piece, monkeypatch):
    monkeypatch.setattr(deconvolution, "PIECE", piece)
    ours, theirs, x = pair(case, torch.float64)
    for a, b in zip(answers(ours, x), answers(theirs, x), strict=True):
        assert torch.allclose(a, b, rtol=1e-9, atol=1e-9)
        assert a.shape == b.shape


@pytest.mark.parametrize("case", CASES)
def test_equal_in_single_precision(case):
    ours, theirs, x = pair(case, torch.float32)
    for a, b in zip(answers(ours, x), answers(theirs, x), strict=True):
        assert (a - b).norm() <= 1e-5 * b.norm()


@pytest.mark.parametrize("case", ["wide", "narrow", "sequence to a spectrogram"])
def test_any_order_in_memory(case):
    ours, theirs, x = pair(case, torch.float64)
    assert torch.allclose(ours(x.transpose(0, 1).contiguous().transpose(0, 1)), theirs(x))
    assert ours(x[:0]).shape == theirs(x[:0]).shape


@pytest.mark.parametrize("case", ["wide", "narrow", "sequence"])
def test_finite_differences(case):
    ours, _, x = pair(case, torch.float64)
    assert torch.autograd.gradcheck(ours, x[:2].clone().requires_grad_())


def test_lower_precision_and_sizes_are_pytorchs_own():
    ours, theirs, x = pair("narrow", torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(ours(x), theirs(x))
    assert torch.equal(ours(x, [14, 14]), theirs(x, [14, 14]))


def test_the_layer_is_pytorchs_own_in_a_file():
    ours, theirs, _ = pair("wide", torch.float32)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    theirs.load_state_dict(deepcopy(ours).state_dict())

"""Chains of layers as one autograd function on a CPU.

Layers overwrite intermediate tensors in the forward and the backward pass where possible, which saves memory and time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from polymodal.networks.cpu.linear import LINEAR, affine, inner, outer
from polymodal.runtime.vectorizing import is_vectorizing

__all__ = ["Gradients", "Link", "apply_fused", "has_hooks", "layers_of"]

Gradients = tuple[Tensor | None, ...]
"""Gradients of a link's input and of its parameters, in order; None for those that were not requested."""


class Link(ABC):
    """The forward and backward pass of one layer or of several consecutive layers.

    The argument `mine` is True for a tensor that the chain created and nothing else reads, so it may be overwritten.
    """

    parameters: tuple[Tensor, ...] = ()
    returns = False
    """Whether the backward pass needs the output, so that the next link must not overwrite it."""

    @abstractmethod
    def forward(self, x: Tensor, *, mine: bool) -> Tensor:
        """Computes the output for an input."""

    @abstractmethod
    def backward(self, x: Tensor, y: Tensor, g: Tensor, *, mine: bool, asked: Sequence[bool]) -> Gradients:
        """Computes gradients from the input, the output, and the gradient of the output.

        Arguments:
            x: Input; equal to the output if the link overwrites its input.
            y: Output; if `returns` is False, the next link may have overwritten it.
            g: Gradient of the output.
            mine: Whether g may be overwritten.
            asked: Whether the gradient is requested, for the input and for each parameter.
        """


class Dense(Link):
    """A linear layer, `(*, in)` to `(*, out)`."""

    def __init__(self, layer: nn.Linear) -> None:
        self.parameters = (layer.weight,) if layer.bias is None else (layer.weight, layer.bias)

    def forward(self, x: Tensor, *, mine: bool) -> Tensor:
        return affine(x, *self.parameters)

    def backward(self, x: Tensor, y: Tensor, g: Tensor, *, mine: bool, asked: Sequence[bool]) -> Gradients:
        g, weight = g.flatten(0, -2), self.parameters[0]
        of_x = inner(g, weight.mT).view_as(x) if asked[0] else None
        of_weight = outer(g, x.flatten(0, -2)) if asked[1] else None
        return (of_x, of_weight) if len(asked) == 2 else (of_x, of_weight, g.sum(0) if asked[2] else None)


class Spread(Link):
    """A linear layer that outputs images, `(N, in)` to `(N, C, h, w)`, in channels-last order."""

    def __init__(self, layer: nn.Linear, shape: Sequence[int]) -> None:
        self.shape, self.parameters = tuple(shape), (layer.weight, layer.bias)

    def forward(self, x: Tensor, *, mine: bool) -> Tensor:
        weight, bias = map(self._last, self.parameters)
        channels, *size = self.shape
        return affine(x, weight, bias).view(-1, *size, channels).permute(0, 3, 1, 2)

    def backward(self, x: Tensor, y: Tensor, g: Tensor, *, mine: bool, asked: Sequence[bool]) -> Gradients:
        g = g.permute(0, 2, 3, 1).flatten(1)  # (N, h w C)
        return (
            inner(g, self._last(self.parameters[0]).mT) if asked[0] else None,
            self._first(outer(g, x)) if asked[1] else None,
            self._first(g.sum(0)) if asked[2] else None,
        )

    def _last(self, parameter: Tensor) -> Tensor:
        """Reorders the rows of a parameter to channels last."""
        return parameter.unflatten(0, self.shape).movedim(0, 2).flatten(0, 2)

    def _first(self, gradient: Tensor) -> Tensor:
        """Reorders the rows of a gradient to channels first."""
        channels, *size = self.shape
        return gradient.unflatten(0, (*size, channels)).movedim(2, 0).flatten(0, 2)


class Activation(Link):
    """An elementwise function whose derivative can be computed from its output.

    Arguments:
        make: The function.
        overwrite: In-place version of the function.
        back: Function of the output's gradient, the output and a result tensor that computes the input's gradient.
    """

    returns = True

    def __init__(
        self,
        make: Callable[[Tensor], Tensor],
        overwrite: Callable[[Tensor], Tensor],
        back: Callable[[Tensor, Tensor, Tensor], Tensor],
    ) -> None:
        self.make, self.overwrite, self.back = make, overwrite, back

    def forward(self, x: Tensor, *, mine: bool) -> Tensor:
        return self.overwrite(x) if mine else self.make(x)

    def backward(self, x: Tensor, y: Tensor, g: Tensor, *, mine: bool, asked: Sequence[bool]) -> Gradients:
        return (self.back(g, y, g if mine else torch.empty_like(g)),)


ops = torch.ops.aten
RELU = Activation(torch.relu, torch.relu_, lambda g, y, to: ops.threshold_backward.grad_input(g, y, 0, grad_input=to))
SIGMOID = Activation(
    torch.sigmoid, torch.sigmoid_, lambda g, y, to: ops.sigmoid_backward.grad_input(g, y, grad_input=to)
)

LINKS: dict[type[nn.Module], Callable[..., Link | None]] = {
    **dict.fromkeys(LINEAR, Dense),
    nn.ReLU: lambda layer: RELU,
    nn.Sigmoid: lambda layer: SIGMOID,
}
"""Functions that convert layers to links, by layer type. Layers of other types may define a method `link`."""


def apply_fused(network: nn.Module, x: Tensor, otherwise: Callable[[Tensor], Tensor] | None = None) -> Tensor:
    """Computes `network(x)` as one function if all its layers have links and it runs on a CPU without autocast.

    Outputs and gradients are those of the separate layers. Second derivatives are not available.

    Arguments:
        network: A layer, or a sequence of layers.
        x: Input, `(N, *)`.
        otherwise: Function to call in all other cases; by default the network.

    Example:
        >>> network = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> x = torch.rand(5, 3)
        >>> bool(torch.allclose(apply_fused(network, x), network(x)))
        True
    """
    links = _links(network) if _plain(x) else None
    if links is None:
        return (otherwise or network)(x)
    if not torch.is_grad_enabled():
        *_, y = _outputs(links, x)
        return y
    return Chain.apply(links, x, *(p for link in links for p in link.parameters))  # pyright: ignore[reportReturnType]


def layers_of(network: nn.Module) -> list[nn.Module]:
    """Returns the layers of a network in the order in which it applies them; nested sequences are flattened."""
    return [part for layer in network for part in layers_of(layer)] if type(network) is nn.Sequential else [network]


def has_hooks(network: nn.Module) -> bool:
    """Whether a module of the network has hooks or a replaced forward method, such as a compiled one."""
    return any(
        module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or "forward" in vars(module)
        for module in network.modules()
    )


class Chain(torch.autograd.Function):
    """The autograd function of `apply_fused`."""

    @staticmethod
    def forward(ctx: Any, links: list[Link], x: Tensor, *parameters: Tensor) -> Tensor:
        """Returns the last output, and saves all outputs; an overwritten output is saved as its replacement."""
        values = list(_outputs(links, x))
        ctx.links = links
        ctx.save_for_backward(x, *values, *parameters)  # parameters are saved so that autograd detects in-place changes
        return values[-1]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Computes gradients from the last link to the first."""
        values, (g,), (_, of_x, *asked) = ctx.saved_tensors, grad_outputs, ctx.needs_input_grad
        gradients: list[Tensor | None] = []
        for number, link in reversed([*enumerate(ctx.links)]):
            before = len(asked) - len(link.parameters)
            wanted, asked = [number > 0 or of_x, *asked[before:]], asked[:before]
            mine = number + 1 < len(ctx.links)
            g, *more = link.backward(values[number], values[number + 1], g, mine=mine, asked=wanted)
            gradients = [*more, *gradients]
        return None, g, *gradients


def _outputs(links: list[Link], x: Tensor) -> Iterator[Tensor]:
    mine = False
    for link in links:
        x = link.forward(x, mine=mine)
        mine = not link.returns
        yield x


def _plain(x: Tensor) -> bool:
    """Whether x is a floating point tensor on a CPU, without autocast, compilation or vectorizing, and not empty."""
    if torch.is_autocast_enabled("cpu") or torch.compiler.is_compiling() or is_vectorizing():
        return False
    return x.device.type == "cpu" and x.is_floating_point() and len(x) > 0


def _links(network: nn.Module) -> list[Link] | None:
    """Returns the links of a network, or None if a layer has no link."""
    layers = layers_of(network)
    if has_hooks(network):
        return None
    links: list[Link | None] = []
    while layers:
        layer, *layers = layers
        shape = _find_image_shape(layers[:2]) if type(layer) in LINEAR and layer.bias is not None else None
        if shape is None:
            links.append(_link(layer))
        else:
            links += [Spread(cast("nn.Linear", layer), shape), RELU]
            layers = layers[2:]
    return None if None in links else links  # pyright: ignore[reportReturnType]


def _find_image_shape(layers: list[nn.Module]) -> tuple[int, ...] | None:
    """Returns the image shape `(C, h, w)` if the layers are a ReLU and an unflattening to images, else None."""
    if [*map(type, layers)] != [nn.ReLU, nn.Unflatten]:
        return None
    dim, size = layers[1].dim, layers[1].unflattened_size
    return tuple(size) if dim == 1 and len(size) == 3 else None  # pyright: ignore[reportArgumentType]


def _link(layer: nn.Module) -> Link | None:
    make = LINKS.get(type(layer), getattr(type(layer), "link", lambda layer: None))
    return make(layer)

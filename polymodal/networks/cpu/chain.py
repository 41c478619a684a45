"""Chains of layers as one function on a CPU, forwards and backwards: what each makes is overwritten by the next."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from polymodal.networks.cpu.linear import LINEAR, affine, inner, outer

__all__ = ["Gradients", "Link", "chained", "layers_of", "watched"]

Gradients = tuple[Tensor | None, ...]
"""Of a link's input and of its parameters, in order; None of what is not asked for."""


class Link(ABC):
    """What one layer does, or some that follow each other, forwards and backwards.

    `mine` says that the chain itself has made a tensor, and that nobody else will read it: it may be overwritten.
    """

    parameters: tuple[Tensor, ...] = ()
    returns = False
    """Whether it needs its output again on the way back, so that nobody may overwrite that."""

    @abstractmethod
    def forward(self, x: Tensor, *, mine: bool) -> Tensor:
        """The output of an input."""

    @abstractmethod
    def backward(self, x: Tensor, y: Tensor, g: Tensor, *, mine: bool, asked: Sequence[bool]) -> Gradients:
        """Gradients, from the input, the output, and the gradient of the output.

        Arguments:
            x: The input; that of a link that overwrites it is its output.
            y: The output; what came in its place, unless the link `returns` to it.
            g: Of the output.
            mine: Whether g may be overwritten.
            asked: Which are wanted: of the input and of each parameter.
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
    """A linear layer to pictures, `(N, in)` to `(N, C, h, w)`, which it leaves in channels-last order."""

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
        """Its rows with channels last."""
        return parameter.unflatten(0, self.shape).movedim(0, 2).flatten(0, 2)

    def _first(self, gradient: Tensor) -> Tensor:
        """Its rows with channels first."""
        channels, *size = self.shape
        return gradient.unflatten(0, (*size, channels)).movedim(2, 0).flatten(0, 2)


class Activation(Link):
    """An elementwise function whose derivative is known from its output.

    Arguments:
        make: The function.
        overwrite: The same in place.
        back: From the output's gradient and the output to the input's gradient, written into the third tensor.
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
"""How layers of a type become links. A layer of another type may have a method `link` that says so."""


def chained(network: nn.Module, x: Tensor, otherwise: Callable[[Tensor], Tensor] | None = None) -> Tensor:
    """`network(x)`, as one function where that is known of all its layers and it runs on a CPU as it stands.

    Outputs and gradients are those of the layers one by one; second derivatives cannot be had of it.

    Arguments:
        network: A layer, or a sequence of layers.
        x: `(N, *)`.
        otherwise: What computes it elsewhere; by default the network.

    Example:
        >>> network = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> x = torch.rand(5, 3)
        >>> bool(torch.allclose(chained(network, x), network(x)))
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
    """In the order in which a sequence of layers applies them."""
    return [part for layer in network for part in layers_of(layer)] if type(network) is nn.Sequential else [network]


def watched(network: nn.Module) -> bool:
    """Whether somebody has hooked into a part of it, or given it another forward pass, such as a compiled one."""
    return any(
        module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or "forward" in vars(module)
        for module in network.modules()
    )


class Chain(torch.autograd.Function):
    """See `chained`."""

    @staticmethod
    def forward(ctx: Any, links: list[Link], x: Tensor, *parameters: Tensor) -> Tensor:
        """The last output; all are kept, one that was overwritten as what came in its place."""
        values = list(_outputs(links, x))
        ctx.links = links
        ctx.save_for_backward(x, *values, *parameters)  # these so that a change in the meantime is noticed
        return values[-1]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """From the last link to the first."""
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
    """Whether it is computed on a CPU, in its own precision, now."""
    cpu = x.device.type == "cpu" and x.is_floating_point() and len(x) > 0
    return cpu and not torch.is_autocast_enabled("cpu") and not torch.compiler.is_compiling()


def _links(network: nn.Module) -> list[Link] | None:
    """What computes a network, if that is known of all its layers."""
    layers = layers_of(network)
    if watched(network):
        return None
    links: list[Link | None] = []
    while layers:
        layer, *layers = layers
        shape = _picture(layers[:2]) if type(layer) in LINEAR and layer.bias is not None else None
        if shape is None:
            links.append(_link(layer))
        else:
            links += [Spread(cast("nn.Linear", layer), shape), RELU]
            layers = layers[2:]
    return None if None in links else links  # pyright: ignore[reportReturnType]


def _picture(layers: list[nn.Module]) -> tuple[int, ...] | None:
    """The shape of pictures that a ReLU and an unflattening make, in this order."""
    if [*map(type, layers)] != [nn.ReLU, nn.Unflatten]:
        return None
    dim, size = layers[1].dim, layers[1].unflattened_size
    return tuple(size) if dim == 1 and len(size) == 3 else None  # pyright: ignore[reportArgumentType]


def _link(layer: nn.Module) -> Link | None:
    make = LINKS.get(type(layer), getattr(type(layer), "link", lambda layer: None))
    return make(layer)

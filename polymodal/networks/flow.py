"""A conditional rectified flow over latent codes: a distribution p(w | c, b) to sample from.

w is a row's code given all of its observed modalities, c its code given the modalities that the conditioning mask b
observes; both are standardised, elementwise, by the mean and the standard deviation of w over the training rows. With
Gaussian noise eps and a time t in [0, 1], a straight path leads from e to w:

    e = c + sigma eps,    w_t = (1 - t) e + t w

and a network learns its velocity, `v(w_t, t, c, b) ~ E[w - e | w_t, c, b]`. Sampling starts at e and integrates
`dw/dt = v(w, t, c, b)` from t = 0 to 1. The condition "nothing" (c = 0 and b = 0) gives the unconditional distribution.

What was reached may then be put onto a fresh path: with new noise, w_t at t = 1/2 is followed to t = 1 again. A sample
of p(w | c, b) stays one, and errors of the velocity that led to a code which is not like any become smaller.

Also known as flow matching. Not to be confused with normalising flows, which are trained by maximum likelihood.
"""

from __future__ import annotations

from math import inf, log
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["CodeFlow"]

FREQUENCIES = 8
"""Frequencies of the embedding of time, unless another number is asked for."""
FASTEST = 50.0
"""The highest of them, in radians; the lowest is 1."""
WIDEST = 512
"""Of the residual layers, unless another width is asked for."""
DEEPEST = 100
"""The most residual layers."""
MOST_FREQUENCIES = 1000
"""Of the embedding of time."""
CONTEXT = 64
"""Numbers that tell every residual layer what is given, unless another size is asked for."""
RETURN = 0.5
"""The time t at which a sampled code is put onto a fresh path."""
SHORTER = 1.5
"""How the solver's steps get shorter towards the end of a path: the time that is left falls as this power of the share
of the steps that is left."""
AT_ONCE = 2048
"""Codes that are integrated at once on a CPU: the layers' outputs then fit its cache."""


class CodeFlow(nn.Module):
    """The velocity network v(w, t, c, b), its loss and its sampler.

    Arguments:
        code_dim: Size of a code, D.
        modalities: Number of modalities, M.
        width: Size of the residual layers; by default eight times that of a code, between 128 and 512. Wider ones
            take longer and make more of long codes.
        layers: Number of residual layers; time and what is given scale and shift the input of each.
        sigma: Standard deviation of the noise around the code that a path starts from, in standardised units. With 1
            unconditional paths start from the standard normal distribution.
        context: Size of what tells the residual layers what is given; with 0 only the first layer knows it.
        frequencies: Sines of the embedding of time; it has as many cosines.

    Raises:
        ValueError: `layers`, `sigma` or `frequencies` is out of its range.

    Attributes:
        mean: Mean of the codes w, `(D,)`.
        scale: Standard deviations of the codes w, `(D,)`.

    Example:
        >>> flow = CodeFlow(code_dim=3, modalities=2, width=8)
        >>> c, b = torch.zeros(5, 3), torch.tensor([True, False]).expand(5, 2)
        >>> flow.transport(torch.randn(5, 3), c, b).shape
        torch.Size([5, 3])

    Source: Liu, Gong and Liu (2023), "Flow Straight and Fast", Eq. 1; that a path starts at the predicted code is
    posterior-mean rectified flow (Ohayon, Michaeli and Elad 2024); fresh paths are a choice of this library, after the
    restarts of Xu et al. (2023).
    """

    mean: Tensor
    scale: Tensor
    frequencies: Tensor

    returns = 2
    """How often `FlowCodes` lets a sample take a fresh path."""

    @property
    def sizes(self) -> dict[str, Any]:
        """The keyword arguments that make such a flow; a model's file holds them."""
        return {
            "width": self.width,
            "layers": len(self.layers),
            "sigma": self.sigma,
            "context": self.context_dim,
            "frequencies": len(self.frequencies),
        }

    def __init__(
        self,
        code_dim: int,
        modalities: int,
        *,
        width: int | None = None,
        layers: int = 3,
        sigma: float = 1.0,
        context: int = CONTEXT,
        frequencies: int = FREQUENCIES,
    ) -> None:
        super().__init__()
        if not 1 <= layers <= DEEPEST:
            raise ValueError(f"layers of a flow must be in 1..{DEEPEST}; got {layers}")
        if not 0 < sigma < inf:
            raise ValueError(f"sigma of a flow must be positive and finite; got {sigma}")
        if not 1 <= frequencies <= MOST_FREQUENCIES:
            raise ValueError(f"frequencies of a flow must be in 1..{MOST_FREQUENCIES}; got {frequencies}")
        width = min(max(128, 8 * code_dim), WIDEST) if width is None else width
        self.code_dim, self.modalities, self.width, self.sigma = code_dim, modalities, width, sigma
        self.context_dim = context
        self.register_buffer("mean", torch.zeros(code_dim))
        self.register_buffer("scale", torch.ones(code_dim))
        self.register_buffer("frequencies", torch.exp(torch.linspace(0, log(FASTEST), frequencies)), persistent=False)
        self.code = nn.Linear(code_dim, width)
        self.time = nn.Linear(2 * frequencies, width, bias=False)
        self.condition = nn.Linear(code_dim + modalities, width, bias=False)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(layers + 1))
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(layers))
        self.films = nn.ModuleList(nn.Linear(2 * frequencies, 2 * width) for _ in range(layers))
        self.out = nn.Linear(width, code_dim)
        self.context = nn.Sequential()
        if context:
            first, last = nn.Linear(code_dim + modalities, width), nn.Linear(context, 2 * layers * width)
            self.context.extend([first, nn.SiLU(), nn.Linear(width, context), nn.SiLU(), last])
        for layer in [*self.films, *list(self.context)[-1:], self.out]:
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def standardise(self, codes: Tensor) -> Tensor:
        """Codes `(*, D)` in the units of the training codes' mean and standard deviation."""
        return (codes - self.mean) / self.scale

    def velocity(self, w: Tensor, t: Tensor, condition: Sequence[Tensor]) -> Tensor:
        """v(w, t, c, b).

        Arguments:
            w: Standardised codes, `(N, D)`.
            t: Times in [0, 1], `(N, 1)` or `(1, 1)`.
            condition: What `embed_condition` returns, for N rows or for one.

        Returns:
            `(N, D)`.
        """
        angles = t * self.frequencies
        time = torch.cat([angles.sin(), angles.cos()], dim=-1)
        first, *contexts = condition
        h = self.code(w) + self.time(time) + first
        for i, (norm, film, layer) in enumerate(zip(self.norms, self.films, self.layers, strict=False)):
            known = film(time) + contexts[i] if contexts else film(time)
            scale, shift = known.chunk(2, dim=-1)
            h = h + layer(F.silu(torch.addcmul(shift, norm(h), 1 + scale)))
        return self.out(F.silu(self.norms[-1](h)))

    def embed_condition(self, c: Tensor, b: Tensor) -> list[Tensor]:
        """What the layers make of standardised codes `(N, D)` and their masks `(N, M)` alone, at any time.

        Returns:
            The share of the first layer, `(N, width)`; with a context also the scale and the shift of each residual
            layer, `(N, 2 width)`.
        """
        known = torch.cat([c, b.to(c.dtype)], dim=-1)
        first = self.condition(known)
        return [first, *self.context(known).split(2 * self.width, dim=-1)] if self.context_dim else [first]

    def loss(self, w: Tensor, c: Tensor, b: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """The squared error of the velocity of each row, `(N,)`, a mean over the elements of a code.

        Arguments:
            w: Codes given all observed modalities, `(N, D)`.
            c: Codes given the conditioning masks, `(N, D)`.
            b: The masks, `(N, M)` bool; a row without True is conditioned on nothing, whatever its code.
            noise: Standard normal noise, `(N, D)`.
            t: Times in [0, 1], `(N, 1)`.
        """
        w, c = self.standardise(w), self._standardise_condition(c, b)
        start = c + self.sigma * noise
        found = self.velocity(torch.lerp(start, w, t), t, self.embed_condition(c, b))
        return (found - (w - start)).square().mean(-1)

    def transport(
        self,
        noise: Tensor,
        c: Tensor | None = None,
        b: Tensor | None = None,
        *,
        again: Sequence[Tensor] = (),
        steps: int = 25,
        guidance: float = 1.0,
        temperature: float = 1.0,
    ) -> Tensor:
        """Sampled codes, by the two-step Adams-Bashforth method, whose first step on a path is one of Heun's method.

        Like Heun's method it is of second order: the error falls with the square of the steps. It takes one evaluation
        of the network per step instead of two.

        Arguments:
            noise: Standard normal noise, `(*, D)`.
            c: Codes given the conditioning masks, broadcastable to `(*, D)`; None conditions on nothing.
            b: The masks, `(*, M)` bool, broadcastable likewise; a row without True is conditioned on nothing.
            again: The noise of each fresh path that the codes are put onto, `(*, D)`, one after the other.
            steps: Steps of the solver on all paths together, at least 1. Half of them are for the last path; where
                they are too few for all, there is the first path alone.
            guidance: Weight g of the condition in `v_nothing + g (v_condition - v_nothing)`: 1 samples from p(w | c,
                b), more makes samples more typical of the condition and less varied.
            temperature: Scale of the noise around c. 1 samples from p(w | c, b); less makes samples more typical and
                less varied, and 0 gives one code per condition. Codes that are conditioned on nothing do not depend on
                it, for all of their variety is in the noise.

        Returns:
            `(*, D)`, in the units of codes.

        Source: Hairer, Norsett and Wanner (1993), "Solving Ordinary Differential Equations I", section III.1;
        classifier-free guidance: Ho and Salimans (2022), Eq. 6.
        """
        shape = noise.shape[:-1]
        c = noise.new_zeros(self.code_dim) if c is None else c
        b = torch.zeros(self.modalities, dtype=torch.bool, device=noise.device) if b is None else b
        flat = [part.expand(*shape, part.shape[-1]).reshape(-1, part.shape[-1]) for part in (c, b, noise, *again)]
        at_once = AT_ONCE if noise.device.type == "cpu" else 2**16
        chunks = zip(*(part.split(at_once) for part in flat), strict=True)
        made = [
            self._follow_paths(c, b, paths, steps=steps, guidance=guidance, temperature=temperature)
            for c, b, *paths in chunks
        ]
        return torch.cat(made).view(*shape, self.code_dim) if made else noise

    def _follow_paths(
        self, c: Tensor, b: Tensor, paths: list[Tensor], *, steps: int, guidance: float, temperature: float
    ) -> Tensor:
        """Codes at the end of the last path; each has its noise."""
        c = self._standardise_condition(c, b)
        condition = self.embed_condition(c, b)
        nothing = self.embed_condition(torch.zeros_like(c[:1]), torch.zeros_like(b[:1])) if guidance != 1 else None

        def velocity(w: Tensor, t: Tensor) -> Tensor:
            found = self.velocity(w, t, condition)
            return found if nothing is None else torch.lerp(self.velocity(w, t, nothing), found, guidance)

        earlier = len(paths) - 1
        few = steps // (2 * earlier) if earlier else 0
        counts = [few] * earlier + [steps - few * earlier] if few else [steps]
        w = c
        for i, (noise, count) in enumerate(zip(paths, counts, strict=False)):
            if temperature != 1:
                noise = torch.where(b.any(-1, keepdim=True), temperature * noise, noise)
            start = RETURN if i else 0.0
            w = _integrate(velocity, torch.lerp(c + self.sigma * noise, w, start), start, count)
        return w * self.scale + self.mean

    def _standardise_condition(self, c: Tensor, b: Tensor) -> Tensor:
        """Standardised codes, 0 where nothing is given."""
        return torch.where(b.any(-1, keepdim=True), self.standardise(c), 0.0)


def _integrate(velocity: Callable[[Tensor, Tensor], Tensor], w: Tensor, start: float, steps: int) -> Tensor:
    """Follows a velocity of w and t from a time to 1."""
    left = torch.linspace(1, 0, steps + 1, dtype=w.dtype, device=w.device)[:, None, None] ** SHORTER
    times = 1 - (1 - start) * left
    lengths = times.diff(dim=0)
    before = velocity(w, times[0])
    w = w + lengths[0] / 2 * (before + velocity(w + lengths[0] * before, times[1]))
    for i in range(1, steps):
        now = velocity(w, times[i])
        w = w + lengths[i] * (now + lengths[i] / lengths[i - 1] / 2 * (now - before))
        before = now
    return w

"""A conditional rectified flow over latent codes: a distribution p(w | c, b) to sample from.

w is a row's code given all of its observed modalities, c its code given the modalities that the conditioning mask b
observes; both are standardised, elementwise, by the mean and the standard deviation of w over the training rows. With
Gaussian noise eps and a time t in [0, 1], a straight path leads from e to w:

    e = c + sigma eps,    w_t = (1 - t) e + t w

and a network learns its velocity, `v(w_t, t, c, b) ~ E[w - e | w_t, c, b]`. Sampling starts at e and integrates
`dw/dt = v(w, t, c, b)` from t = 0 to 1. The condition "nothing" (c = 0 and b = 0) gives the unconditional distribution.

Also known as flow matching. Not to be confused with normalising flows, which are trained by maximum likelihood.
"""

from __future__ import annotations

from math import log

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["CodeFlow"]

FREQUENCIES = 32
"""Frequencies of the embedding of time."""
FASTEST = 50.0
"""The highest of them, in radians; the lowest is 1."""
WIDEST = 512
"""Of the residual layers, unless another width is asked for."""
CONTEXT = 64
"""Numbers that tell every residual layer what is given."""
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
        sigma: Standard deviation of the noise around the code that a path starts from, in standardised units.
        context: Size of what tells the residual layers what is given; with 0 only the first layer knows it.

    Attributes:
        mean: Mean of the codes w, `(D,)`.
        scale: Standard deviations of the codes w, `(D,)`.

    Example:
        >>> flow = CodeFlow(code_dim=3, modalities=2, width=8)
        >>> c, b = torch.zeros(5, 3), torch.tensor([True, False]).expand(5, 2)
        >>> flow.transport(torch.randn(5, 3), c, b).shape
        torch.Size([5, 3])

    Source: Liu, Gong and Liu (2023), "Flow Straight and Fast", Eq. 1; that a path starts at the predicted code is
    posterior-mean rectified flow (Ohayon, Michaeli and Elad 2024).
    """

    mean: Tensor
    scale: Tensor
    frequencies: Tensor

    def __init__(
        self,
        code_dim: int,
        modalities: int,
        *,
        width: int | None = None,
        layers: int = 4,
        sigma: float = 0.5,
        context: int = CONTEXT,
    ) -> None:
        super().__init__()
        width = min(max(128, 8 * code_dim), WIDEST) if width is None else width
        self.code_dim, self.modalities, self.width, self.sigma = code_dim, modalities, width, sigma
        self.context_dim = context
        self.register_buffer("mean", torch.zeros(code_dim))
        self.register_buffer("scale", torch.ones(code_dim))
        self.register_buffer("frequencies", torch.exp(torch.linspace(0, log(FASTEST), FREQUENCIES)), persistent=False)
        self.code = nn.Linear(code_dim, width)
        self.time = nn.Linear(2 * FREQUENCIES, width, bias=False)
        self.condition = nn.Linear(code_dim + modalities, width, bias=False)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(layers + 1))
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(layers))
        self.films = nn.ModuleList(nn.Linear(2 * FREQUENCIES, 2 * width) for _ in range(layers))
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

    def velocity(self, w: Tensor, t: Tensor, condition: Tensor) -> Tensor:
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
        h = self.code(w) + self.time(time) + condition[:, : self.width]
        contexts = (
            condition[:, self.width :].split(2 * self.width, dim=-1) if self.context_dim else [0.0] * len(self.layers)
        )
        for norm, film, layer, context in zip(self.norms, self.films, self.layers, contexts, strict=False):
            scale, shift = (film(time) + context).chunk(2, dim=-1)
            h = h + layer(F.silu(torch.addcmul(shift, norm(h), 1 + scale)))
        return self.out(F.silu(self.norms[-1](h)))

    def embed_condition(self, c: Tensor, b: Tensor) -> Tensor:
        """What the layers make of standardised codes `(N, D)` and their masks `(N, M)` alone, at any time.

        Returns:
            `(N, width)`, the share of the first layer; with a context `(N, width + 2 layers width)`, the scale and the
            shift of each residual layer next to it.
        """
        known = torch.cat([c, b.to(c.dtype)], dim=-1)
        parts = [self.condition(known)] + ([self.context(known)] if self.context_dim else [])
        return torch.cat(parts, dim=-1)

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
        steps: int = 25,
        guidance: float = 1.0,
        temperature: float = 1.0,
    ) -> Tensor:
        """Sampled codes, by the two-step Adams-Bashforth method, whose first step is one of Heun's method.

        Like Heun's method it is of second order: the error falls with the square of the steps. It takes one evaluation
        of the network per step instead of two.

        Arguments:
            noise: Standard normal noise, `(*, D)`.
            c: Codes given the conditioning masks, broadcastable to `(*, D)`; None conditions on nothing.
            b: The masks, `(*, M)` bool, broadcastable likewise; a row without True is conditioned on nothing.
            steps: Steps of the solver, at least 1.
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
        flat = [part.expand(*shape, part.shape[-1]).reshape(-1, part.shape[-1]) for part in (noise, c, b)]
        at_once = AT_ONCE if noise.device.type == "cpu" else 2**16
        chunks = zip(*(part.split(at_once) for part in flat), strict=True)
        made = [self._integrate(*chunk, steps=steps, guidance=guidance, temperature=temperature) for chunk in chunks]
        return torch.cat(made).view(*shape, self.code_dim) if made else noise

    def _integrate(
        self, noise: Tensor, c: Tensor, b: Tensor, *, steps: int, guidance: float, temperature: float
    ) -> Tensor:
        c = self._standardise_condition(c, b)
        if temperature != 1:
            noise = torch.where(b.any(-1, keepdim=True), temperature * noise, noise)
        w = c + self.sigma * noise
        condition = self.embed_condition(c, b)
        nothing = self.embed_condition(torch.zeros_like(c[:1]), torch.zeros_like(b[:1])) if guidance != 1 else None

        def velocity(w: Tensor, t: Tensor) -> Tensor:
            found = self.velocity(w, t, condition)
            return found if nothing is None else torch.lerp(self.velocity(w, t, nothing), found, guidance)

        times = torch.linspace(0, 1, steps + 1, dtype=w.dtype, device=w.device)[:, None, None]
        before = velocity(w, times[0])
        w = w + (before + velocity(w + before / steps, times[1])) / (2 * steps)
        for t in times[1:-1]:
            now = velocity(w, t)
            w = w + (3 * now - before) / (2 * steps)
            before = now
        return w * self.scale + self.mean

    def _standardise_condition(self, c: Tensor, b: Tensor) -> Tensor:
        """Standardised codes, 0 where nothing is given."""
        return torch.where(b.any(-1, keepdim=True), self.standardise(c), 0.0)

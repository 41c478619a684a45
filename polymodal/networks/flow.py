"""A conditional rectified flow over latent codes: a distribution p(w | c, b) to sample from.

w is a row's code given all of its observed modalities. c is its code given the modalities in the conditioning mask b.
Both are standardised elementwise by the mean and the standard deviation of w over the training rows. With standard
normal noise eps, its scale sigma, and a time t in [0, 1], a straight path leads from e to w:

    e = c + sigma eps,    w_t = (1 - t) e + t w

A network learns its velocity, `v(w_t, t, c, b) ~ E[w - e | w_t, c, b]`, with the squared error as its loss. Sampling
starts at e and integrates `dw/dt = v(w, t, c, b)` from t = 0 to 1. The empty condition (c = 0 and b = 0) gives the
unconditional distribution.

A restart moves a sampled code w back to t = 1/2 on a path with new noise eps, and integrates to t = 1 again. It leaves
the distribution p(w | c, b) unchanged and reduces errors of the velocity that lead to untypical codes.

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
"""Default number of frequencies in the embedding of time."""
FASTEST = 50.0
"""Highest frequency in the embedding of time, in radians; the lowest is 1."""
WIDEST = 512
"""Maximum of the default width of the residual layers."""
DEEPEST = 100
"""Maximum number of residual layers."""
MOST_FREQUENCIES = 1000
"""Maximum number of frequencies in the embedding of time."""
CONTEXT = 64
"""Default size of the embedding of the condition that all residual layers use."""
RESTART = 0.5
"""Time t at which a restart begins."""
SHORTER = 1.5
"""Exponent that makes the solver's steps shorter towards the end of a path: the remaining time is proportional to this
power of the share of remaining steps."""
AT_ONCE = 2048
"""Number of codes to integrate at once on a CPU, so that the outputs of the layers fit in its cache."""


class CodeFlow(nn.Module):
    """The velocity network v(w, t, c, b), its loss and its sampler.

    Arguments:
        code_dim: Size of a code, D.
        modalities: Number of modalities, M.
        width: Size of the residual layers; by default eight times that of a code, between 128 and 512. Wider layers
            are slower and model long codes better.
        layers: Number of residual layers; the time and the condition scale and shift the input of each layer.
        sigma: Standard deviation of the noise around the code c that a path starts from, in standardised units. With
            1, unconditional paths start from the standard normal distribution.
        context: Size of the embedding of the condition for the residual layers; with 0 only the first layer reads the
            condition.
        frequencies: Number of sines, and of cosines, in the embedding of time.

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

    Source: Liu, Gong and Liu (2023), "Flow Straight and Fast", Eq. 1. Paths that start at the predicted code are
    posterior-mean rectified flow (Ohayon, Michaeli and Elad 2024). Restarts are an addition of this library, based on
    those of Xu et al. (2023).
    """

    mean: Tensor
    scale: Tensor
    frequencies: Tensor

    restarts = 2
    """Number of restarts of each sample in `FlowCodes`."""

    @property
    def sizes(self) -> dict[str, Any]:
        """Keyword arguments to build an equal flow, as saved in `model.json`."""
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
        """Standardises codes `(*, D)` with the mean and standard deviation of the training codes."""
        return (codes - self.mean) / self.scale

    def velocity(self, w: Tensor, t: Tensor, condition: Sequence[Tensor]) -> Tensor:
        """Computes the velocity v(w, t, c, b).

        Arguments:
            w: Standardised codes, `(N, D)`.
            t: Times in [0, 1], `(N, 1)` or `(1, 1)`.
            condition: Result of `embed_condition` for N rows or for one row.

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
        """Embeds standardised codes c `(N, D)` and masks b `(N, M)`, independently of the time.

        Returns:
            Term of the first layer, `(N, width)`. With a context, also the term of the scale and shift of each residual
            layer, `(N, 2 width)`.
        """
        known = torch.cat([c, b.to(c.dtype)], dim=-1)
        first = self.condition(known)
        return [first, *self.context(known).split(2 * self.width, dim=-1)] if self.context_dim else [first]

    def loss(self, w: Tensor, c: Tensor, b: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Computes the squared error of the velocity, `|v(w_t, t, c, b) - (w - e)|^2 / D`.

        Arguments:
            w: Codes given all observed modalities, `(N, D)`.
            c: Codes given the conditioning masks, `(N, D)`.
            b: Conditioning masks, `(N, M)` bool; a row without True is unconditional, whatever its code c.
            noise: Standard normal noise, `(N, D)`.
            t: Times in [0, 1], `(N, 1)`.

        Returns:
            `(N,)`.
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
        restart_noise: Sequence[Tensor] = (),
        steps: int = 25,
        guidance: float = 1.0,
        temperature: float = 1.0,
    ) -> Tensor:
        """Samples codes with the two-step Adams-Bashforth method.

        The first step on each path is a step of Heun's method. Both methods are of second order: the error falls with
        the square of the number of steps. Adams-Bashforth evaluates the network once per step, Heun's method twice.

        Arguments:
            noise: Standard normal noise, `(*, D)`.
            c: Codes given the conditioning masks, broadcastable to `(*, D)`; None samples unconditionally.
            b: Conditioning masks, bool, broadcastable to `(*, M)`; a row without True is unconditional. None samples
                unconditionally.
            restart_noise: Noise of each restart, in order, `(*, D)` each.
            steps: Total number of solver steps on all paths, at least 1. At least half of them are for the last path.
                If there are too few for all paths, there are no restarts.
            guidance: Weight g of the condition in `v_nothing + g (v_condition - v_nothing)`. 1 samples from p(w | c,
                b). Larger values make samples more typical of the condition and less varied.
            temperature: Scale of the noise around c. 1 samples from p(w | c, b). Smaller values make samples more
                typical and less varied, and 0 gives one code per condition. Unconditional samples ignore the
                temperature, since all of their variation comes from the noise.

        Returns:
            Codes, `(*, D)`, not standardised.

        Source: Hairer, Norsett and Wanner (1993), "Solving Ordinary Differential Equations I", section III.1;
        classifier-free guidance: Ho and Salimans (2022), Eq. 6.
        """
        shape = noise.shape[:-1]
        c = noise.new_zeros(self.code_dim) if c is None else c
        b = torch.zeros(self.modalities, dtype=torch.bool, device=noise.device) if b is None else b
        flat = [
            part.expand(*shape, part.shape[-1]).reshape(-1, part.shape[-1]) for part in (c, b, noise, *restart_noise)
        ]
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
        """Returns the codes at the end of the last path; `paths` has the noise of each path."""
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
            start = RESTART if i else 0.0
            w = _integrate(velocity, torch.lerp(c + self.sigma * noise, w, start), start, count)
        return w * self.scale + self.mean

    def _standardise_condition(self, c: Tensor, b: Tensor) -> Tensor:
        """Standardises codes c, and sets them to 0 where b is empty."""
        return torch.where(b.any(-1, keepdim=True), self.standardise(c), 0.0)


def _integrate(velocity: Callable[[Tensor, Tensor], Tensor], w: Tensor, start: float, steps: int) -> Tensor:
    """Integrates `dw/dt = velocity(w, t)` from t = `start` to 1."""
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

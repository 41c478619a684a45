"""The linear path of a model: a factor analysis of wide vectors, whose factors are a part of the code.

Let x_m be the vectors of a row, u its R factors, and b_m whether x_m is observed. The factor model is

    x_m = mean_m + L_m u + e_m,    u ~ N(0, I),    e_m ~ N(0, diag(n_m))

with loadings L_m and noise variances n_m. The factors given the observed vectors have the posterior mean

    u(b) = (I + sum_m b_m L_m^T diag(n_m)^-1 L_m)^-1 sum_m b_m L_m^T diag(n_m)^-1 (x_m - mean_m)

This is linear in the values, and correct for every mask b. `polymodal.training.linear_path` computes the parameters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from polymodal.runtime.vectorizing import is_exporting

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Factors", "normalise_classes"]

NUMBERS = 2**17
"""Number of elements of matrices that are held at once, so that they fit in the cache of a CPU."""
REPEATS = 4
"""Mean number of rows with the same mask above which equal masks share one matrix."""
MOST_BITS = 62
"""Most vectors whose mask is a whole number of 64 bits."""


class Factors(nn.Module):
    """Posterior means of factors given any of G vectors, and linear predictions of the vectors.

    The parameters are buffers, because they are not trained by gradients. Initially all loadings and shares are 0.

    Arguments:
        sizes: Size of each vector, `(G,)`.
        count: Number of factors R.

    Attributes:
        mean: Means of the elements of all vectors, `(P,)`, with P the sum of their sizes.
        loadings: Loadings L, `(P, R)`.
        noise: Variances of the noise n, `(P,)`.
        share: Weight of the linear prediction of each vector, in [0, 1], `(G,)`; see `blend`.

    Example:
        >>> factors = Factors([3, 2], count=4)
        >>> u = factors([torch.ones(5, 3), torch.ones(5, 2)], torch.ones(7, 5, 2, dtype=torch.bool))
        >>> u.shape, factors.predict(u, 1).shape
        (torch.Size([7, 5, 4]), torch.Size([7, 5, 2]))
    """

    mean: Tensor
    loadings: Tensor
    noise: Tensor
    share: Tensor

    def __init__(self, sizes: Sequence[int], count: int) -> None:
        super().__init__()
        self.sizes, self.count = tuple(sizes), count
        self.register_buffer("mean", torch.zeros(sum(sizes)))
        self.register_buffer("loadings", torch.zeros(sum(sizes), count))
        self.register_buffer("noise", torch.ones(sum(sizes)))
        self.register_buffer("share", torch.zeros(len(sizes)))

    def forward(self, x: Sequence[Tensor], b: Tensor) -> Tensor:
        """Computes the posterior mean of the factors, u(b).

        Arguments:
            x: Values of the G vectors, `(B, size)` each.
            b: Mask, `(*, B, G)` or `(*, 1, G)` bool.

        Returns:
            `(*, B, R)`; 0 for rows without any vector. If the parameters begin with an axis of n members, so does it.
        """
        parts = self.mean, self.loadings, self.noise
        if self.loadings.dim() == 2:
            return self._infer(x, b, *parts)
        if not is_exporting() and all(bool((part == part[:1]).all()) for part in parts):
            u = self._infer(x, b, *(part[0] for part in parts))
            return u.expand(self.loadings.shape[0], *u.shape)
        return torch.stack([self._infer(x, b, *own) for own in zip(*parts, strict=True)])

    def predict_left_out(self, x: Sequence[Tensor], b: Tensor) -> Tensor:
        """Predicts each vector of a row from the row's other vectors.

        Let H be the matrix that maps the values of an observed vector to their predictions from all observed vectors,
        itself included, and r the residuals of the latter. Without the vector, the residuals are `(I - H)^-1 r`, as in
        the leave-one-out formula of ridge regression. It needs one inverse per mask, and not one per vector.

        Arguments:
            x: Values of the G vectors, `(B, size)` each.
            b: Observed mask, `(B, G)` bool.

        Returns:
            Predictions `(B, P)` float64; of a missing vector, those from all observed ones.
        """
        mean, loadings, noise = (part.double() for part in (self.mean, self.loadings, self.noise))
        scaled = loadings / noise[:, None]
        centred = torch.cat([*x], dim=1).double() - mean
        total, precisions = _sum_terms(centred, b, loadings, scaled, self.sizes)
        masks, which = find_distinct_masks(b)
        predicted = torch.empty_like(centred)
        for numbers in torch.arange(len(masks), device=b.device).split(max(1, 8 * NUMBERS // self.count**2)):
            rows = ((which >= numbers[0]) & (which <= numbers[-1])).nonzero()[:, 0]
            own = which[rows] - numbers[0]
            covariances = torch.cholesky_inverse(_factorise(masks[numbers], precisions))  # (U, R, R)
            fitted = torch.einsum("nr,nrs->ns", total[rows], covariances[own]) @ loadings.mT
            spread = torch.einsum("pr,urs->ups", loadings, covariances)  # (U, P, R)
            for place, residuals in enumerate((centred[rows] - fitted).split(self.sizes, dim=1)):
                some = slice(sum(self.sizes[:place]), sum(self.sizes[: place + 1]))
                hat = spread[:, some] @ scaled[some].mT  # (U, size, size)
                inverse = torch.linalg.inv(torch.eye(self.sizes[place], dtype=hat.dtype, device=hat.device) - hat)
                left_out = centred[rows, some] - torch.einsum("npq,nq->np", inverse[own], residuals)
                predicted[rows, some] = torch.where(b[rows, place, None], left_out, fitted[:, some])
        return predicted + mean

    def _infer(self, x: Sequence[Tensor], b: Tensor, mean: Tensor, loadings: Tensor, noise: Tensor) -> Tensor:
        """Computes the factors for parameters without an axis of members, see `forward`."""
        b = b.expand(*b.shape[:-2], x[0].shape[0], -1)
        loadings, scaled = loadings.double(), loadings.double() / noise.double()[:, None]
        centred = torch.cat([*x], dim=1).double() - mean.double()
        total, precisions = _sum_terms(centred, b, loadings, scaled, self.sizes)
        u = _solve(b.flatten(0, -2), total.flatten(0, -2), precisions)
        return u.view_as(total).to(self.loadings.dtype)

    def predict(self, u: Tensor, place: int) -> Tensor:
        """Predicts vector number `place` from factors: `(*, R)` to `(*, size)`; `(n, *, R)` for n members."""
        start, size = sum(self.sizes[:place]), self.sizes[place]
        mean, loadings = self.mean.narrow(-1, start, size), self.loadings.narrow(-2, start, size)
        if loadings.dim() == 2:
            return mean + u @ loadings.mT
        return torch.baddbmm(mean[:, None], u.flatten(1, -2), loadings.mT).unflatten(1, u.shape[1:-1])

    def blend(self, output: Tensor, u: Tensor, place: int) -> Tensor:
        """Combines the output of a decoder with the linear prediction, weighted by `share`.

        Factors that are all 0 mean that no vector is observed. The result is then the decoder's output.

        Arguments:
            output: Output of the decoder, `(*, size)`; for n members `(n, *, size)`.
            u: Factors, `(*, R)` or `(n, *, R)`.
            place: Number of the vector.
        """
        return output + self._select_share(u, place) * (self.predict(u, place) - output)

    def blend_scores(self, output: Tensor, u: Tensor, place: int) -> Tensor:
        """Combines the scores of classes that a decoder outputs with linearly predicted probabilities; see `blend`.

        Arguments:
            output: Scores, of which the softmax are probabilities, `(*, classes)`; for n members `(n, *, classes)`.
            u: Factors, `(*, R)` or `(n, *, R)`.
            place: Number of the one-hot vector.

        Returns:
            Logarithms of the probabilities `(1 - share) softmax(output) + share q`, where q are the linear predictions,
            at least 0.001 and then normalised.
        """
        share = self._select_share(u, place)
        return ((1 - share) * output.softmax(-1) + share * normalise_classes(self.predict(u, place))).log()

    def _select_share(self, u: Tensor, place: int) -> Tensor:
        """Returns the share of a vector's linear prediction, `(*, 1)`, which is 0 for factors that are all 0."""
        share = self.share[..., place]  # () or (n,)
        return share.view(*share.shape, *[1] * (u.dim() - share.dim())) * (u.abs().amax(-1, keepdim=True) > 0)


def normalise_classes(predicted: Tensor) -> Tensor:
    """Returns probabilities of classes for linear predictions of a one-hot vector, `(*, classes)`."""
    q = predicted.clamp(min=0.001)
    return q / q.sum(-1, keepdim=True)


def find_distinct_masks(b: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the distinct masks `(U, G)` of masks `(N, G)` bool, and the number of each mask among them, `(N,)`."""
    if b.shape[-1] > MOST_BITS:
        return b.unique(dim=0, return_inverse=True)
    bits = torch.arange(b.shape[-1], device=b.device)
    numbers, which = (b.long() << bits).sum(-1).unique(return_inverse=True)
    return (numbers[:, None] >> bits & 1).bool(), which


def _sum_terms(
    centred: Tensor, b: Tensor, loadings: Tensor, scaled: Tensor, sizes: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Returns the right sides of the linear equations for the factors, and the matrices of single vectors.

    Arguments:
        centred: Values of all vectors, `(B, P)` float64.
        b: Masks, `(*, B, G)` bool.
        loadings: Loadings L, `(P, R)`.
        scaled: Loadings divided by the variances of the noise, `(P, R)`.
        sizes: Size of each vector, `(G,)`.

    Returns:
        Sums over observed vectors, `(*, B, R)`, and `L_m^T diag(n_m)^-1 L_m`, `(G, R, R)`.
    """
    pairs = [*zip(loadings.split([*sizes]), scaled.split([*sizes]), strict=True)]
    precisions = torch.stack([own.mT @ other for own, other in pairs])
    terms = [part @ own for part, (_, own) in zip(centred.split([*sizes], dim=1), pairs, strict=True)]
    return torch.einsum("...bg,bgr->...br", b.double(), torch.stack(terms, 1)), precisions


def _factorise(masks: Tensor, precisions: Tensor) -> Tensor:
    """Returns Cholesky factors of the inverse covariances of the factors, `(U, R, R)`, for masks `(U, G)` bool."""
    eye = torch.eye(precisions.shape[-1], dtype=precisions.dtype, device=precisions.device)
    matrices = (masks.to(precisions.dtype) @ precisions.flatten(1)).view(-1, *eye.shape) + eye
    return torch.linalg.cholesky_ex(matrices).L


def _solve(b: Tensor, total: Tensor, precisions: Tensor) -> Tensor:
    """Solves for the factors of rows with masks `(N, G)`, which may repeat, and right sides `(N, R)`."""
    if is_exporting():
        return _eliminate(b, total, precisions)
    at_once = max(1, NUMBERS // precisions.shape[-1] ** 2)
    masks, which = find_distinct_masks(b)
    if len(masks) * REPEATS >= len(b):
        pairs = zip(b.split(at_once), total.split(at_once), strict=True)
        solved = [torch.cholesky_solve(part[..., None], _factorise(some, precisions)) for some, part in pairs]
        return torch.cat(solved)[..., 0]
    order, counts = which.argsort(), which.bincount(minlength=len(masks)).tolist()
    factors = (factor for some in masks.split(at_once) for factor in _factorise(some, precisions))
    parts = zip(total[order].split(counts), factors, strict=True)
    u = torch.empty_like(total)
    u[order] = torch.cat([torch.cholesky_solve(part.mT, factor).mT for part, factor in parts])
    return u


def _eliminate(b: Tensor, total: Tensor, precisions: Tensor) -> Tensor:
    """Solves the equations of `_solve` by Gauss-Jordan elimination, with operations that ONNX has.

    The matrices are the identity plus positive semi-definite ones, so that no rows need to be exchanged.
    """
    eye = torch.eye(precisions.shape[-1], dtype=precisions.dtype)
    system = (b.to(precisions.dtype) @ precisions.flatten(1)).unflatten(-1, eye.shape) + eye
    system = torch.cat([system, total[..., None]], dim=-1)  # (N, R, R + 1)
    for k in range(len(eye)):
        row = system[:, k : k + 1] / system[:, k : k + 1, k : k + 1]
        others = (eye[k] == 0).to(eye.dtype)[:, None]
        system = others * (system - system[:, :, k : k + 1] * row) + (1 - others) * row
    return system[..., -1]

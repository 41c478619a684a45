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

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Factors"]

NUMBERS = 2**22
"""Number of elements of matrices that are held at once."""


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
            `(*, B, R)`; 0 for rows without any vector.
        """
        b = b.expand(*b.shape[:-2], len(x[0]), -1)
        parts = (part.double().split(self.sizes) for part in (self.mean, self.loadings, self.noise))
        terms, precisions = [], []
        for values, mean, loadings, noise in zip(x, *parts, strict=True):
            scaled = loadings / noise[:, None]
            terms.append((values.double() - mean) @ scaled)  # (B, R)
            precisions.append(loadings.mT @ scaled)  # (R, R)
        total = torch.einsum("...bg,bgr->...br", b.double(), torch.stack(terms, 1))
        rows = max(1, NUMBERS // self.count**2)
        pairs = zip(b.flatten(0, -2).split(rows), total.flatten(0, -2).split(rows), strict=True)
        u = [self._solve(some, part, torch.stack(precisions)) for some, part in pairs]
        return torch.cat(u).view_as(total).to(self.loadings.dtype)

    def _solve(self, b: Tensor, total: Tensor, precisions: Tensor) -> Tensor:
        """Solves for the factors of rows with masks `(N, G)`, which may repeat, and right sides `(N, R)`."""
        masks, which = b.unique(dim=0, return_inverse=True)
        eye = torch.eye(self.count, dtype=total.dtype, device=total.device)
        inverses = torch.linalg.inv(eye + torch.einsum("ug,grs->urs", masks.double(), precisions))
        if len(masks) == 1:
            return total @ inverses[0]
        return torch.einsum("br,brs->bs", total, inverses[which])

    def predict(self, u: Tensor, place: int) -> Tensor:
        """Predicts vector number `place` from factors: `(*, R)` to `(*, size)`."""
        mean, loadings = (part.split(self.sizes)[place] for part in (self.mean, self.loadings))
        return mean + u @ loadings.mT

    def blend(self, output: Tensor, u: Tensor, place: int) -> Tensor:
        """Combines the output of a decoder with the linear prediction, weighted by `share`.

        Factors that are all 0 mean that no vector is observed. The result is then the decoder's output.

        Arguments:
            output: Output of the decoder, `(*, size)`.
            u: Factors, `(*, R)`.
            place: Number of the vector.
        """
        share = self.share[place] * (u != 0).any(-1, keepdim=True)
        return output + share * (self.predict(u, place) - output)

    def blend_scores(self, output: Tensor, u: Tensor, place: int) -> Tensor:
        """Combines the scores of classes that a decoder outputs with linearly predicted probabilities; see `blend`.

        Arguments:
            output: Scores, of which the softmax are probabilities, `(*, classes)`.
            u: Factors, `(*, R)`.
            place: Number of the one-hot vector.

        Returns:
            Logarithms of the probabilities `(1 - share) softmax(output) + share q`, where q are the linear predictions,
            at least 0.001 and then normalised.
        """
        share = self.share[place] * (u != 0).any(-1, keepdim=True)
        return ((1 - share) * output.softmax(-1) + share * self.predict_classes(u, place)).log()

    def predict_classes(self, u: Tensor, place: int) -> Tensor:
        """Predicts the probabilities of classes from factors: `(*, R)` to `(*, classes)`."""
        q = self.predict(u, place).clamp(min=0.001)
        return q / q.sum(-1, keepdim=True)

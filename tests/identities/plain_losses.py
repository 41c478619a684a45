"""The loss of every model, written row by row straight from its equation.

`PLAIN` has one function per family of models. Each computes the loss of a complete or incomplete batch with the
networks of a model, one row, one subset and one sample at a time. It shares nothing, and never reads missing values.
It samples random numbers in the order in which the model does, so that both losses and all gradients are equal under
the same seed: see `assert_same_loss`. `ARGUMENTS` has the arguments with which `test_equations.py` compares them.

Symbols: `x_im` is the value of modality m in row i, `q_m` the posterior given this modality alone (an expert), `p` the
prior, `w_m` the loss weights, B the number of rows, M of modalities, D the size of the code, K the number of samples.
`progress` is the warm-up of the penalties, in [0, 1].
"""

from itertools import combinations, product
from math import comb, log

import torch
from torch.distributions import Laplace, Normal, kl_divergence

from polymodal.models.mvae import random_sets
from polymodal.objectives.aggregation import stratify
from polymodal.objectives.conditioning import sample


def mac(model, batch, progress):
    """MAC-WAE, Algorithm 1 and Eq. 9: `sum_b share_b [rec_b + beta R D(z_b, p)]`, one pass per conditioning mask b."""
    x = prepare(model, batch)
    masks, shares = sample_masks(model, batch.observed)
    shape = len(masks), len(batch), model.latent_dim
    kind = model.regularizer.partition("(")[0]
    noise = sample_normal(*shape) if model.stochastic else None
    if kind != "kl":  # points of the prior, or 16 directions
        p = sample_normal(len(masks), model.latent_dim, 16) if kind == "sliced" else sample_normal(*shape)
    beta = model.beta * (model.reference_cost if model.relative else 1.0) * progress
    total = 0
    for k, (b, share) in enumerate(zip(masks, shares, strict=True)):
        z = encode_under_mask(model, x, b)
        if model.stochastic:
            q = gaussian_of(*z.chunk(2, dim=1))
            z = q.loc + q.scale * noise[k]
        for m, (name, modality) in enumerate(model.schema.items()):
            cost = modality.nll if model.reconstruction == "likelihood" else modality.compute_cost
            parameters = model.decoders[m](z)
            costs = [cost(parameters[i, None], x[name][i, None])[0] for i, row in enumerate(batch.observed) if row[m]]
            total += share * model.weight[m] * sum(costs) / len(batch)
        total += share * beta * (kl(q) / len(batch) if kind == "kl" else PENALTIES[kind](p[k], z))
    return total


def jmvae(model, batch, progress):
    """JMVAE, Suzuki et al. (2017), Eq. 5: `rec + beta [KL(q || p) + alpha sum_m KL(q || q_m)]`, q a joint encoder's."""
    x = prepare(model, batch)
    experts = encode_experts(model, x)
    q = encode_jointly(model, x)
    z = q.rsample()
    total = 0
    for i, has in enumerate(observed_of(batch)):
        apart = sum(kl(at(q, i), at(experts, i, m)) for m in has)
        total += rec(model, x, z[i], i, has) + model.beta * progress * (kl(at(q, i)) + model.alpha * apart)
    return total / len(batch)


def mvae(model, batch, progress):
    """MVAE, Wu and Goodman (2018), Eq. 5: `sum_s [rec_s + beta KL(q_s || p)]` over all, single, and random sets s.

    q_s is the product of p and the experts in s. Sets are restricted to what a row has; empty ones contribute nothing.
    """
    x, rows = prepare(model, batch), observed_of(batch)
    every = range(len(model.schema))
    chosen = random_sets(len(every), model.draws, model.weight.device) if model.draws else []
    sets = [[*every], *([m] for m in every), *([m for m in every if s[m]] for s in chosen)]
    experts = encode_experts(model, x)
    taken = [[[m for m in s if m in has] for has in rows] for s in sets]
    q = [[multiply(experts, i, s, prior=True) for i, s in enumerate(each)] for each in taken]
    z = stack([stack(each) for each in q]).rsample()
    total = 0
    for t, each in enumerate(taken):
        for i, s in enumerate(each):
            if s:
                total += rec(model, x, z[t, i], i, s) + model.beta * progress * kl(q[t][i])
    return total / len(batch)


def mopoe(model, batch, progress):
    """MoPoE, Sutter et al. (2021), Eq. 6: `rec + beta mean_A KL(q_A || p)` over the subsets A that a row has whole.

    q_A is the product of the experts in A, and of p if A is all modalities. The row is reconstructed from a code of one
    of its subsets, or with `draw="full"` from one of all that it has. Without a whole subset, this is its only one.
    """
    x, rows = prepare(model, batch), observed_of(batch)
    subsets = indices(every_mask(len(model.schema)))
    if model.subsets is not None:
        subsets = [sorted(map(model.schema.index, names)) for names in model.subsets]
    experts = encode_experts(model, x)

    def posterior(i, s):
        return multiply(experts, i, s, prior=len(s) == len(model.schema))

    candidates = [[s] * len(rows) for s in subsets] + [rows]
    z = stack([stack([posterior(i, s) for i, s in enumerate(each)]) for each in candidates]).rsample()
    allowed = [[k for k, s in enumerate(subsets) if {*s} <= {*has}] or [len(subsets)] for has in rows]
    if model.draw == "full":
        chosen = [len(subsets)] * len(rows)
    else:
        lacking = any(each == [len(subsets)] for each in allowed)
        mask = torch.tensor([[k in each for each in allowed] for k in range(len(subsets) + lacking)])
        chosen = stratify(mask).tolist()
    total = 0
    for i, has in enumerate(rows):
        divergences = [kl(posterior(i, candidates[k][i])) for k in allowed[i]]
        assert model.draw == "full" or chosen[i] in allowed[i]
        total += rec(model, x, z[chosen[i], i], i, has) + model.beta * progress * sum(divergences) / len(divergences)
    return total / len(batch)


def mvtcae(model, batch, progress):
    """MVTCAE, Hwang et al. (2021), Eq. 8, with q the product of the experts:

    `(M - alpha)/M rec + beta [alpha/M sum_m KL(q || q_m) + (1 - alpha) KL(q || p)]`. With alpha = 0, a beta-VAE.
    """
    x, rows = prepare(model, batch), observed_of(batch)
    experts = encode_experts(model, x)
    q = [multiply(experts, i, has, prior=False) for i, has in enumerate(rows)]
    z = stack(q).rsample()
    share = model.alpha / len(model.schema)
    total = 0
    for i, has in enumerate(rows):
        penalty = share * sum(kl(q[i], at(experts, i, m)) for m in has) + (1 - model.alpha) * kl(q[i])
        total += (1 - share) * rec(model, x, z[i], i, has) + model.beta * progress * penalty
    return total / len(batch)


def nexus(model, batch, progress):
    """Nexus, Vasco et al. (2022), Eq. 3-6: a VAE per modality with code z_m, and a top VAE over messages f_m(z_m):

    `sum_m [rec_m + bottom_beta KL(q_m || p) - log N(z_m; h_m(z), 1)] + beta KL(q || p)`. The z_m that the top level
    reads and reconstructs pass no gradient. Messages may be dropped; all modalities are reconstructed nevertheless.
    """
    x = prepare(model, batch)
    experts = encode_experts(model, x)
    below = experts.rsample()
    fixed = below.detach()
    tops = []
    for i, heard in enumerate(indices(model._select_messages(batch.observed))):
        message = sum(model.messages[m](fixed[i, m][None]) for m in heard) / len(heard)
        tops.append(gaussian_of(*model.top(message)[0].chunk(2)))
    z = stack(tops).rsample()
    total = 0
    for i, has in enumerate(observed_of(batch)):
        total += model.beta * progress * kl(tops[i])
        for m in has:
            total += rec(model, x, below[i, m], i, [m])
            total += model.bottom_beta * progress * kl(at(experts, i, m))
            total -= Normal(model.below[m](z[i][None])[0], 1.0).log_prob(fixed[i, m]).sum()
    return total / len(batch)


def mmvae(model, batch, progress):
    """MMVAE, Shi et al. (2019), Eq. 3-4, and MMVAE+, Palumbo et al. (2023), Eq. 4 and 6: see `Bounds`."""
    return Bounds(model, batch, progress).loss()


class Bounds:
    """The importance-weighted bounds `-mean_m log (1/K) sum_k exp lw_mk`, with K codes z_mk of each expert q_m.

    `lw_mk = sum_n w_n log p(x_n | z_mk) + progress [log p(z_mk) - log mean_n q_n(z_mk)]`. In MMVAE+, modality m is
    decoded from z_mk and a private code u_mk of its expert, another modality n from z_mk and a sample v of r_n. The
    densities include that of u_mk, and are multiplied by beta. DReG (Tucker et al., 2019, Eq. 8) takes the parameters
    of q as constants in the densities, and multiplies the gradient of a code by its weight once more:
    `sum_k v_k^2 (d lw_k / d z_k) (d z_k / d phi)`, `v_k = exp lw_k / sum_j exp lw_j`.
    """

    def __init__(self, model, batch, progress=1.0):
        self.model, self.progress, self.plus = model, progress, model.name == "mmvae-plus"
        self.x, self.rows = prepare(model, batch), observed_of(batch)
        mean, raw = encode(model, self.x)
        d, modalities = model.latent_dim, len(model.schema)
        self.q = family_of(model, mean[..., :d], raw[..., :d])
        self.z = self.q.rsample((model.draws,))  # (K, B, M, D)
        codes = [self.z]
        if self.plus:
            self.own = family_of(model, mean[..., d:], raw[..., d:])
            self.u = self.own.rsample((model.draws,))
            auxiliary = family_of(model, torch.zeros_like(model.auxiliary), model.auxiliary)
            self.v = auxiliary.rsample((model.draws, modalities, len(batch)))  # (K, m, B, n, private)
            codes.append(self.u)
        self.factors = torch.zeros_like(self.z[..., 0])  # (K, B, M)
        if model.estimator == "dreg":
            self.q = type(self.q)(self.q.loc.detach(), self.q.scale.detach())
            if self.plus:
                self.own = type(self.own)(self.own.loc.detach(), self.own.scale.detach())
            for code in codes:
                code.register_hook(lambda gradient: gradient * self.factors[..., None])

    def joint(self, i, m, k):
        """`sum_n w_n log p(x_n | what its decoder reads)`."""
        total = 0
        for n in self.rows[i]:
            code = self.z[k, i, m]
            if self.plus:
                code = torch.cat([code, self.u[k, i, m] if n == m else self.v[k, m, i, n]])
            total -= rec(self.model, self.x, code, i, [n])
        return total

    def densities(self, i, m, k):
        """`log p - log q` of the codes."""
        z = self.z[k, i, m]
        each = torch.stack([at(self.q, i, n).log_prob(z).sum() for n in self.rows[i]])
        mixture = each.logsumexp(0) - log(len(each))
        if not self.plus:
            logits = self.model.prior_logits
            p = standard(self.model, len(z)) if logits is None else family_of(self.model, torch.zeros_like(z), logits)
            return p.log_prob(z).sum() - mixture
        u = self.u[k, i, m]
        p = standard(self.model, len(z)).log_prob(z).sum() + standard(self.model, len(u)).log_prob(u).sum()
        return self.model.beta * (p - mixture - at(self.own, i, m).log_prob(u).sum())

    def loss(self):
        """The loss of the batch."""
        total = 0
        for i, has in enumerate(self.rows):
            for m in has:
                each = [self.joint(i, m, k) + self.progress * self.densities(i, m, k) for k in range(len(self.z))]
                lw = torch.stack(each)
                self.factors[:, i, m] = lw.detach().softmax(0)
                total -= (lw.logsumexp(0) - log(len(lw))) / len(has) / len(self.rows)
        return total


PLAIN = {
    "jmvae": jmvae,
    "m-wae": mac,
    "mac-vae": mac,
    "mac-wae": mac,
    "mmvae": mmvae,
    "mmvae-plus": mmvae,
    "mopoe": mopoe,
    "mvae": mvae,
    "mvtcae": mvtcae,
    "nexus": nexus,
}
"""Plain losses by the name of the model."""

PAPER = {"regularizer": "mmd", "relative": False, "p0": 0.4, "beta": 1.0, "skip": False}
MASKS = [
    {"latent_dim": 4, "draws": 4, "hidden": (8, 8), "beta": 2.0, "indices": masks}
    for masks in ("per-batch", "per-sample", "exhaustive")
]
MIXTURES = [
    {"draws": draws, "family": family, "estimator": estimator}
    for (draws, estimator), family in product(((3, "dreg"), (3, "iwae"), (1, "iwae")), ("laplace", "normal"))
]
NEXUS = {"bottom_dim": 4, "message_dim": 5, "hidden": (6,), "beta": 1.7, "bottom_beta": 0.6}
STOCHASTIC = {"regularizer": "mmd", "stochastic": True, "skip": False}
ARGUMENTS = {
    "jmvae": [{"alpha": 0.4, "beta": 1.7, "hidden": (4,)}],
    "m-wae": [{"regularizer": "sliced(16)", "features": 9, **each} for each in MASKS],
    "mac-vae": [{"p0": p0, **each} for p0 in (None, 0.4) for each in MASKS],
    "mac-wae": [
        {**penalty, **each}
        for penalty in (PAPER, {"regularizer": "sliced(16)"}, {"regularizer": "imq", "p0": 0.6}, STOCHASTIC)
        for each in MASKS
    ],
    "mmvae": MIXTURES,
    "mmvae-plus": [{"private_dim": 2, "beta": 2.5, **each} for each in MIXTURES],
    "mopoe": [
        {"beta": 1.7, "draw": draw, "subsets": subsets}
        for draw, subsets in product(("stratified", "full"), (None, [["a", "b"], ["d"], ["d", "a", "b", "c"]]))
    ],
    "mvae": [{"beta": 1.7, "draws": draws} for draws in (0, 2)],
    "mvtcae": [{"beta": 1.7, "alpha": alpha} for alpha in (0.6, 0.0, 0.1, 1.0)],
    "nexus": [{**NEXUS, **each} for each in ({"dropout": 0.0}, {"dropout": 0.9}, {"dropout": 0.9, "squashed": True})],
}
"""Arguments to compare each model with. The names of subsets are those of the schema in `test_equations.py`."""


def assert_same_loss(model, batch, plain, progress=1.0):
    """Asserts that a loss and its gradients equal those of a plain computation with the same random numbers.

    Arguments:
        model: Model in float64.
        batch: B rows.
        plain: Function of the model, the batch and the progress that returns the loss, a scalar.
        progress: Warm-up of the penalties.

    Returns:
        Names of the parameters whose gradient is 0.
    """
    names, parameters = zip(*model.named_parameters(), strict=True)
    results = []
    for compute in (lambda: model.loss(batch, progress=progress).total, lambda: plain(model, batch, progress)):
        torch.manual_seed(11)
        total = compute()
        gradients = torch.autograd.grad(total, parameters, allow_unused=True, materialize_grads=True)
        results.append((total.detach(), gradients))
    (ours, our_gradients), (theirs, their_gradients) = results
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
    for name, gradient, other in zip(names, our_gradients, their_gradients, strict=True):
        torch.testing.assert_close(gradient, other, rtol=1e-10, atol=1e-10, msg=name)
    return [name for name, gradient in zip(names, our_gradients, strict=True) if not gradient.any()]


# What the losses share


def prepare(model, batch):
    return model.schema.hide(batch, torch.float64)


def indices(mask):
    """Returns for each row of a mask `(B, M)` the indices that are True."""
    return [[m for m, here in enumerate(row) if here] for row in mask.tolist()]


def every_mask(modalities):
    """Returns all masks but the empty one, `(2^M - 1, M)`."""
    return torch.tensor([*product([False, True], repeat=modalities)][1:])


def observed_of(batch):
    return indices(batch.observed)


def sample_normal(*shape):
    return Normal(torch.zeros(shape).double(), 1.0).sample()


def encode(model, x):
    """Returns what every expert's encoder gives, means and raw scales `(B, M, D)`."""
    outputs = [encoder(x[name]) for name, encoder in zip(model.schema, model.encoders, strict=True)]
    return torch.stack(outputs, 1).chunk(2, -1)


def encode_experts(model, x):
    """Returns all experts q_m of all rows, a Gaussian `(B, M, D)`."""
    return gaussian_of(*encode(model, x))


def encode_jointly(model, x):
    """Returns the posteriors `(B, D)` of JMVAE's joint encoder."""
    features = [encoder(x[name]) for name, encoder in zip(model.schema, model.joint_encoders, strict=True)]
    return gaussian_of(*model.joint(torch.cat(features, 1)).chunk(2, -1))


def encode_under_mask(model, x, b):
    """Returns what MAC's encoder gives for a mask b `(B, M)`: everything that it hides is a blank."""
    features = []
    for m, (name, modality) in enumerate(model.schema.items()):
        blank = modality.prepare(modality.blank, torch.float64).expand_as(x[name])
        seen = b[:, m].view(-1, *[1] * (x[name].dim() - 1))
        features.append(model.encoders[m](torch.where(seen, x[name], blank)))
    if model.conditioned:
        features.append(model.conditioner(b.double()))
    return model.joint.rest(model.joint.first(torch.cat(features, dim=1)))


def sample_masks(model, observed):
    """Returns MAC's masks, each `(B, M)`, and their shares of the loss: 1/K, or p(b) of all masks (Eq. 9)."""
    if model.indices != "exhaustive":
        masks = sample(observed, model.draws, model.p0, per_sample=model.indices == "per-sample")
        return masks, [1 / model.draws] * model.draws
    modalities = observed.shape[1]
    masks, shares = [], []
    for b in every_mask(modalities):
        seen = int(b.sum())
        if model.p0 is None:
            shares.append(1 / (modalities * comb(modalities, seen)))
        else:
            shares.append(model.p0 ** (modalities - seen) * (1 - model.p0) ** seen / (1 - model.p0**modalities))
        masks.append(torch.stack([b & row if (b & row).any() else row for row in observed]))
    return masks, shares


def rec(model, x, z, i, some):
    """Returns `-sum_m w_m log p(x_im | z)` of row i over some modalities, from its code z `(D,)`."""
    total = 0
    for m in some:
        name = list(model.schema)[m]
        total += model.weight[m] * model.schema[name].nll(model.decoders[m](z[None]), x[name][i, None])[0]
    return total


def gaussian_of(mean, log_variance):
    return Normal(mean, (log_variance / 2).exp())


def at(q, *index):
    """Returns the distribution of one row, or of one expert of a row."""
    return type(q)(q.loc[index], q.scale[index])


def stack(several):
    return Normal(torch.stack([q.loc for q in several]), torch.stack([q.scale for q in several]))


def multiply(experts, i, some, prior):
    """Returns the product of some experts of row i and, if `prior`, of the standard normal prior."""
    precision, weighted = torch.full_like(experts.loc[i, 0], float(prior)), 0
    for m in some:
        precision = precision + 1 / experts.scale[i, m].square()
        weighted = weighted + experts.loc[i, m] / experts.scale[i, m].square()
    return Normal(weighted / precision, precision.rsqrt())


def kl(q, p=None):
    """Returns KL(q || p), by default from the standard normal prior."""
    return kl_divergence(q, standard_normal(q) if p is None else p).sum()


def standard_normal(q):
    """Returns the standard normal distribution of q's shape."""
    return Normal(torch.zeros_like(q.loc), 1.0)


def family_of(model, mean, raw):
    """Returns a mixture model's distribution with these means and raw scales, element by element."""
    if model.family == "normal":
        return gaussian_of(mean, raw)
    return Laplace(mean, raw.shape[-1] * torch.softmax(raw, -1) + 1e-6)


def standard(model, size):
    zeros = torch.zeros(size).double()
    return Normal(zeros, zeros + 1) if model.family == "normal" else Laplace(zeros, zeros + 1)


def discrepancy(p, z, kernel):
    """Returns the squared MMD of two sets of points `(B, D)`, one pair after the other (Eq. 8)."""
    n, d = p.shape

    def k(u, v):
        return kernel((u - v).square().sum(), d)

    within = sum(k(p[i], p[j]) + k(z[i], z[j]) for i, j in combinations(range(n), 2)) * 2 / (n * (n - 1))
    return within - 2 / n**2 * sum(k(u, v) for u in p for v in z)


def mmd(p, z):
    return discrepancy(p, z, lambda r, d: torch.exp(-r / (2 * d)))


def imq(p, z):
    scales = (0.1, 0.2, 0.5, 1, 2, 5, 10)
    return discrepancy(p, z, lambda r, d: sum(2 * d * s / (2 * d * s + r) for s in scales) / 7)


def sliced(theta, z):
    """Returns the sliced Wasserstein penalty, one direction after the other, against quantiles of the normal."""
    rows, total = len(z), 0
    levels = torch.tensor([(i - 0.5) / rows for i in range(1, rows + 1)], dtype=torch.float64)
    for direction in theta.T:
        along = z @ (direction / direction.norm())
        total += (along.sort().values - Normal(0.0, 1.0).icdf(levels)).square().mean()
    return total / theta.shape[1]


PENALTIES = {"mmd": mmd, "imq": imq, "sliced": sliced}

"""Predefined studies: the paper's setting, each method in the setting of its own paper, and small studies for two CPUs.

Comments name the source of the values. Where the paper's text and its authors' code differ, the presets follow the
text.
"""

from __future__ import annotations

from typing import Any

__all__ = ["PRESETS"]

BETAS = [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0]
"""Weights of the penalty to try; MAC-WAE, supplement, "Hyper-parameters"."""

PAPER = ["mac-wae", "mac-vae", "m-wae", "jmvae", "mopoe", "mvtcae", "nexus"]
"""Models of the paper."""
FURTHER = ["mvae", "mmvae", "mmvae-plus"]

SQUASHED = {"schema.cost": "categorical-squashed"}
"""The authors' code passes the sigmoid output of the heads as logits to the cross-entropy, except in `l2` models."""

PENALTY = {"regularizer": "mmd", "relative": False}
"""MMD with an absolute weight; MAC-WAE, Eq. 8 and 9."""

Settings = dict[str, Any]


def _build_paper_settings(p0: float, draws: int, betas: list[float]) -> tuple[Settings, Settings]:
    """Returns the paper's settings of MAC-VAE, and those of MAC-WAE and M-WAE."""
    conditioned = {"p0": p0, "draws": draws, "skip": False, "vary": {"beta": betas}}
    return conditioned, {"schema.cost": "l2", **PENALTY, **conditioned}


def _build_paper_models(
    latent_dim: int, draws: int, p0: float, *, betas: list[float] = BETAS, classes: bool = True
) -> dict[str, Settings]:
    """Returns the settings of the seven models in the MAC-WAE paper.

    Predictions use the posterior mean; the authors' code uses one posterior sample.
    """
    conditioned, wasserstein = _build_paper_settings(p0, draws, betas)
    squashed = SQUASHED if classes else {}
    return {
        "mac-wae": wasserstein,
        "mac-vae": {**squashed, **conditioned},
        "m-wae": wasserstein,
        # The supplement varies alpha of JMVAE. The warm-up of 10 epochs is that of the authors' code.
        "jmvae": {**squashed, "warmup": 10, "vary": {"alpha": betas}},
        "mopoe": {**squashed, "draw": "full", "vary": {"beta": betas}},
        "mvtcae": {**squashed, "alpha": 0.1, "vary": {"beta": betas}},
        "nexus": {
            **squashed,
            "bottom_dim": latent_dim,
            "message_dim": 10,  # authors' code
            "dropout": 0.0,  # authors' code: no forced perceptual dropout
            "squashed": True,  # authors' code: h_m ends in a sigmoid, although its target is Gaussian
            "own": False,  # authors' code: observed modalities are decoded through h_m(z) too
            "warmup": 20,  # authors' code
            "vary": {"beta": betas},
        },
    }


def _build_fair_models(p0: float, draws: int, *, betas: list[float] = BETAS) -> dict[str, Settings]:
    """Returns the settings of each method in its own paper, with heads whose probabilities are not capped."""
    conditioned, wasserstein = _build_paper_settings(p0, draws, betas)
    vary = {"vary": {"beta": betas}}
    return {
        "mac-wae": wasserstein,
        "mac-vae": conditioned,
        "m-wae": wasserstein,
        "jmvae": {"warmup": 10, "vary": {"alpha": betas}},  # Suzuki, Nakayama and Matsuo 2017, section 4
        "mopoe": vary,  # Sutter, Daunhawer and Vogt 2021: one subset per row, by stratified sampling
        "mvtcae": {"alpha": 0.1, **vary},  # Hwang et al. 2021: alpha 0.1, beta 2.5; the study tries BETAS instead
        # Vasco et al. 2022: top code of size 32, messages of size 512, message dropout 0.2, warm-up of 20 epochs
        "nexus": {"latent_dim": 32, "message_dim": 512, "dropout": 0.2, "warmup": 20, **vary},
        "mvae": {"warmup": 10, **vary},  # Wu and Goodman 2018
        "mmvae": {"build.draws": 10},  # Shi et al. 2019: DReG with 10 samples, Laplace distributions
        "mmvae-plus": {"latent_dim": 32, "private_dim": 32, **vary},  # Palumbo, Daunhawer and Vogt 2023
    }


def _build_study(
    dataset: str, models: dict[str, Settings], choose: str, own: Settings | None = None, **fit: Any
) -> Settings:
    return {
        "datasets": {dataset: own or {}},
        "models": models,
        "settings": {"weights": "sum", "weight_decay": 1e-5, **fit},  # MAC-WAE, supplement: coupled weight decay
        "seeds": 3,
        "choose": choose,
        "tasks": ["reconstruction", "many-to-one", "one-to-one", "generation"] if choose == "loss" else EVERY,
        "maps": ["mac-wae", "mac-vae"],
    }


EVERY = ["reconstruction", "many-to-one", "one-to-one", "translation", "coherence", "generation", "likelihood", "probe"]

# MAC-WAE, supplement: batch size, learning rate, latent dimension, epochs; also K and p0 in PRESETS.
# Comments give the values of the authors' code where they differ.
POLYMNIST = {"batch_size": 128, "learning_rate": 5e-4, "latent_dim": 128, "epochs": 150}  # authors' code: dimension 64
MHD = {"batch_size": 64, "learning_rate": 1e-3, "latent_dim": 128, "epochs": 150}
CUB = {"batch_size": 32, "learning_rate": 5e-4, "latent_dim": 128, "epochs": 200}  # authors' code: 1e-4, dimension 256
CELEBA = {"batch_size": 64, "learning_rate": 1e-4, "latent_dim": 128, "epochs": 150}  # authors' code: 5e-4
TOO_MANY = {"without": ["mopoe"]}
"""MoPoE is left out: 41 modalities have too many subsets for it, and the paper reports no value either."""

PAPERS_OWN: Settings = {
    "model": "mac-wae",
    "schema.cost": "l2",
    "weights": "sum",
    "beta": 1.0,
    "p0": 0.4,
    "skip": False,
    **PENALTY,
}
"""MAC-WAE in the setting of its paper, for comparison with MAC-WAE with the library's defaults."""


def _build_weight_grid(default: float) -> dict[str, Any]:
    """Returns the weights to tune: 0.3, 1 and 3 times the default weight of the divergence or penalty of a model."""
    return {"beta": [round(0.3 * default, 3), default, 3 * default]}


SMALL: dict[str, Settings] = {
    "mac-wae": {"draws": 5, "vary": _build_weight_grid(0.1)},
    "mac-wae-paper": {"draws": 5, **PAPERS_OWN},
    "mac-vae": {"draws": 5, "vary": _build_weight_grid(1.0)},
    "m-wae": {"draws": 5, "vary": _build_weight_grid(0.1)},
    "jmvae": {"vary": {"alpha": [0.03, 0.1, 0.3]}},  # JMVAE's own paper varies alpha
    "mopoe": {"vary": _build_weight_grid(1.0)},
    "mvtcae": {"vary": _build_weight_grid(2.5)},
    "nexus": {"vary": _build_weight_grid(1.0)},
    "mvae": {"vary": _build_weight_grid(1.0)},
    "mmvae": {"draws": 1},  # the default of 10 samples is too slow here; the bound has no weight to tune
    "mmvae-plus": {"vary": _build_weight_grid(2.5)},
}
"""Models of the small studies: the library's defaults with fewer samples, and MAC-WAE in the setting of its paper.

The defaults have natural likelihoods and balanced loss weights. One weight per model is tuned.
"""


FULL: Settings = {"features": 128, "prior": "flow", "draws": 10}
"""Non-default settings of MAC-WAE in the small studies; docs/defaults.md and docs/models.md compare both."""


def _build_small_study(dataset: str, own: Settings, **fit: Any) -> Settings:
    return {
        "datasets": {dataset: own},
        "models": {**SMALL, "mac-wae": {**SMALL["mac-wae"], **FULL}},
        "settings": {"latent_dim": 32, "learning_rate": 1e-3, "batch_size": 64, **fit},
        "seeds": 2,
        "tuning_seeds": 1,
        "choose": "translation",
        "tasks": EVERY,
        "maps": ["mac-wae", "mac-vae"],
    }


RELATIVE = [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0]
"""Relative weights of the penalty to try."""
DIGITS = {"data.rows": 3000, "held_out_rows": 1000, "widths": [16, 32]}
TASKS = ["reconstruction", "many-to-one", "one-to-one"]


def _build_sweep(models: list[str] | dict[str, Settings], tasks: list[str], **settings: Any) -> Settings:
    """Returns a short study on PolyDigits."""
    return {
        "datasets": {"polydigits": DIGITS},
        "models": models,
        "settings": {"latent_dim": 32, "learning_rate": 1e-3, "batch_size": 64, "epochs": 10, **settings},
        "seeds": 2,
        "tasks": tasks,
    }


PRESETS: dict[str, dict[str, Any]] = {
    "polymnist-paper": _build_study("polymnist", _build_paper_models(128, 10, 0.4, classes=False), "loss", **POLYMNIST),
    "mhd-paper": _build_study("mhd", _build_paper_models(128, 10, 0.4), "loss", **MHD),
    "cub-paper": _build_study("cub", _build_paper_models(128, 5, 0.25), "loss", **CUB),
    # The supplement uses a single weight of the penalty for CelebA, 1.
    "celeba-paper": _build_study("celeba", _build_paper_models(128, 10, 0.4, betas=[1.0]), "loss", TOO_MANY, **CELEBA),
    "polymnist-fair": _build_study(
        "polymnist",
        _build_fair_models(0.4, 10),
        "translation",
        # Palumbo, Daunhawer and Vogt 2023: Laplace likelihood of scale 0.75, beta 2.5; the study tries BETAS instead
        {"models": {"mmvae-plus": {"schema.cost": "laplace(0.75)"}}},
        **POLYMNIST,
    ),
    # Vasco et al. 2022: trajectory and label have a loss weight of 50
    "mhd-fair": _build_study(
        "mhd",
        _build_fair_models(0.4, 10),
        "translation",
        {"models": {"nexus": {"weights": {"trajectory": 50.0, "label": 50.0}}}},
        **MHD,
    ),
    "cub-fair": _build_study("cub", _build_fair_models(0.25, 5), "translation", **CUB),
    "celeba-fair": _build_study("celeba", _build_fair_models(0.4, 10, betas=[1.0]), "translation", TOO_MANY, **CELEBA),
    "polymnist-small": _build_small_study(
        "polymnist", {"data.rows": 16000, "held_out_rows": 1000, "widths": [16, 32, 64]}, epochs=8
    ),
    "pendigits-mhd-small": _build_small_study("pendigits-mhd", {}, epochs=20),
    "emoji-small": _build_small_study(
        "emoji",
        {
            "length": 16,
            "widths": [16, 32, 64, 128],
            "schema.width": 64,
            "schema.layers": 1,
            "schema.feedforward": 128,
            "schema.dropout": 0.1,
            "schema.hidden": [64],
        },
        epochs=20,
    ),
    "polydigits-beta": _build_sweep(
        {
            **{name: {**SMALL[name], "vary": {"beta": BETAS}} for name in PAPER},
            **{name: {**SMALL[name], "vary": {"beta": RELATIVE}} for name in ("mac-wae", "m-wae")},
            "jmvae": {"vary": {"alpha": BETAS}},  # the paper varies alpha
        },
        TASKS,
    ),
    "polydigits-draws": {**_build_sweep(["mac-wae"], TASKS), "vary": {"draws": [1, 2, 5, 10, 20]}},
    "polydigits-penalties": _build_sweep(
        {
            "sliced": {"model": "mac-wae"},
            "sliced, samples": {"model": "mac-wae", "regularizer": "sliced(64, samples)"},
            "imq": {"model": "mac-wae", "regularizer": "imq", "beta": 1.0},
            "mmd": {"model": "mac-wae", "regularizer": "mmd", "beta": 1.0},
            "mmd(2)": {"model": "mac-wae", "regularizer": "mmd(2)", "beta": 1.0},
            "mmd, absolute": {"model": "mac-wae", **PENALTY, "beta": 1.0},
            "mac-wae-paper": PAPERS_OWN,
        },
        [*TASKS, "coherence", "generation"],
        **{"build.draws": 5},
    ),
    "polydigits-masks": _build_sweep(
        {
            "every size": {"model": "mac-wae"},
            **{f"p0={p0}": {"model": "mac-wae", "p0": p0} for p0 in (0.2, 0.4, 0.6, 0.8)},
        },
        [*TASKS, "coherence", "generation"],
        **{"build.draws": 5},
    ),
}
"""Arguments of `Study` by the name of the preset."""

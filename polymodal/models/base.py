"""The base class of all models, with encoding, decoding, translation, sampling and saving."""

from __future__ import annotations

import inspect
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from polymodal.batch import Batch, Rows
from polymodal.distributions import DiagNormal
from polymodal.io import checkpoint
from polymodal.models.flow_codes import sample_codes, sample_rows
from polymodal.networks import CodeFlow, apply_fused, architecture, evaluating, together
from polymodal.runtime.seeding import check_seed
from polymodal.runtime.validation import check_kind, check_names, check_path, check_whole

if TYPE_CHECKING:
    from polymodal.schema import Schema

__all__ = ["Given", "Loss", "Model", "Plan", "Weights", "answering", "check_model", "evaluating", "tell_untrained"]

Given = list[str] | Tensor | None
"""Conditioning modalities: None for all observed ones, their names, or a bool mask `(*, B, M)` or `(*, 1, M)`."""

Plan = tuple[Tensor, ...]
"""A model's random choices for one training step, see `Model.plan`."""

Weights = Literal["balanced", "sum"] | Mapping[str, float]
"""Loss weights of the modalities' reconstruction terms."""

FORMAT = 2
"""Format version of `model.json`. In format 1 the weight of a penalty is never relative."""


def check_model(model: object) -> None:
    """Checks that a value is a model.

    Raises:
        TypeError: The value is not a model. The message says what to pass.
    """
    check_kind("model", model, Model, "a model", "pass what polymodal.build or polymodal.load returns")


def tell_untrained(names: Sequence[str]) -> str:
    """Returns the warning that no training row has these modalities, and what to do about it.

    Example:
        >>> tell_untrained(["photo"]).partition(";")[0]
        "no training row has 'photo': predictions from it and of it are arbitrary"
    """
    listed, it = ", ".join(map(repr, names)), "it" if len(names) == 1 else "them"
    return (
        f"no training row has {listed}: predictions from {it} and of {it} are arbitrary; train on rows that have {it}, "
        f"or leave {it} out of the schema"
    )


class Loss(NamedTuple):
    """The loss of one training step."""

    total: Tensor
    """The scalar to minimise."""
    terms: dict[str, Tensor]
    """Scalars for the history: the unweighted "cost/<modality>", "penalty/<name>", and for some models "codes/norm",
    the mean norm of the codes."""


class Model(nn.Module, ABC):
    """A joint model of a schema's modalities.

    A subclass builds its networks with `Modality.build_encoder` and `Modality.build_decoder`, sets `decoders`, and
    implements `encode` and `loss`. Its constructor arguments are attributes of the same names. This class implements
    all other public methods based on these.

    Arguments:
        schema: The modalities.
        latent_dim: Size of the shared latent code.
        weights: Loss weights of the modalities. "balanced" makes each modality's cost relative to the cost of its best
            constant prediction, so that no modality dominates the loss (`fit` measures it before its first step).
            "sum" sets all weights to 1. A mapping sets weights by name; the others are 1.
    """

    name: str
    """Key of the model in the registry `MODELS`."""
    deterministic = False
    """Whether the posterior is a single code per row."""
    likelihood = False
    """Whether the reconstruction term is -log p(x | z) rather than the modalities' costs."""
    rows: Literal["all", "complete"] | None = None
    """How to treat incomplete rows, for models that can be trained on complete rows only: "all" refuses them,
    "complete" leaves them out. None for models that can be trained on all rows."""
    samples_by_flow = False
    """Whether `fit` trains a flow over the model's codes after training the model."""
    flow: CodeFlow | None
    """Flow over the codes that posterior and unconditional samples come from, or None."""
    seed = 0
    """Random seed of the initial weights."""
    untrained: tuple[str, ...] | None = None
    """Modalities that were missing in every row of every training run; None before the first run."""
    weight: Tensor
    weighed: Tensor
    decoders: nn.ModuleList

    def __init__(self, schema: Schema, latent_dim: int, weights: Weights) -> None:
        super().__init__()
        self.schema, self.latent_dim, self.weights = schema, latent_dim, weights
        self.flow = None
        if latent_dim < 1:
            raise ValueError(f"latent_dim must be at least 1; got {latent_dim}")
        if weights not in ("balanced", "sum") and not isinstance(weights, Mapping):
            raise ValueError(f"weights must be 'balanced', 'sum' or numbers by modality; got {weights!r}")
        self._cores = [repr(modality.core) for modality in schema.values()]
        self.register_buffer("weight", torch.ones(len(schema)))
        self.register_buffer("weighed", torch.tensor(weights != "balanced"))
        if isinstance(weights, Mapping):
            for name, number in weights.items():
                if not 0 <= number < float("inf"):
                    raise ValueError(f"the weight of {name!r} must be finite and not negative; got {number}")
                self.weight[schema.index(name)] = number

    @property
    def arguments(self) -> dict[str, Any]:
        """Constructor arguments of the model, except for the schema."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters if name != "schema"}

    @property
    def document(self) -> dict[str, Any]:
        """Contents of `model.json`, as `save` writes them.

        Raises:
            ValueError: A modality is not registered.
        """
        return {
            "format": FORMAT,
            "model": self.name,
            "seed": self.seed,
            "arguments": self.arguments,
            "schema": self.schema.to_json(),
            **({} if self.flow is None else {"flow": self.flow.sizes}),
            **({"untrained": list(self.untrained)} if self.untrained else {}),
        }

    def __repr__(self) -> str:
        arguments = "".join(f", {name}={value!r}" for name, value in self.arguments.items())
        return f"build({self.name!r}, {self.schema!r}, seed={self.seed}{arguments})"

    @property
    def code_dim(self) -> int:
        """Total size of a code z."""
        return self.latent_dim

    @property
    def prior(self) -> Distribution:
        """Prior p(z) on the model's device and in its dtype; standard normal unless a subclass overrides it."""
        return self.normal_prior

    @property
    def normal_prior(self) -> Distribution:
        """Standard normal distribution of a code, `(code_dim,)`, a baseline for other priors."""
        return self._standard(self.code_dim)

    @property
    def constants(self) -> dict[str, float]:
        """Constants by name that every row of a training run's history records."""
        return {}

    def set_reference_cost(self, reference_cost: float) -> None:
        """Sets the reference cost, which `fit` measures before its first step; most models ignore it.

        Arguments:
            reference_cost: Weighted cost of the best constant prediction, per training row.
        """

    def enable_flow(self) -> None:
        """Makes `fit` train a flow over the model's codes.

        Raises:
            ValueError: The model does not support a flow.
        """
        raise ValueError(
            f"only mac-wae, m-wae and mac-vae can sample their codes by a flow; got {self.name}; train one of these "
            "with prior='flow'"
        )

    def make_flow(self, **sizes: Any) -> CodeFlow:
        """Adds a new flow over codes, with random weights from PyTorch's global generator.

        Arguments:
            **sizes: Keyword arguments of `polymodal.networks.CodeFlow`, such as `width`.

        Returns:
            The flow, which is also the attribute `flow`.

        Raises:
            ValueError: The model does not support a flow.
        """
        self.enable_flow()
        self.flow = CodeFlow(self.code_dim, len(self.schema), **sizes).to(self.weight).requires_grad_(False)
        return self.flow

    def drop_flow(self) -> None:
        """Removes the flow, which fits only the codes that it was trained on."""
        self.flow = None

    @abstractmethod
    def encode(self, batch: Rows, given: Given = None) -> Distribution:
        """Returns the posterior q(z | x_V, b) given the modalities V.

        Arguments:
            batch: B rows.
            given: Conditioning modalities V: None for all observed ones, their names, or a bool mask `(*, B, M)` or
                `(*, 1, M)`, whose leading axes are independent conditionings. A row is conditioned on the modalities
                that are both given and observed.

        Returns:
            Batch shape `(*, B)`, event shape `(code_dim,)`.

        Raises:
            ValueError: None of the given modalities is observed in some row.
        """

    def costs(self, x: Mapping[str, Tensor], z: Tensor, observed: Tensor) -> Tensor:
        """Computes the reconstruction cost of each modality, 0 where the modality is missing.

        Arguments:
            x: Prepared values, `(B, *shape)` by name.
            z: Codes, `(*, B, code_dim)`.
            observed: Observed mask, `(B, M)` bool.

        Returns:
            `(M, *, B)`.
        """
        return self._costs(x, {name: self._read(name, z) for name in self.schema}, observed)

    def log_ratio(self, z: Tensor, posterior: Distribution) -> Tensor:
        """Computes log p(z) - log q(z | x_V) in nats for posterior samples.

        Arguments:
            z: Codes sampled from the posterior, `(*, B, code_dim)`.
            posterior: Result of `encode`, of a model that is not deterministic.

        Returns:
            `(*, B)`.
        """
        return self.prior.log_prob(z) - posterior.log_prob(z)

    @abstractmethod
    def loss(self, batch: Batch, *, progress: float | Tensor = 1.0) -> Loss:
        """Computes the training loss of a batch.

        Arguments:
            batch: B rows.
            progress: Progress of the penalty's warm-up, in [0, 1].
        """

    def plan(self, observed: Tensor) -> Plan:
        """Makes the random choices that determine tensor shapes in a training step; most models have none.

        `loss` makes them itself unless it gets them as `plan`. The caller can make them on the CPU for a GPU, or once
        for several processes.

        Arguments:
            observed: Observed mask of the step's rows, `(B, M)` bool.
        """
        return ()

    def part(self, plan: Plan, rows: slice) -> Plan:
        """Returns the part of a plan that concerns some of its rows, for a process that has only these rows."""
        return plan

    def forward(self, batch: Batch, progress: float | Tensor = 1.0, plan: Plan = ()) -> Loss:
        """Calls `loss`. Wrappers for several devices, such as DistributedDataParallel, call `forward`."""
        return self.loss(batch, progress=progress, **({"plan": plan} if plan else {}))

    def emit(self, z: Tensor, only: list[str] | None = None) -> dict[str, Tensor]:
        """Returns the parameters of p(x_m | z), which the decoders output, `(*, B, ...)` by name.

        Arguments:
            z: Codes, `(*, B, code_dim)`.
            only: Names of the modalities; by default all.
        """
        codes = {name: self._read(name, z) for name in self._names(only)}
        outputs: dict[str, Tensor] = {}
        for names in self._alike(self.decoders, codes):
            outputs |= zip(names, self._decoded(names, codes), strict=True)
        return {name: outputs[name] for name in codes}

    def decode(self, z: Tensor, only: list[str] | None = None) -> dict[str, Distribution]:
        """Returns the distributions p(x_m | z) by name, batch shape `(*, B)`, for codes z `(*, B, code_dim)`."""
        return {name: self.schema[name].distribution(output) for name, output in self.emit(z, only).items()}

    def predict(self, batch: Rows, given: Given = None, to: list[str] | None = None) -> dict[str, Distribution]:
        """Returns the distributions p(x_m | z) by name, with z the posterior mean; batch shape `(*, B)`."""
        with answering(self):
            return self.decode(self.encode(self._here(batch), given).mean, to)

    def translate(
        self,
        batch: Rows,
        given: Given = None,
        to: list[str] | None = None,
        samples: int | None = None,
        *,
        combine: Literal["mean"] | None = None,
        seed: int | None = None,
        steps: int | None = None,
        guidance: float | None = None,
        temperature: float | None = None,
        rows: Sequence[int] | None = None,
    ) -> dict[str, Tensor]:
        """Predicts any modalities from any others.

        Arguments:
            batch: B rows.
            given: Modalities to predict from, as in `encode`.
            to: Names of the modalities to predict; by default all.
            samples: Number of posterior samples; by default one prediction, from the posterior mean. All modalities
                of a sample are decoded from the same code, so they are consistent with each other.
            combine: "mean" combines the samples of a row into one estimate: the mean of numbers and images, the most
                frequent class, and the text that shares most tokens with the others.
            seed: Random seed of the samples; by default PyTorch's global random state is used.
            steps: Steps of the solver that samples by a flow; by default 25.
            guidance: Weight of the condition in samples by a flow; by default 1. Larger values make samples more
                typical of the condition and less varied.
            temperature: Scale of the noise of samples by a flow; by default 1, which samples from the distribution that
                it has learned. Smaller values, such as 0.8, make samples more typical and less varied.
            rows: Numbers of the rows; by default they are numbered from 0. With a seed, the samples of a row depend
                only on the seed and on its number, not on the other rows of the batch.

        Returns:
            By name, `(*, B, *shape)`, or `(samples, *, B, *shape)`: images in [0, 1], classes and tokens as
            integers. `Schema.write` converts them to the users' units and types.

        Raises:
            ValueError: None of the given modalities is observed in some row, a name is unknown, `samples` is set for a
                model without a distribution over codes, or an argument is out of its range.
        """
        self.check_samples(samples, combine, seed, steps, guidance, temperature)
        batch = self._here(batch)
        if not len(batch):
            options: dict[str, Any] = {"combine": combine, "seed": seed, "steps": steps}
            options |= {"guidance": guidance, "temperature": temperature}
            made = self.translate(*self._stand_in(given), to, samples, **options)
            return {name: value.narrow(-1 - len(self.schema[name].shape), 0, 0) for name, value in made.items()}
        self._warn_of_untrained(batch, given, to)
        with answering(self):
            posterior = self.encode(batch, given)
            if samples is None:
                return self._values(posterior.mean, to)
            own: dict[str, Any] = {"rows": rows, "steps": steps, "guidance": guidance, "temperature": temperature}
            if seed is None:
                z = sample_codes(posterior, [samples], **own)
            else:
                z = sample_rows(posterior, [samples], seed=seed, **own)
            values = self._values(z, to)
            return {name: self.schema[name].combine(value) for name, value in values.items()} if combine else values

    def note_training(self, observed: Tensor) -> list[str]:
        """Records which modalities are missing in all rows of this and all earlier training runs.

        Arguments:
            observed: Observed mask of the training rows, `(N, M)` bool.

        Returns:
            Names of these modalities.
        """
        none = [name for name, some in zip(self.schema, observed.any(0).tolist(), strict=True) if not some]
        before = none if self.untrained is None else self.untrained
        self.untrained = tuple(name for name in none if name in before)
        return list(self.untrained)

    def _warn_of_untrained(self, batch: Rows, given: Given, to: list[str] | None) -> None:
        """Warns if modalities that no training row had are used as inputs or targets."""
        if not self.untrained:
            return
        seen = self.schema.mask([*given]) if isinstance(given, list | tuple) else batch.observed.any(0).cpu()
        named = [name for name in self.untrained if seen[self.schema.index(name)] or name in (to or ())]
        if named:
            warnings.warn(tell_untrained(named), RuntimeWarning, stacklevel=3)

    def reconstruct(self, batch: Rows, to: list[str] | None = None) -> dict[str, Tensor]:
        """Predicts modalities from all observed ones, as `translate` does."""
        return self.translate(batch, None, to)

    def embed(self, batch: Rows, given: Given = None) -> Tensor:
        """Returns the posterior mean, `(*, B, code_dim)`."""
        batch = self._here(batch)
        if not len(batch):
            return self.embed(*self._stand_in(given)).narrow(-2, 0, 0)
        with answering(self):
            return self.encode(batch, given).mean

    def sample(
        self,
        n: int,
        to: list[str] | None = None,
        *,
        seed: int | None = None,
        steps: int | None = None,
    ) -> dict[str, Tensor]:
        """Returns unconditional samples: rows decoded from codes sampled from the prior.

        Arguments:
            n: Number of rows.
            to: Names of the modalities; by default all.
            seed: Random seed; by default PyTorch's global random state is used.
            steps: Steps of the solver that samples by a flow; by default 25.

        Returns:
            `(n, *shape)` by name.

        Raises:
            ValueError: A name is unknown, or an argument is out of its range.
        """
        check_whole("n", n)
        with answering(self):
            return self._values(sample_codes(self.prior, [n], seed=seed, steps=steps), to)

    def save(self, folder: str | Path) -> Path:
        """Writes `weights.safetensors` and `model.json` into an empty folder, or overwrites a saved model.

        Raises:
            ValueError: The folder contains something else, or a modality is not registered.
        """
        check_path("folder", folder)
        return checkpoint.write(folder, {"model.json": self.document, "weights.safetensors": self.state_dict()})

    def require_trainable(self, observed: Tensor) -> None:
        """Checks that the model can be trained on rows with the observed mask `(N, M)` bool.

        Raises:
            ValueError: The model needs complete rows, and a row is incomplete.
        """
        if self.rows is None or (whole := observed.all(-1)).all():
            return
        row = int((~whole).nonzero()[0])
        lacks = [name for name, has in zip(self.schema, observed[row].tolist(), strict=True) if not has]
        raise ValueError(
            f"{self.name} must have complete rows to train on, for its joint encoder sees all modalities at once; "
            f"row {row} lacks {', '.join(lacks)} ({int((~whole).sum())} such rows); build it with rows='complete', "
            "and fit leaves them out"
        )

    def condition(self, observed: Tensor, given: Given) -> Tensor:
        """Returns the conditioning mask b, `(*, B, M)` bool: the modalities that are both given and observed.

        Arguments:
            observed: Observed mask, `(B, M)` bool.
            given: Conditioning modalities, as in `encode`.

        Raises:
            TypeError: `given` is a tensor of another type than bool, or a single name.
            ValueError: None of the given modalities is observed in some row, or `given` has a wrong shape.
        """
        if given is None:
            given = torch.ones_like(observed)
        elif isinstance(given, Tensor):
            if given.dtype != torch.bool:
                raise TypeError(f"given must be bool where it is a tensor; got {given.dtype}")
            rows, columns = given.shape[-2:] if given.dim() > 1 else (0, 0)
            if rows not in (1, len(observed)) or columns != len(self.schema):
                raise ValueError(
                    f"given must end in rows and modalities, (*, 1, {len(self.schema)}) or "
                    f"(*, {len(observed)}, {len(self.schema)}); got {tuple(given.shape)}"
                )
        else:
            check_names("given", given)
            given = self.schema.mask(given).expand(1, -1)
        b = given.to(observed.device) & observed
        if not (seen := b.any(-1)).all():
            row = int((~seen).nonzero()[0, -1])
            has = [name for name, here in zip(self.schema, observed[row].tolist(), strict=True) if here]
            raise ValueError(
                f"every row must be given something that it has; row {row} has only {', '.join(has) or 'nothing'}, "
                "none of which was given"
            )
        return b

    def check_samples(
        self,
        samples: int | None,
        combine: str | None = None,
        seed: int | None = None,
        steps: int | None = None,
        guidance: float | None = None,
        temperature: float | None = None,
    ) -> None:
        """Checks the arguments of `translate` that concern posterior samples.

        Raises:
            ValueError: The arguments do not fit the model or each other.
        """
        if samples is not None:
            check_whole("samples", samples)
        if samples is None and (combine, seed, steps, guidance, temperature) != (None,) * 5:
            raise ValueError(
                "combine, seed, steps, guidance and temperature belong to posterior samples, and samples is None; pass "
                "samples=10, or leave them out"
            )
        if samples is not None and self.deterministic:
            raise ValueError(
                "this model's encoder is deterministic, so it has one answer per row; leave out samples, "
                "train a flow over its codes with fit(..., only='prior'), or build it with stochastic=True"
            )
        if combine not in (None, "mean"):
            raise ValueError(f"combine must be 'mean' or None; got {combine!r}")
        if seed is not None:
            check_seed(seed)

    def _standard(self, size: int) -> Distribution:
        zeros = self.weight.new_zeros(size)
        return DiagNormal(zeros, zeros + 1)

    def _read(self, name: str, z: Tensor) -> Tensor:
        """Returns the part of a code `(*, code_dim)` that a modality's decoder reads; by default the complete code."""
        return z

    def _alike(self, networks: nn.ModuleList, names: Iterable[str]) -> list[list[str]]:
        """Groups the names of modalities whose networks can be computed together."""
        groups: dict[Any, list[str]] = {}
        for name in names:
            column = self.schema.index(name)
            known = architecture(networks[column])
            groups.setdefault(name if known is None else (self._cores[column], known), []).append(name)
        return list(groups.values())

    def _encoded(self, encoders: nn.ModuleList, x: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Encodes prepared values `(B, *shape)` by name to features `(B, F)` by name."""
        features: dict[str, Tensor] = {}
        for names in self._alike(encoders, x):
            networks = [encoders[self.schema.index(name)] for name in names]
            values = [x[name] for name in names]
            outputs = (
                together(networks, torch.stack(values)) if len(names) > 1 else [apply_fused(networks[0], values[0])]
            )
            features |= zip(names, outputs, strict=True)
        return {name: features[name] for name in x}

    def _decoded(self, names: list[str], codes: Mapping[str, Tensor]) -> Tensor:
        """Returns the outputs `(G, *, B, ...)` of G decoders of one group, for codes `(*, B, D)` by name."""
        networks = [self.decoders[self.schema.index(name)] for name in names]
        flat = [codes[name].flatten(0, -2) for name in names]
        if len(names) == 1:
            outputs = apply_fused(networks[0], flat[0])[None]
        else:
            one = all(codes[name] is codes[names[0]] for name in names)
            outputs = together(networks, flat[0].expand(len(names), -1, -1) if one else torch.stack(flat))
        return outputs.unflatten(1, codes[names[0]].shape[:-1])

    def _costs(self, x: Mapping[str, Tensor], codes: Mapping[str, Tensor], observed: Tensor) -> Tensor:
        """Computes reconstruction costs `(M, *, B)` from the decoders' inputs, `(*, B, D)` by name."""
        costs: dict[str, Tensor] = {}
        for names in self._alike(self.decoders, codes):
            rows = codes[names[0]].dim() - 2  # the axis of B without that of G
            parameters = self._decoded(names, codes).movedim(0, rows + 1).flatten(rows, rows + 1)  # (*, B G, ...)
            cost = self._cost(names, parameters, x).unflatten(-1, (len(observed), len(names)))  # (*, B, G)
            # Columns are taken one by one, because indexing with a list synchronises with the GPU.
            has = torch.stack([observed[:, self.schema.index(name)] for name in names], dim=1)
            costs |= zip(names, (cost * has).unbind(-1), strict=True)
        return torch.stack([costs[name] for name in codes])

    def _cost(self, names: list[str], parameters: Tensor, x: Mapping[str, Tensor]) -> Tensor:
        """Computes the costs `(*, B G)` of G modalities of one group from decoder outputs `(*, B G, ...)`.

        The outputs of mixed precision are converted to the model's dtype here.
        """
        modality = self.schema[names[0]]
        cost = modality.nll if self.likelihood else modality.cost
        values = x[names[0]] if len(names) == 1 else torch.stack([x[name] for name in names], dim=1).flatten(0, 1)
        return cost(parameters.to(self.weight.dtype), values)

    def _choice(self, x: Mapping[str, Tensor], b: Tensor) -> Tensor:
        """Chooses one of the given modalities for each row.

        The choice is a hash of the values of the row's given modalities, so it does not depend on the other rows of the
        batch. It is about uniform over different rows.

        Arguments:
            x: Prepared values, `(B, *shape)` by name.
            b: Conditioning mask, `(*, B, M)` bool, with at least one modality in every row.

        Returns:
            Indices of the modalities, `(*, B)` int64.
        """
        total = torch.zeros(b.shape[-2:], dtype=torch.int64, device=b.device)  # (B, M)
        for m, name in enumerate(self.schema):
            value = x[name].float().flatten(1) if x[name].dim() > 1 else x[name].float()[:, None]
            factors = torch.arange(1, value.shape[1] + 1, device=b.device) * 2_654_435_761 % 2**31
            total[:, m] = (value.contiguous().view(torch.int32).long() % 65_521 * factors).sum(1) % 2**31
        mixed = (torch.where(b, total, 0).sum(-1) * 48_271 + 11) % (2**31 - 1)  # (*, B)
        mixed = mixed * 48_271 % (2**31 - 1)
        wanted = mixed % b.sum(-1)
        return (b & (b.cumsum(-1) == wanted[..., None] + 1)).int().argmax(-1)

    def _check_factors(self, **factors: float) -> None:
        for name, factor in factors.items():
            if not 0 <= factor < float("inf"):
                raise ValueError(f"{name} must be finite and not negative, got {factor}")

    def _check_shares(self, **shares: float) -> None:
        for name, share in shares.items():
            if not 0 <= share <= 1:
                raise ValueError(f"{name} must be in [0, 1], got {share}")

    def _names(self, only: list[str] | None) -> list[str]:
        if only is None:
            return list(self.schema)
        check_names("names", only)
        return list(only)

    def _values(self, z: Tensor, to: list[str] | None) -> dict[str, Tensor]:
        return {name: self.schema[name].value(p) for name, p in self.decode(z, to).items()}

    def _stand_in(self, given: Given) -> tuple[Batch, Given]:
        """Returns one blank row, in place of an empty batch that networks may not accept, and its `given`."""
        blanks = {name: modality.blank[None] for name, modality in self.schema.items()}
        if isinstance(given, Tensor):
            given = given.new_ones(*given.shape[:-2], 1, len(self.schema))
        return Batch(blanks, torch.ones(1, len(self.schema), dtype=torch.bool)), given

    def _here(self, batch: Rows) -> Batch:
        if isinstance(batch, type) or not (hasattr(batch, "observed") and hasattr(batch, "values")):
            raise TypeError(f"rows must be a Batch or a Table; got {type(batch).__name__}; use schema.batch(values)")
        if (schema := getattr(batch, "schema", None)) is not None:
            self.schema.require(schema, "the table")
        return Batch(batch.values, batch.observed).to(self.weight.device)


@contextmanager
def answering(model: nn.Module) -> Iterator[None]:
    """Context manager for evaluation mode without gradients; it restores the mode of every module afterwards.

    It does not use inference mode, whose tensors cannot be saved for a backward pass: users train probes on embeddings.
    """
    with evaluating(model), torch.no_grad():
        yield

"""What every model provides, and all that can be written on it once."""

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
from polymodal.networks import CodeFlow, architecture, chained, evaluating, together
from polymodal.runtime.seeding import check_seed
from polymodal.runtime.validation import check_kind, check_names, check_path, check_whole

if TYPE_CHECKING:
    from polymodal.schema import Schema

__all__ = ["Given", "Loss", "Model", "Plan", "Weights", "answering", "check_model", "evaluating", "tell_untrained"]

Given = list[str] | Tensor | None
"""What a model is given: all that is observed, names, or bool `(*, B, M)`, `(*, 1, M)`."""

Plan = tuple[Tensor, ...]
"""A model's random choices for one step, see `Model.plan`."""

Weights = Literal["balanced", "sum"] | Mapping[str, float]
"""What the modalities' reconstruction terms weigh."""

FORMAT = 2
"""Of `model.json`. In format 1 a weight of a penalty was never relative."""


def check_model(model: object) -> None:
    """Refuses what is no model.

    Raises:
        TypeError: Says what to pass.
    """
    check_kind("model", model, Model, "a model", "pass what polymodal.build or polymodal.load returns")


def tell_untrained(names: Sequence[str]) -> str:
    """That no training row has these modalities, and what to do.

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
    """What one training step minimises."""

    total: Tensor
    """A scalar."""
    terms: dict[str, Tensor]
    """Scalars for the history: "cost/<modality>", unweighted, "penalty/<name>", and the mean norm "codes/norm"."""


class Model(nn.Module, ABC):
    """A joint model of a schema's modalities.

    A subclass sets `encoders` or its like, from `Modality.build_encoder` and `build_decoder`, and implements
    `encode` and `loss`; its constructor's arguments are attributes of the same names. Everything that people use
    is written here, on these.

    Arguments:
        schema: The modalities.
        latent_dim: Size of the shared code.
        weights: "balanced" makes a modality's cost relative to that of its best constant prediction, so that
            none drowns another (`fit` measures it before its first step); "sum" is 1 for all; or numbers by name.
    """

    name: str
    """The key under which the model is registered."""
    deterministic = False
    """Whether the posterior is one code per row."""
    likelihood = False
    """Whether reconstruction is -log p(x | z) rather than the modalities' costs."""
    rows: Literal["all", "complete"] | None = None
    """Of a model that can be trained on complete rows only: whether to leave the others out; None of one that can
    be trained on all."""
    samples_by_flow = False
    """Whether `fit` trains a flow over the model's codes, after the model itself."""
    flow: CodeFlow | None
    """The trained flow over codes, of a model that samples by one."""
    seed = 0
    """Of the initial weights."""
    untrained: tuple[str, ...] | None = None
    """Modalities that no row had in any training of the model; None before the first."""
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
        """What the model was made with, but for the schema."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters if name != "schema"}

    @property
    def document(self) -> dict[str, Any]:
        """What `save` writes as `model.json`.

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
        """Size of all of z."""
        return self.latent_dim

    @property
    def prior(self) -> Distribution:
        """p(z), on the model's device and in its dtype: standard normal, unless a model says otherwise."""
        return self.normal_prior

    @property
    def normal_prior(self) -> Distribution:
        """The standard normal distribution of a code, `(code_dim,)`, to compare another prior with."""
        return self._standard(self.code_dim)

    @property
    def constants(self) -> dict[str, float]:
        """Numbers that stand in each row of a training run's history, by name."""
        return {}

    def set_reference_cost(self, reference_cost: float) -> None:
        """Takes what `fit` has measured before its first step; most models need only the loss weights.

        Arguments:
            reference_cost: The weighted cost of the best constant prediction, per training row.
        """

    def enable_flow(self) -> None:
        """Makes `fit` train a flow over the model's codes.

        Raises:
            ValueError: The model cannot have one.
        """
        raise ValueError(
            f"only mac-wae, m-wae and mac-vae can sample their codes by a flow; got {self.name}; train one of these "
            "with prior='flow'"
        )

    def make_flow(self, **sizes: Any) -> CodeFlow:
        """Adds a new flow over codes, with random weights from PyTorch's global generator.

        Arguments:
            **sizes: Keyword arguments of `polymodal.networks.CodeFlow`, such as `width`.

        Raises:
            ValueError: The model cannot have one.
        """
        self.enable_flow()
        self.flow = CodeFlow(self.code_dim, len(self.schema), **sizes).to(self.weight).requires_grad_(False)
        return self.flow

    def drop_flow(self) -> None:
        """Removes the flow, which belongs to the codes that it was trained on."""
        self.flow = None

    @abstractmethod
    def encode(self, batch: Rows, given: Given = None) -> Distribution:
        """q(z | x_V, b): batch shape `(*, B)`, event shape `(code_dim,)`.

        Arguments:
            batch: B rows.
            given: All that is observed, or names, or bool `(*, B, M)` or `(*, 1, M)`, whose leading axes are
                independent conditionings. A row sees what is both given and observed.

        Raises:
            ValueError: A row is left with nothing.
        """

    def costs(self, x: Mapping[str, Tensor], z: Tensor, observed: Tensor) -> Tensor:
        """What each modality's reconstruction costs, 0 where a row has none: `(M, *, B)`.

        Arguments:
            x: Prepared values, `(B, *shape)` by name.
            z: Codes, `(*, B, code_dim)`.
            observed: `(B, M)` bool.
        """
        return self._costs(x, {name: self._read(name, z) for name in self.schema}, observed)

    def log_ratio(self, z: Tensor, posterior: Distribution) -> Tensor:
        """The log of p(z) / q(z | x_V) in nats, `(*, B)`, of codes from the posterior, `(*, B, code_dim)`.

        Arguments:
            z: Codes that were drawn from it.
            posterior: What `encode` gave, of a model that is not deterministic.
        """
        return self.prior.log_prob(z) - posterior.log_prob(z)

    @abstractmethod
    def loss(self, batch: Batch, *, progress: float | Tensor = 1.0) -> Loss:
        """What a training step minimises on a batch.

        Arguments:
            batch: B rows.
            progress: How far the penalty's warm-up has come, in [0, 1].
        """

    def plan(self, observed: Tensor) -> Plan:
        """The random choices on which the shape of a step's work depends; most models have none.

        `loss` makes them, unless it is told them: whoever runs the step can make them on the CPU for a GPU, or once
        for several processes.

        Arguments:
            observed: What the step's rows have, `(B, M)` bool.
        """
        return ()

    def part(self, plan: Plan, rows: slice) -> Plan:
        """What of a plan concerns some of its rows, for a process that has no others."""
        return plan

    def forward(self, batch: Batch, progress: float | Tensor = 1.0, plan: Plan = ()) -> Loss:
        """`loss`, under the name that wrappers for several devices call."""
        return self.loss(batch, progress=progress, **({"plan": plan} if plan else {}))

    def emit(self, z: Tensor, only: list[str] | None = None) -> dict[str, Tensor]:
        """The decoders' parameters of p(x_m | z), `(*, B, ...)` by name.

        Arguments:
            z: Codes, `(*, B, code_dim)`.
            only: Names; by default all.
        """
        codes = {name: self._read(name, z) for name in self._names(only)}
        outputs: dict[str, Tensor] = {}
        for names in self._alike(self.decoders, codes):
            outputs |= zip(names, self._decoded(names, codes), strict=True)
        return {name: outputs[name] for name in codes}

    def decode(self, z: Tensor, only: list[str] | None = None) -> dict[str, Distribution]:
        """p(x_m | z) by name, batch shape `(*, B)`, of codes `(*, B, code_dim)`."""
        return {name: self.schema[name].distribution(output) for name, output in self.emit(z, only).items()}

    def predict(self, batch: Rows, given: Given = None, to: list[str] | None = None) -> dict[str, Distribution]:
        """p(x_m | z) by name, at the posterior's mean given V; batch shape `(*, B)`."""
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
        """Values of any modalities from any others.

        Arguments:
            batch: B rows.
            given: What to start from, as in `encode`.
            to: Names of what to predict; by default every modality.
            samples: Number of posterior samples; by default one prediction, from the posterior mean. The modalities of
                one sample come from one code, so they fit each other.
            combine: "mean" combines the samples of a row into one estimate: the mean of numbers and images, the most
                frequent class, the text that shares most tokens with the others.
            seed: Random seed of the samples; by default PyTorch's global random state is used.
            steps: Steps of the solver that samples by a flow; by default 25.
            guidance: Weight of the condition in samples by a flow; by default 1. More makes samples more typical of
                what is given, and less varied.
            temperature: Scale of the noise of samples by a flow; by default 1, which samples from the distribution that
                it has learned. Less, such as 0.8, makes samples more typical and less varied.
            rows: Numbers of the rows. With a seed, samples depend on it and on a row's number alone, not on the rows
                next to it; by default the rows are numbered from 0.

        Returns:
            By name, `(*, B, *shape)`, or `(samples, *, B, *shape)`: images in [0, 1], classes and tokens as
            integers. `Schema.write` gives them as users hold them.

        Raises:
            ValueError: A row is left with nothing, a name is unknown, a model without a distribution over codes is
                asked for samples, or an argument is out of its range.
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
        """Notes which modalities no row of a training has, and returns their names.

        Arguments:
            observed: What the training rows have, `(N, M)` bool.
        """
        none = [name for name, some in zip(self.schema, observed.any(0).tolist(), strict=True) if not some]
        before = none if self.untrained is None else self.untrained
        self.untrained = tuple(name for name in none if name in before)
        return list(self.untrained)

    def _warn_of_untrained(self, batch: Rows, given: Given, to: list[str] | None) -> None:
        """Warns of modalities that no training row had, where they are what is started from or asked for."""
        if not self.untrained:
            return
        seen = self.schema.mask([*given]) if isinstance(given, list | tuple) else batch.observed.any(0).cpu()
        named = [name for name in self.untrained if seen[self.schema.index(name)] or name in (to or ())]
        if named:
            warnings.warn(tell_untrained(named), RuntimeWarning, stacklevel=3)

    def reconstruct(self, batch: Rows, to: list[str] | None = None) -> dict[str, Tensor]:
        """`translate` from all that each row has."""
        return self.translate(batch, None, to)

    def embed(self, batch: Rows, given: Given = None) -> Tensor:
        """The posterior's mean, `(*, B, code_dim)`."""
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
        """Unconditional samples: rows decoded from codes sampled from the prior.

        Arguments:
            n: Number of rows.
            to: Names of the modalities; by default every one.
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
        """Writes `weights.safetensors` and `model.json` into an empty folder or over a model.

        Raises:
            ValueError: The folder holds something else, or a modality is not registered.
        """
        check_path("folder", folder)
        return checkpoint.write(folder, {"model.json": self.document, "weights.safetensors": self.state_dict()})

    def require_trainable(self, observed: Tensor) -> None:
        """Refuses rows `(N, M)` bool that the model cannot be trained on.

        Raises:
            ValueError: It needs complete rows, and one is not.
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
        """What each row sees, `(*, B, M)` bool: what is both given and observed.

        Raises:
            TypeError: `given` is a tensor of another type than bool, or a single name.
            ValueError: A row is left with nothing, or `given` has too few axes.
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
        """Refuses arguments of `translate` about posterior samples that do not fit the model or each other.

        Raises:
            ValueError: They do not.
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
        """What of a code `(*, code_dim)` a modality's decoder reads: all of it, unless a model says otherwise."""
        return z

    def _alike(self, networks: nn.ModuleList, names: Iterable[str]) -> list[list[str]]:
        """The names, those together whose networks are computed together."""
        groups: dict[Any, list[str]] = {}
        for name in names:
            column = self.schema.index(name)
            known = architecture(networks[column])
            groups.setdefault(name if known is None else (self._cores[column], known), []).append(name)
        return list(groups.values())

    def _encoded(self, encoders: nn.ModuleList, x: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Features `(B, F)` by name of prepared values `(B, *shape)` by name."""
        features: dict[str, Tensor] = {}
        for names in self._alike(encoders, x):
            networks = [encoders[self.schema.index(name)] for name in names]
            values = [x[name] for name in names]
            outputs = together(networks, torch.stack(values)) if len(names) > 1 else [chained(networks[0], values[0])]
            features |= zip(names, outputs, strict=True)
        return {name: features[name] for name in x}

    def _decoded(self, names: list[str], codes: Mapping[str, Tensor]) -> Tensor:
        """The parameters `(G, *, B, ...)` of alike decoders, of what each reads, `(*, B, D)` by name."""
        networks = [self.decoders[self.schema.index(name)] for name in names]
        flat = [codes[name].flatten(0, -2) for name in names]
        if len(names) == 1:
            outputs = chained(networks[0], flat[0])[None]
        else:
            one = all(codes[name] is codes[names[0]] for name in names)
            outputs = together(networks, flat[0].expand(len(names), -1, -1) if one else torch.stack(flat))
        return outputs.unflatten(1, codes[names[0]].shape[:-1])

    def _costs(self, x: Mapping[str, Tensor], codes: Mapping[str, Tensor], observed: Tensor) -> Tensor:
        """What reconstructing modalities costs from what their decoders read, `(*, B, D)` by name: `(M, *, B)`."""
        costs: dict[str, Tensor] = {}
        for names in self._alike(self.decoders, codes):
            rows = codes[names[0]].dim() - 2  # the axis of B without that of G
            parameters = self._decoded(names, codes).movedim(0, rows + 1).flatten(rows, rows + 1)  # (*, B G, ...)
            cost = self._cost(names, parameters, x).unflatten(-1, (len(observed), len(names)))  # (*, B, G)
            # One by one: a GPU would be waited for until it has a list of columns.
            has = torch.stack([observed[:, self.schema.index(name)] for name in names], dim=1)
            costs |= zip(names, (cost * has).unbind(-1), strict=True)
        return torch.stack([costs[name] for name in codes])

    def _cost(self, names: list[str], parameters: Tensor, x: Mapping[str, Tensor]) -> Tensor:
        """Of G alike modalities, `(*, B G)`, under parameters `(*, B G, ...)`. Mixed precision ends here."""
        modality = self.schema[names[0]]
        cost = modality.nll if self.likelihood else modality.cost
        values = x[names[0]] if len(names) == 1 else torch.stack([x[name] for name in names], dim=1).flatten(0, 1)
        return cost(parameters.to(self.weight.dtype), values)

    def _choice(self, x: Mapping[str, Tensor], b: Tensor) -> Tensor:
        """For each row one of the modalities that it is given, `(*, B)` int64: uniform over rows that differ.

        It is drawn from the row's own values, so that it does not depend on what stands beside it.

        Arguments:
            x: Prepared values, `(B, *shape)` by name.
            b: What a row is given, `(*, B, M)` bool, something in every row.
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
        """A row in place of none, which networks may not take, and what it is given."""
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
    """Evaluation mode without gradients; every part is then left as it was.

    Not inference mode, whose tensors could not be saved for a backward pass: people train probes on embeddings.
    """
    with evaluating(model), torch.no_grad():
        yield

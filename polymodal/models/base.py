"""The base class of all models, with encoding, decoding, translation, sampling and saving."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from torch import Tensor
from torch.distributions import Distribution

from polymodal.batch import Batch, Rows
from polymodal.io import checkpoint
from polymodal.models.conformal import write_calibration
from polymodal.models.execution import Networks, Weights
from polymodal.models.flow_codes import sample_codes, sample_rows
from polymodal.models.given import Given, combine_masks, make_blank_row
from polymodal.models.hub_sharing import HubSharing
from polymodal.models.untrained import tell_untrained, warn_of_untrained
from polymodal.networks import answering, evaluating
from polymodal.runtime.seeding import check_seed
from polymodal.runtime.validation import check_kind, check_path, check_whole

__all__ = ["Given", "Loss", "Model", "Plan", "Weights", "answering", "check_model", "evaluating", "tell_untrained"]

Plan = tuple[Tensor, ...]
"""A model's random choices for one training step, see `Model.plan`."""

FORMAT = 2
"""Format version of `model.json`. In format 1 the weight of a penalty is never relative."""


def check_model(model: object) -> None:
    """Checks that a value is a model.

    Raises:
        TypeError: The value is not a model. The message says what to pass.
    """
    check_kind("model", model, Model, "a model", "pass what polymodal.build or polymodal.load returns")


class Loss(NamedTuple):
    """The loss of one training step."""

    total: Tensor
    """The scalar to minimise."""
    terms: dict[str, Tensor]
    """Scalars for the history: the unweighted "cost/<modality>", "penalty/<name>", and for some models "codes/norm",
    the mean norm of the codes."""


class Model(Networks, HubSharing, ABC):
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

    deterministic = False
    """Whether the posterior is a single code per row."""
    rows: Literal["all", "complete"] | None = None
    """How to treat incomplete rows, for models that can be trained on complete rows only: "all" refuses them,
    "complete" leaves them out. None for models that can be trained on all rows."""
    seed = 0
    """Random seed of the initial weights."""
    untrained: tuple[str, ...] | None = None
    """Modalities that were missing in every row of every training run; None before the first run."""

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
            **({} if self.calibration is None else {"calibration": write_calibration(self.calibration)}),
        }

    def __repr__(self) -> str:
        arguments = "".join(f", {name}={value!r}" for name, value in self.arguments.items())
        return f"build({self.name!r}, {self.schema!r}, seed={self.seed}{arguments})"

    @property
    def constants(self) -> dict[str, float]:
        """Constants by name that every row of a training run's history records."""
        return {}

    def set_reference_cost(self, reference_cost: float) -> None:
        """Sets the weighted cost of the best constant prediction, per training row; most models ignore it."""

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
        for several processes. `observed` is the observed mask of the step's rows, `(B, M)` bool.
        """
        return ()

    def plan_members(self, observed: Tensor, members: int) -> Sequence[Plan]:
        """Makes the random choices of each member of an ensemble of n models, see `plan`."""
        return [self.plan(observed) for _ in range(members)]

    def part(self, plan: Plan, rows: slice) -> Plan:
        """Returns the part of a plan that concerns some of its rows, for a process that has only these rows."""
        return plan

    def forward(self, batch: Batch, progress: float | Tensor = 1.0, plan: Plan = ()) -> Loss:
        """Calls `loss`. Wrappers for several devices, such as DistributedDataParallel, call `forward`."""
        return self.loss(batch, progress=progress, **({"plan": plan} if plan else {}))

    def predict(self, batch: Rows, given: Given = None, to: list[str] | None = None) -> dict[str, Distribution]:
        """Returns the distributions p(x_m | z) by name, with z the posterior mean; batch shape `(*, B)`."""
        with answering(self):
            return self.decode(self.encode(self._check_rows(batch), given).mean, to)

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
        options: dict[str, Any] = {"seed": seed, "steps": steps, "guidance": guidance, "temperature": temperature}
        batch = self._check_rows(batch)
        if not len(batch):
            values = self.translate(*make_blank_row(self.schema, given), to, samples, combine=combine, **options)
            return {name: value.narrow(-1 - len(self.schema[name].shape), 0, 0) for name, value in values.items()}
        warn_of_untrained(self, batch, given, to)
        with answering(self):
            posterior = self.encode(batch, given)
            if samples is None:
                return self._predict_values(posterior.mean, to)
            sample = sample_codes if seed is None else sample_rows
            values = self._predict_values(sample(posterior, [samples], rows=rows, **options), to)
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

    def reconstruct(self, batch: Rows, to: list[str] | None = None) -> dict[str, Tensor]:
        """Predicts modalities from all observed modalities of each row, the predicted ones included.

        This is `translate(batch, None, to)`.
        """
        return self.translate(batch, None, to)

    def embed(self, batch: Rows, given: Given = None) -> Tensor:
        """Returns the posterior mean, `(*, B, code_dim)`."""
        batch = self._check_rows(batch)
        if not len(batch):
            return self.embed(*make_blank_row(self.schema, given)).narrow(-2, 0, 0)
        with answering(self):
            return self.encode(batch, given).mean

    def sample(
        self, n: int, to: list[str] | None = None, *, seed: int | None = None, steps: int | None = None
    ) -> dict[str, Tensor]:
        """Returns unconditional samples: rows decoded from codes sampled from the prior.

        Arguments:
            n: Number of rows.
            to: Names of the modalities; by default all.
            seed: Random seed; by default PyTorch's global random state is used.
            steps: Steps of the solver that samples by a flow; by default 25.

        Returns:
            `(n, *shape)` by name.
        """
        check_whole("n", n)
        with answering(self):
            return self._predict_values(sample_codes(self.prior, [n], seed=seed, steps=steps), to)

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
        missing = [name for name, has in zip(self.schema, observed[row].tolist(), strict=True) if not has]
        raise ValueError(
            f"{self.name} must be trained on complete rows, because its joint encoder reads all modalities; row {row} "
            f"has no {', '.join(missing)} ({int((~whole).sum())} such rows); build it with rows='complete', and fit "
            "leaves them out"
        )

    def condition(self, observed: Tensor, given: Given) -> Tensor:
        """Returns the conditioning mask b, `(*, B, M)` bool, see `polymodal.models.given.combine_masks`."""
        return combine_masks(self.schema, observed, given)

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
                "combine, seed, steps, guidance and temperature concern posterior samples, and samples is None; pass "
                "samples=10, or leave them out"
            )
        if samples is not None and self.deterministic:
            raise ValueError(
                "this model's encoder is deterministic, so it has one prediction per row; leave out samples, "
                "train a flow over its codes with fit(..., only='prior'), or build it with stochastic=True or members=4"
            )
        if combine not in (None, "mean"):
            raise ValueError(f"combine must be 'mean' or None; got {combine!r}")
        if seed is not None:
            check_seed(seed)

    def _predict_values(self, z: Tensor, to: list[str] | None) -> dict[str, Tensor]:
        return {name: self.schema[name].value(p) for name, p in self.decode(z, to).items()}

    def _check_rows(self, batch: Rows) -> Batch:
        if isinstance(batch, type) or not (hasattr(batch, "observed") and hasattr(batch, "values")):
            raise TypeError(f"rows must be a Batch or a Table; got {type(batch).__name__}; use schema.batch(values)")
        if (schema := getattr(batch, "schema", None)) is not None:
            self.schema.require(schema, "the table")
        return Batch(batch.values, batch.observed).to(self.weight.device)

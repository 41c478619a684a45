"""An ensemble of n models of the same kind as one model.

The members differ in their initial weights, and in the random numbers of their training. The loss is the mean of their
losses, and the prediction is the mixture of their predictions, see `polymodal.models.ensemble_codes`.

Every parameter holds those of all members, `(n, *)`, under the name that it has in a single model. If a model computes
members at once (`Networks.computes_members`), its own `loss`, `encode` and `emit` run on these parameters. The losses
of other models are computed at once by `torch.func.vmap`. If a member has convolutions, or operations that `vmap` does
not support, the losses are computed one after another.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from typing import Any, NamedTuple, NoReturn, cast

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from polymodal.batch import Batch, Rows
from polymodal.models.base import Given, Loss, Model, Plan
from polymodal.models.ensemble_codes import (
    EnsembleCodes,
    choose_members,
    find_present,
    mix_predictions,
    select_members,
)
from polymodal.models.member_tensors import differs_by_member, stack_tensors
from polymodal.networks.cpu import WeightStack
from polymodal.runtime import distributed
from polymodal.runtime.vectorizing import vectorizing

__all__ = ["Ensemble"]

MOST_AT_ONCE = 2**16
"""Most rows times modalities and conditionings that all members encode at once; of more, the memory would matter."""


class _Slot(NamedTuple):
    """A tensor of the ensemble, and where each member stores its own."""

    owner: dict[str, Tensor]
    key: str
    stacked: bool
    members: list[dict[str, Tensor]]


class _Views(NamedTuple):
    """The members as models, whose tensors are slices of those of the ensemble."""

    models: list[Model]
    slots: list[_Slot]
    modules: list[tuple[nn.Module, list[nn.Module]]]
    """Each module of the ensemble, with that of each member."""


class Ensemble(Model):
    """An ensemble of models as one model; `polymodal.build(..., members=n)` builds it.

    The code is the concatenation of the members' codes. `emit` returns the outputs of all members, on an axis after
    that of the rows. The gradient of the loss is that of the sum of the members' losses, so that each member is trained
    as it would be alone. (Only a maximum norm of the gradient, `clip` of `fit`, concerns all members together.)

    Arguments:
        members: At least two models that `build` returns for the same arguments and different seeds. The first one must
            not be used afterwards.

    Raises:
        ValueError: The members sample their codes by a flow.
    """

    _structure: Model
    """The first member, whose submodules and tensors are those of the ensemble."""
    _views: _Views | None

    def __init__(self, members: Sequence[Model]) -> None:
        nn.Module.__init__(self)
        first = members[0]
        if first.samples_by_flow:
            self.enable_flow()
        self.schema, self.latent_dim, self.weights = first.schema, first.latent_dim, first.weights
        self.name, self.seed, self.flow, self.member_count = first.name, first.seed, None, len(members)
        stack_tensors(members)
        # The ensemble has the submodules and tensors of its first member, so that all names are those of a model.
        shared = {name: vars(first)[name] for name in ("_parameters", "_buffers", "_modules")}
        shared |= {"_non_persistent_buffers_set": first._non_persistent_buffers_set, "_structure": first}
        cast("dict[str, Any]", vars(self)).update(shared)
        self._views = None
        self._is_batched: bool | None = None
        """Whether the losses are computed at once; None before the first loss."""

    def __getstate__(self) -> dict[str, Any]:
        """Returns the attributes to copy or pickle; the members' slices are made again when they are needed."""
        return {**vars(self), "_views": None}

    @property
    def arguments(self) -> dict[str, Any]:
        """Constructor arguments of each member, except for the schema."""
        return self._structure.arguments

    @property
    def document(self) -> dict[str, Any]:
        """See `Model.document`."""
        return {**self._structure.document, **super().document, "members": self.member_count}

    def __repr__(self) -> str:
        arguments = {"seed": self.seed, "members": self.member_count, **self.arguments}
        listed = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
        return f"build({self.name!r}, {self.schema!r}, {listed})"

    @property
    def likelihood(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """See `Networks.likelihood`."""
        return self._structure.likelihood

    @property
    def rows(self) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
        """See `Model.rows`."""
        return self._structure.rows

    @property
    def has_deterministic_members(self) -> bool:
        """Whether the posterior of each member is a single code per row."""
        return self._structure.deterministic

    @property
    def code_dim(self) -> int:
        """Total size of the members' codes."""
        return self.member_count * self._structure.code_dim

    @property
    def prior(self) -> Distribution:
        """Mixture of the members' priors."""
        return EnsembleCodes([member.prior for member in self.open_members()])

    @property
    def normal_prior(self) -> Distribution:
        """Mixture of the members' standard normal distributions."""
        return EnsembleCodes([member.normal_prior for member in self.open_members()])

    @property
    def constants(self) -> dict[str, float]:
        """Constants of each member, see `Model.constants`."""
        return self._structure.constants

    @property
    def structure(self) -> Model:
        """The first member. Its parameters are those of all members, so only methods that read none are valid."""
        return self._structure

    def set_reference_cost(self, reference_cost: float) -> None:
        """See `Model.set_reference_cost`."""
        self._structure.set_reference_cost(reference_cost)
        self._views = None

    def enable_flow(self) -> NoReturn:
        """Raises an error, because an ensemble has no flow.

        Raises:
            ValueError: Always.
        """
        raise ValueError(
            "a model with members cannot sample its codes by a flow: its samples come from its members; build it with "
            "prior='normal', or without members"
        )

    def encode(self, batch: Rows, given: Given = None) -> Distribution:
        """Returns the mixture of the members' posteriors, see `Model.encode`. Its mean has the codes of all members."""
        conditionings = given.shape[:-2].numel() if isinstance(given, Tensor) else 1
        few = len(batch.observed) * (len(self.schema) + conditionings) <= MOST_AT_ONCE
        if few and self._structure.computes_members:
            return EnsembleCodes(cast("Any", self._structure).encode_members(batch, given))
        return EnsembleCodes([member.encode(batch, given) for member in self.open_members()])

    def log_ratio(self, z: Tensor, posterior: Distribution) -> Tensor:
        """Computes log p(z) - log q(z | x_V) of the member that sampled a code, see `Model.log_ratio`."""
        assert isinstance(posterior, EnsembleCodes)
        triples = zip(self.open_members(), self._split(z), posterior.parts, strict=True)
        ratios = torch.stack([member.log_ratio(own, part) for member, own, part in triples])
        return torch.where(find_present(z, self.member_count), ratios, 0.0).sum(0)

    @property
    def decodes_together(self) -> bool:
        """See `Networks.decodes_together`."""
        return self._structure.decodes_together

    def emit_each(self, z: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Returns the outputs of the decoders of the n members, `(*, B, n, ...)` by name, see `Networks.emit_each`.

        If a code is that of a single member, all n outputs are those of this member.
        """
        parts = {id(own): own.unflatten(-1, (self.member_count, -1)).movedim(-2, 0) for own in z.values()}
        if self._structure.computes_members:
            outputs = self._structure.emit_each({name: parts[id(own)] for name, own in z.items()})
        else:
            codes = {key: part.unbind() for key, part in parts.items()}
            members = enumerate(self.open_members())
            each = [member.emit_each({name: codes[id(own)][i] for name, own in z.items()}) for i, member in members]
            outputs = {name: torch.stack([one[name] for one in each]) for name in z}
        chosen = {key: choose_members(part) for key, part in parts.items()}
        return {name: select_members(outputs[name], z[name].dim() - 1, chosen[id(z[name])]) for name in z}

    def make_distribution(self, name: str, output: Tensor) -> Distribution:
        """Returns the mixture of the members' predictions for an output of `emit`."""
        return mix_predictions(self.schema[name].distribution(output))

    def costs(self, x: Any, z: Tensor, observed: Tensor) -> Tensor:
        """Computes the mean reconstruction cost over the members whose codes are known, see `Networks.costs`."""
        pairs = zip(self.open_members(), self._split(z), strict=True)
        costs = torch.stack([member.costs(x, own, observed) for member, own in pairs])  # (n, M, *, B)
        present = find_present(z, self.member_count)[:, None]
        return torch.where(present, costs, 0.0).sum(0) / present.sum(0)

    def stack_weights(self, axis: int = 0) -> list[WeightStack]:
        """See `Networks.stack_weights`; returns no stacks if `torch.func.vmap` computes the losses."""
        return self._structure.stack_weights(axis + 1) if self._structure.computes_members else []

    def plan(self, observed: Tensor) -> Plan:
        """Makes the random choices of each member, one after another in the result, see `Model.plan`."""
        self._structure.training = self.training  # some models choose sets of modalities in training only
        plans = self._structure.plan_members(observed, self.member_count)
        return tuple(tensor for plan in plans for tensor in plan)

    def part(self, plan: Plan, rows: slice) -> Plan:
        """See `Model.part`."""
        parts = (self._structure.part(one, rows) for one in self._split_plan(plan))
        return tuple(tensor for part in parts for tensor in part)

    def loss(self, batch: Batch, *, progress: float | Tensor = 1.0, plan: Plan = ()) -> Loss:
        """Computes the mean of the members' losses for a batch, see `Model.loss`.

        Arguments:
            batch: B rows.
            progress: Progress of the penalty's warm-up, in [0, 1].
            plan: Result of `plan`; by default the random choices are made here.
        """
        plans = self._split_plan(plan or self.plan(batch.observed))
        if self._is_batched is None:
            self._is_batched = self._can_batch(batch, progress, plans)
        alike = all([tensor.shape for tensor in one] == [tensor.shape for tensor in plans[0]] for one in plans)
        if self._is_batched and alike and distributed.world_size() == 1:
            totals, terms = self._compute_batched(batch, progress, plans)
        else:
            pairs = zip(self.open_members(), plans, strict=True)
            losses = [member(batch, progress, one) for member, one in pairs]
            totals = torch.stack([loss.total for loss in losses])
            terms = {name: torch.stack([loss.terms[name] for loss in losses]) for name in losses[0].terms}
        total = totals.sum() - (totals.sum() - totals.mean()).detach()  # the mean, with the gradient of the sum
        return Loss(total, {name: term.mean(0) for name, term in terms.items()})

    def open_members(self) -> list[Model]:
        """Returns the members as models whose tensors are slices of those of the ensemble, with their gradients.

        They are valid until the weights of the ensemble are replaced, or this method is called again.
        """
        views = self._make_views()
        for slot in views.slots:
            tensor = slot.owner[slot.key]
            parts = tensor.unbind() if slot.stacked else [tensor] * self.member_count
            for member, part in zip(slot.members, parts, strict=True):
                member[slot.key] = part
        _copy_modes(views.modules)
        return views.models

    def _can_batch(self, batch: Batch, progress: float | Tensor, plans: list[Plan]) -> bool:
        """Returns whether `torch.func.vmap` can compute the losses; PyTorch's random state is left unchanged."""
        if self._structure.computes_members:
            return True
        if any(isinstance(module, nn.modules.conv._ConvNd) for module in self.modules()):
            return False  # a batch of convolutions is not faster, and needs the memory of all members at once
        device = self.weight.device
        with torch.random.fork_rng([device] if device.type == "cuda" else []), warnings.catch_warnings(action="ignore"):
            try:
                self._compute_batched(batch, progress, plans)
            except Exception:  # what is wrong with the batch itself is raised by the loss of a single member
                return False
        return True

    def _compute_batched(
        self, batch: Batch, progress: float | Tensor, plans: list[Plan]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Computes the losses of all members at once: the totals `(n,)`, and the terms `(n,)` by name."""
        plan = tuple(torch.stack(tensors) for tensors in zip(*plans, strict=True))
        if self._structure.computes_members:
            self._structure.training = self.training
            return self._structure.forward(batch, progress, plan)
        views = self._make_views()
        _copy_modes((module, copies[:1]) for module, copies in views.modules)
        member, slots = views.models[0], views.slots
        stacked = tuple(slot.owner[slot.key] for slot in slots if slot.stacked)

        def compute(tensors: tuple[Tensor, ...], plan: Plan) -> tuple[Tensor, dict[str, Tensor]]:
            own = iter(tensors)
            for slot in slots:
                slot.members[0][slot.key] = next(own) if slot.stacked else slot.owner[slot.key]
            loss = member(batch, progress, plan)
            return loss.total, loss.terms

        with vectorizing():
            return torch.func.vmap(compute, randomness="different")(stacked, plan)

    def _make_views(self) -> _Views:
        """Returns the members as models; their tensors are set by `open_members`."""
        if self._views is None:
            kept = {id(tensor): tensor for tensor in [*self.parameters(), *self.buffers()]}
            models = [deepcopy(self._structure, dict(kept)) for _ in range(self.member_count)]
            modules = [
                (one, [*copies]) for one, *copies in zip(self.modules(), *(m.modules() for m in models), strict=True)
            ]
            slots = []
            for module, copies in modules:
                for kind in ("_parameters", "_buffers"):
                    for key in (key for key, tensor in vars(module)[kind].items() if tensor is not None):
                        stacked = kind == "_parameters" or differs_by_member(module, key, top=module is self)
                        slots.append(_Slot(vars(module)[kind], key, stacked, [vars(copy)[kind] for copy in copies]))
            self._views = _Views(models, slots, modules)
        return self._views

    def _split(self, z: Tensor) -> tuple[Tensor, ...]:
        return z.chunk(self.member_count, dim=-1)

    def _split_plan(self, plan: Plan) -> list[Plan]:
        each = len(plan) // self.member_count
        return [plan[start * each : (start + 1) * each] for start in range(self.member_count)]


def _copy_modes(modules: Iterable[tuple[nn.Module, list[nn.Module]]]) -> None:
    """Copies the training mode of each module to its copies, without the checks of `nn.Module.__setattr__`."""
    for module, copies in modules:
        for copy in copies:
            vars(copy)["training"] = module.training

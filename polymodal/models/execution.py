"""The networks of a model: from values to features, from codes to outputs and reconstruction costs.

Networks of the same architecture are computed together, for example the decoders of forty labels.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import prod
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from polymodal.distributions import DiagNormal
from polymodal.modalities.elements import hide_elements
from polymodal.models.conformal import ConformalScores
from polymodal.models.network_groups import NetworkGroups
from polymodal.networks import CodeFlow
from polymodal.networks.cpu import (
    Capacity,
    Chunk,
    WeightStack,
    have_members,
    list_weights,
    run_networks,
    sum_chunks,
)
from polymodal.runtime.validation import check_names
from polymodal.runtime.vectorizing import is_exporting, is_vectorizing

if TYPE_CHECKING:
    from polymodal.schema import Schema

__all__ = ["Networks", "Weights"]

FEW = 2**16
"""Number of codes times modalities up to which the outputs of all decoders, if fully connected, fit in the cache."""
Weights = Literal["balanced", "sum"] | Mapping[str, float]
"""Loss weights of the modalities' reconstruction terms."""


class Networks(nn.Module):
    """The part of a model that runs its encoders and decoders.

    A subclass sets `decoders`, one network per modality in the order of the schema.

    Arguments:
        schema: The modalities.
        latent_dim: Size of the shared latent code.
        weights: Loss weights of the modalities, see `polymodal.models.base.Model`.

    Raises:
        ValueError: `latent_dim` is less than 1, or a loss weight is unknown, negative or not finite.
    """

    likelihood = False
    """Whether the reconstruction term is -log p(x | z) rather than the modalities' costs."""
    weight: Tensor
    """Loss weight of each modality, `(M,)`. Its device and dtype are those of the model."""
    weighed: Tensor
    """Whether the loss weights are final: `fit` measures balanced ones before its first step."""
    decoders: nn.ModuleList
    samples_by_flow = False
    """Whether `fit` trains a flow over the model's codes after training the model."""
    flow: CodeFlow | None
    """Flow over the codes that posterior and unconditional samples come from, or None."""
    calibration: Mapping[str, ConformalScores] | None = None
    """Errors on validation rows by column of numbers, for intervals; None before `fit` has ended."""
    name: str
    """Key of the model in the registry `MODELS`."""
    computes_members = False
    """Whether `loss` and `emit` also compute those of n members at once, and `encode_members` their codes. All
    parameters then begin with an axis of members, and so do the plan's tensors, the total of the loss and its terms."""
    member_count = 1
    """Number of members; more than 1 for an ensemble only."""

    def __init__(self, schema: Schema, latent_dim: int, weights: Weights) -> None:
        super().__init__()
        self.schema, self.latent_dim, self.weights = schema, latent_dim, weights
        if latent_dim < 1:
            raise ValueError(f"latent_dim must be at least 1; got {latent_dim}")
        if weights not in ("balanced", "sum") and not isinstance(weights, Mapping):
            raise ValueError(f"weights must be 'balanced', 'sum' or numbers by modality; got {weights!r}")
        self.flow = None
        self._capacity = Capacity()
        self._groups = NetworkGroups(schema)
        self.register_buffer("weight", torch.ones(len(schema)))
        self.register_buffer("weighed", torch.tensor(weights != "balanced"))
        for name, number in weights.items() if isinstance(weights, Mapping) else ():
            if not 0 <= number < float("inf"):
                raise ValueError(f"the loss weight of {name!r} must be finite and not negative; got {number}")
            self.weight[schema.index(name)] = number

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
        return self._make_standard(self.code_dim)

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
        """
        self.enable_flow()
        self.flow = CodeFlow(self.latent_dim, len(self.schema), **sizes).to(self.weight).requires_grad_(False)
        return self.flow

    def drop_flow(self) -> None:
        """Removes the flow, which fits only the codes that it was trained on."""
        self.flow = None

    def emit(self, z: Tensor, only: list[str] | None = None) -> dict[str, Tensor]:
        """Returns the parameters of p(x_m | z), which the decoders output, `(*, B, ...)` by name.

        Arguments:
            z: Codes, `(*, B, code_dim)`.
            only: Names of the modalities; by default all.
        """
        if only is not None:
            check_names("names", only)
        return self.emit_each(dict.fromkeys(self.schema if only is None else only, z))

    def emit_each(self, z: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Returns the outputs of decoders like `emit`, each from codes of its own.

        Arguments:
            z: Codes by name of the modality, `(*, B, code_dim)`, all of the same shape.
        """
        codes = {name: self._select_code(name, own) for name, own in z.items()}
        outputs: dict[str, Tensor] = {}
        for names in self._group_alike(self.decoders, codes, prod(next(iter(z.values())).shape[:-1]) if z else 0):
            outputs |= zip(names, self._run_decoders(names, codes), strict=True)
        return {name: self._drop_padding(name, outputs[name]) for name in codes}

    @property
    def decodes_together(self) -> bool:
        """Whether `emit_each` computes the outputs of all decoders in less time than one decoder after another."""
        return type(self).emit is Networks.emit and self._groups.are_fully_connected(self.decoders)

    def decode(self, z: Tensor, only: list[str] | None = None) -> dict[str, Distribution]:
        """Returns the distributions p(x_m | z) by name, batch shape `(*, B)`, for codes z `(*, B, code_dim)`."""
        return {name: self.make_distribution(name, output) for name, output in self.emit(z, only).items()}

    def make_distribution(self, name: str, output: Tensor) -> Distribution:
        """Returns the distribution p(x_m | z), batch shape `(*, B)`, for the output of `emit` for modality m."""
        return self.schema[name].distribution(output)

    def costs(self, x: Mapping[str, Tensor], z: Tensor, observed: Tensor) -> Tensor:
        """Computes the reconstruction cost of each modality, 0 where the modality is missing.

        Arguments:
            x: Prepared values, `(B, *shape)` by name.
            z: Codes, `(*, B, code_dim)`.
            observed: Observed mask, `(B, M)` bool.

        Returns:
            `(M, *, B)`.
        """
        return self._compute_costs(x, {name: self._select_code(name, z) for name in self.schema}, observed)

    def _compute_costs(self, x: Mapping[str, Tensor], codes: Mapping[str, Tensor], observed: Tensor) -> Tensor:
        """Computes reconstruction costs `(M, *, B)` from the decoders' inputs, `(*, B, D)` by name."""
        costs: dict[str, Tensor] = {}
        columns = dict(zip(self.schema, observed.unbind(1), strict=True))
        for names in self._group_alike(self.decoders, codes, next(iter(codes.values())).shape[:-1].numel()):
            outputs = self._run_decoders(names, codes)
            cost = self._compute_cost(names, outputs, x, codes[names[0]].shape[:-1])
            has = torch.stack([columns[name] for name in names])  # (G, B)
            costs |= zip(names, cost * has.view(len(names), *[1] * (cost.dim() - 2), -1), strict=True)
        return torch.stack([costs[name] for name in codes])

    def _compute_cost(self, names: list[str], outputs: Tensor, x: Mapping[str, Tensor], size: torch.Size) -> Tensor:
        """Computes the costs `(G, *, B)` of G modalities of one group from decoder outputs `(G, *, B, ...)`.

        The outputs of mixed precision are converted to the model's dtype here. `size` is `(*, B)`.
        """
        modality = self.schema[names[-1]]  # the one with most classes
        cost = modality.nll if self.likelihood else modality.compute_cost
        outputs = outputs.to(self.weight.dtype)
        if len(names) == 1:
            return cost(outputs[0], x[names[0]])[None]
        values = torch.stack([x[name] for name in names])  # (G, B, *shape)
        values = values.view(len(names), *[1] * (len(size) - 1), *values.shape[1:])
        values = values.expand(len(names), *size, *modality.shape)
        return cost(outputs.flatten(0, len(size)), values.flatten(0, len(size))).view(len(names), *size)

    def _sum_costs(
        self, x: Mapping[str, Tensor], z: Tensor, observed: Tensor, shares: Tensor, at_once: int | None
    ) -> tuple[Tensor, Tensor]:
        """Computes the weighted reconstruction term `sum_u s_u (1/B) sum_i sum_m w_m c_m(x_im, g_m(z_ui))`.

        On a CPU, except for few codes of small decoders, and if not all codes fit in memory, the gradients of each
        decoder, and of each chunk of codes, are computed before the next one runs.

        Arguments:
            x: Prepared values, `(B, *shape)` by name.
            z: Codes, `(U, B, code_dim)`, or `(n, U, B, code_dim)` of n members.
            observed: Observed mask, `(B, M)` bool.
            shares: Weight s_u of each pass, `(U,)` or `(n, U)`.
            at_once: Number of codes to decode at once; by default as many as fit in memory.

        Returns:
            The term, and the unweighted cost of each modality, `(M,)`; for n members `(n,)` and `(M, n)`.
        """
        if shares.dim() > 1:
            costs = (self.costs(x, z, observed).mean(-1) * shares).sum(-1)
            return self.weight @ costs, costs
        passes, rows, _ = z.shape
        batched = is_vectorizing()  # its tensors have no memory of their own, and no gradients to compute early
        most = passes * rows if batched else at_once or self._capacity.count_codes(z, self.decoders, self.emit)
        few = passes * rows * len(self.schema) <= FEW and self._groups.are_fully_connected(self.decoders)
        early = z.device.type == "cpu" and not few
        if most >= passes * rows and (batched or not early):
            costs = self.costs(x, z, observed).mean(-1) @ shares
            return self.weight @ costs, costs
        costs, total = torch.zeros_like(self.weight), self.weight.new_zeros(())
        for names in self._group_alike(self.decoders, self.schema, passes * rows):
            columns = [self.schema.index(name) for name in names]
            parameters = dict.fromkeys(list_weights([self.decoders[column] for column in columns]))

            def compute(z: Tensor, chunk: Chunk, names: list[str] = names, columns: list[int] = columns) -> Tensor:
                passes, rows = chunk
                values = {name: x[name][rows] for name in names}
                codes = {name: self._select_code(name, z) for name in names}
                some = self._compute_costs(values, codes, observed[rows]).sum(-1) @ shares[passes] / len(observed)
                costs[columns] += some.detach()
                return self.weight[columns] @ some

            total = total + sum_chunks(compute, z, parameters, most)
        return total, costs

    def stack_weights(self, axis: int = 0) -> list[WeightStack]:
        """Moves the weights of networks that are computed together to one tensor for each of their parameters.

        The parameters become views of it. A computation with all of a group's networks reads the tensor, and its
        gradient belongs to the tensor, until the stacks are released.

        Arguments:
            axis: 1 if parameters begin with an axis of members, otherwise 0.
        """
        stacks: list[WeightStack] = []
        lists = (getattr(self, name, None) for name in ("encoders", "joint_encoders", "decoders"))
        for networks in (one for one in lists if one is not None):
            for names in self._group_alike(networks, self.schema):
                alike = [[*networks[self.schema.index(name)].parameters()] for name in names]
                if len(names) > 1 and len({id(p) for own in alike for p in own}) == sum(map(len, alike)):
                    stacks += [WeightStack(parameters, axis) for parameters in zip(*alike, strict=True)]
        return stacks

    def _hide_elements(self, x: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Returns values for the encoders in a step of training or validation, `(B, *shape)` by name.

        Random elements of partly observed vectors are hidden, so that the model learns to predict missing elements from
        the observed ones.
        """
        return {name: hide_elements(value) if self.schema[name].partial else value for name, value in x.items()}

    def _encode_values(self, encoders: nn.ModuleList, x: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Encodes prepared values `(B, *shape)` by name to features `(B, F)` by name."""
        features: dict[str, Tensor] = {}
        for names in self._group_alike(encoders, x, next(iter(x.values())).shape[0]):
            networks = [encoders[self.schema.index(name)] for name in names]
            outputs = run_networks(networks, [x[name] for name in names])  # (G, B, F), or (n, G, B, F) for n members
            features |= zip(names, outputs.unbind(-3), strict=True)
        return {name: features[name] for name in x}

    def _run_decoders(self, names: list[str], codes: Mapping[str, Tensor]) -> Tensor:
        """Returns the outputs `(G, *, B, ...)` of G decoders of one group, for codes `(*, B, D)` by name."""
        networks = [self.decoders[self.schema.index(name)] for name in names]
        axis = int(have_members(networks[0]))  # codes of n members are (n, *, B, D)
        flat = {id(codes[name]): codes[name].flatten(axis, -2) for name in names}  # equal codes remain one object
        outputs = run_networks(networks, [flat[id(codes[name])] for name in names])
        outputs = outputs.movedim(axis, 0) if axis else outputs
        return outputs.unflatten(1 + axis, codes[names[0]].shape[axis:-1])

    def _group_alike(self, networks: nn.ModuleList, names: Iterable[str], rows: int = 1) -> list[list[str]]:
        """Groups the names of modalities whose networks can be computed together; see `NetworkGroups.find`."""
        rows = 1 if is_exporting() else rows
        return self._groups.find(networks, names, decode=networks is self.decoders, rows=rows)

    def _drop_padding(self, name: str, outputs: Tensor) -> Tensor:
        """Returns the scores of a label's own classes; other outputs are returned unchanged."""
        paddable = self._groups.is_paddable[self.schema.index(name)]
        return outputs[..., : self.schema[name].levels] if paddable else outputs

    def _select_code(self, name: str, z: Tensor) -> Tensor:
        """Returns the part of a code `(*, code_dim)` that a modality's decoder reads; by default the complete code."""
        return z

    def _make_standard(self, size: int) -> Distribution:
        zeros = self.weight.new_zeros(size)
        return DiagNormal(zeros, zeros + 1)

    def _check_choice(self, name: str, value: str, choices: list[str]) -> None:
        if value not in choices:
            raise ValueError(f"{name} must be one of {', '.join(choices)}; got {value!r}")

    def _check_factors(self, **factors: float) -> None:
        for name, factor in factors.items():
            if not 0 <= factor < float("inf"):
                raise ValueError(f"{name} must be finite and not negative; got {factor}")

    def _check_shares(self, **shares: float) -> None:
        for name, share in shares.items():
            if not 0 <= share <= 1:
                raise ValueError(f"{name} must be in [0, 1]; got {share}")

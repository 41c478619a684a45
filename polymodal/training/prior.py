"""Second phase of training: a flow over the latent codes of a trained autoencoder.

The features of each modality, and the codes w given all observed modalities, are computed once for all rows. Each step
then samples new conditioning masks b, computes the codes c given b from the features, and minimises the loss of
`polymodal.networks.flow.CodeFlow`. No modality's encoder and no decoder runs in a step. The time of a row is

    t = 1 / (1 + exp(-(n - a g))),    n ~ N(0, 1)

with a = `SHIFT`, and g = 1 for a row with a condition and g = 0 for a row without one. With probability
`UNCONDITIONAL` a row has no condition, which trains the unconditional distribution. An incomplete row has no condition
either if its mask observes all of its modalities, because its missing values are unknown.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from polymodal.io.checkpoint import check_tensors
from polymodal.models.base import answering
from polymodal.objectives import conditioning
from polymodal.runtime import distributed
from polymodal.runtime.formatting import brief
from polymodal.runtime.seeding import derive_seed, let_others_run, own_streams, seed_streams
from polymodal.training.prior_features import Features, compute_features, compute_moments
from polymodal.training.schedule import Schedule
from polymodal.training.state import copy_weights, restore_optimizer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from polymodal.models import MAC
    from polymodal.networks import CodeFlow
    from polymodal.table.table import Table
    from polymodal.training.display import TrainingProgress

__all__ = ["PriorTraining", "count_prior_epochs"]

BATCH = 512
"""Rows per step."""
ROUNDS = 20
"""Number of validation rounds, evenly spaced over the training."""
PATIENCE = 5
"""Number of consecutive rounds, each clearly worse than the best one, after which training stops."""
CLEARLY = 2.0
"""Number of standard errors by which the validation loss must be higher to be clearly worse."""
UPDATES = 4 / 3
"""Steps of the flow per update of the autoencoder."""
RATE, WARMUP, DECAY = 8e-3, 0.05, 0.999
"""Learning rate of AdamW, share of the steps over which it rises, and decay of the averaged weights."""
UNCONDITIONAL = 0.3
"""Probability that a row has no condition."""
SHIFT = 0.5
"""Shift of the times of rows with a condition, in log-odds, towards the start of the path, which determines the content
of a code, such as the digit."""
WEIGHTS, STEPS, VALIDATION = 1, 2, 3
"""Numbers that distinguish the seeds of initial weights, training steps and validation."""


def count_prior_epochs(rows: int, updates: int) -> int:
    """Returns the default number of epochs of the flow: four steps for every three updates of the autoencoder.

    Arguments:
        rows: Number of training rows.
        updates: Number of updates of the autoencoder.

    Example:
        >>> count_prior_epochs(16_000, 2_000), count_prior_epochs(100, 4)
        (87, 6)
    """
    return max(1, math.ceil(UPDATES * updates / _count_steps(rows)))


def _count_steps(rows: int) -> int:
    """Returns the steps per epoch; rows that do not fill a batch are left out, unless there is no full batch."""
    return max(1, rows // BATCH)


class PriorTraining:
    """The training of a flow over codes, and its state.

    Arguments:
        model: Trained model whose codes are used; only its flow is changed.
        train: Training rows.
        validation: Validation rows, which detect overfitting of the flow.
        epochs: Number of passes over the training rows.
        seed: Random seed for initial weights, masks and noise.
        device: Device of the model.
        precision: "bf16" runs the flow in bfloat16 autocast; other values use no autocast.

    Attributes:
        history: One row per round: `epoch`, `seconds`, `learning_rate`, `prior/train`, `prior/validation`.
    """

    def __init__(
        self,
        model: MAC,
        train: Table,
        validation: Table,
        *,
        epochs: int,
        seed: int,
        device: torch.device,
        precision: str | None = None,
    ) -> None:
        self.model, self.seed, self.device, self.precision = model, seed, device, precision
        with answering(model):
            with own_streams(derive_seed(seed, WEIGHTS)):
                flow = model.make_flow()
            self.blanks = model.encode_blanks()
            self.train, self.validation = (
                compute_features(model, self.blanks, table, device) for table in (train, validation)
            )
            flow.mean, flow.scale = (part.to(model.weight) for part in compute_moments(self.train.codes))
        self.average, self.flow = flow, deepcopy(flow).requires_grad_(True)
        self.parameters = [*self.flow.parameters()]
        self.adam = torch.optim.AdamW(self.parameters, lr=RATE, fused=device.type in ("cpu", "cuda"))
        self.per_epoch, self.epochs = _count_steps(len(self.train.known)), epochs
        self.total = epochs * self.per_epoch
        self.schedule = Schedule(self.adam, "cosine", int(WARMUP * self.total), self.total)
        self.step, self.seconds, self.sum = 0, 0.0, torch.zeros((), device=device)
        self.order: Tensor | None = None  # order of the rows in the current epoch
        self.kept, self.worse = copy_weights(self.average), 0
        self.lowest = torch.full((len(self.validation.known),), math.inf, dtype=torch.float64)
        self.history: list[dict[str, float]] = []

    @property
    def is_over(self) -> bool:
        """Whether all steps are done, or the validation loss was clearly higher in `PATIENCE` consecutive rounds."""
        return self.step >= self.total or self.worse >= PATIENCE

    def run(self, should_stop: Callable[[], bool], save: Callable[[], None], shown: TrainingProgress) -> None:
        """Trains the flow until it is done, or until asked to stop.

        Arguments:
            should_stop: Function that returns whether to stop.
            save: Function that writes the state.
            shown: Progress display.

        Raises:
            FloatingPointError: The loss became infinite or NaN.
        """
        shown.begin_prior(self.total, self.step)
        ends = {math.ceil(self.total * (i + 1) / ROUNDS) for i in range(ROUNDS)}
        while not self.is_over:
            began = time.perf_counter()
            self._take_step()
            due = self.step in ends
            losses = self._validate() if due else None
            self.seconds += time.perf_counter() - began
            shown.advance()
            if losses is not None:
                self._end_round(losses, self.step - max((end for end in ends if end < self.step), default=0))
                shown.show_prior_round(
                    self.step, *(self.history[-1][f"prior/{part}"] for part in ("train", "validation"))
                )
                save()
            if should_stop():
                return
            let_others_run(self.device)

    def finish(self) -> None:
        """Loads the averaged weights of the last round that was not clearly worse than the best into the model's flow.

        The last such round is used instead of the best one, because validation losses vary by chance from round to
        round, and later rounds have a lower learning rate.
        """
        self.average.load_state_dict(self.kept)
        self.average.requires_grad_(False)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Returns what is needed to resume, without the autoencoder: tensors by name, and a JSON document."""
        parts: dict[str, Mapping[str, Tensor]] = {
            "flow": self.flow.state_dict(),
            "average": self.average.state_dict(),
            "best": self.kept,
            "validation": {"lowest": self.lowest},
            "optimizer": {
                f"{i}/{name}": value
                for i, p in enumerate(self.parameters)
                for name, value in (self.adam.state[p] or _make_adam_state(p)).items()
            },
        }
        tensors = {f"prior/{part}/{name}": value for part, values in parts.items() for name, value in values.items()}
        document = {"step": self.step, "seconds": self.seconds, "sum": float(self.sum), "worse": self.worse}
        return tensors, document | {"history": self.history}

    def restore(self, path: Path, tensors: Mapping[str, Tensor], document: Mapping[str, Any]) -> None:
        """Restores a state.

        Raises:
            ValueError: The state does not belong to this training.
        """
        try:
            self._restore(path, tensors, document)
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            raise ValueError(
                f"the state in {path} must be that of this run, and is damaged or edited: {brief(error)}; "
                "resume from a copy of it, or train in another folder"
            ) from error

    def _restore(self, path: Path, tensors: Mapping[str, Tensor], document: Mapping[str, Any]) -> None:
        check_tensors(path, dict(tensors), self.state()[0])
        parts: dict[str, dict[str, Tensor]] = {"flow": {}, "average": {}, "best": {}, "validation": {}, "optimizer": {}}
        for key, value in tensors.items():
            _, part, name = key.split("/", 2)
            parts[part][name] = value
        step, worse, history = document["step"], document["worse"], document["history"]
        if type(worse) is not int or not 0 <= worse <= ROUNDS:
            raise ValueError(f"the number of worse rounds of the prior must be from 0 to {ROUNDS}; got {worse!r}")
        if type(step) is not int or not 0 <= step <= self.total:
            raise ValueError(f"the step of the prior must be from 0 to {self.total}; got {step!r}")
        if not isinstance(history, list):
            raise ValueError(f"the history of the prior must be a list; got {type(history).__name__}")
        self.flow.load_state_dict(parts["flow"])
        self.average.load_state_dict(parts["average"])
        self.kept = {name: value.to(self.device) for name, value in parts["best"].items()}
        restore_optimizer(self.adam, parts["optimizer"])
        self.order, self.lowest = None, parts["validation"]["lowest"].clone()
        self.step, self.worse, self.history, self.seconds = step, worse, history, float(document["seconds"])
        self.sum = torch.tensor(float(document["sum"]), device=self.device)

    def _take_step(self) -> None:
        """Takes one step: forward pass, backward pass, and update of the flow and of its averaged weights."""
        epoch, place = divmod(self.step, self.per_epoch)
        if self.order is None or place == 0:
            self.order = torch.randperm(len(self.train.known), generator=_generator(self.seed, STEPS, epoch))
        rows = self.order[place * BATCH : (place + 1) * BATCH]
        own = distributed.split_batch(len(rows), distributed.rank(), distributed.world_size())
        losses = self._losses(self.flow, self.train, rows, own, derive_seed(self.seed, STEPS, epoch, place))
        loss = losses.sum() / len(rows)
        self.schedule.set_rate(self.step)
        loss.backward()
        if len(losses) < len(rows):
            loss = _sum_over_processes(self.parameters, loss.detach())
        self.adam.step()
        self.adam.zero_grad()
        self.sum += loss.detach()
        self.step += 1
        # A lower decay in the first steps reduces the influence of the initial weights on the average.
        decay = min(DECAY, (1 + self.step) / (10 + self.step))
        get_ema_multi_avg_fn(decay)([*self.average.parameters()], [*self.parameters], None)

    def _losses(self, flow: CodeFlow, features: Features, rows: Tensor, own: slice, seed: int) -> Tensor:
        """Returns the losses of this process's rows among some rows; sampled values do not depend on which these are.

        Arguments:
            flow: Flow over codes.
            features: Features of all rows.
            rows: Numbers of the B rows of a batch.
            own: Part of the batch that this process has.
            seed: Random seed for masks, noise and times.
        """
        observed = features.observed[rows]
        with seed_streams(seed, torch.device("cpu")):
            b = conditioning.sample_rows(observed[None], self.model.p0)[0]
            unconditional = torch.rand(len(rows), 1) < UNCONDITIONAL
            n = torch.randn(len(rows), 1)
            size = self.model.latent_dim
            noise = torch.randn(len(rows), size)
            posterior_noise = torch.randn(len(rows), size) if self.model.stochastic else None
        unconditional |= ((b == observed) & ~observed.all(-1, keepdim=True)).all(-1, keepdim=True)
        t = (n - SHIFT * ~unconditional).sigmoid()  # more often in the middle of the path, which is hardest to learn
        known, codes = (part[rows[own].to(part.device)].to(self.device) for part in features[:2])
        dtype, masks = self.model.weight.dtype, b[own].to(self.device)
        with torch.no_grad():
            c, w = self.model.fuse(known, self.blanks, masks).mean, codes[:, 0]
            if posterior_noise is not None:  # the decoders were trained on posterior samples, not on posterior means
                w = w + codes[:, 1] * posterior_noise[own].to(w)
        given = masks & ~unconditional[own].to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            return flow.loss(w, c, given, noise[own].to(self.device, dtype), t[own].to(self.device, dtype))

    def _validate(self) -> Tensor:
        """Returns the loss of each validation row, `(N,)`, with the same masks, noise and times in every round."""
        made, rows = [], len(self.validation.known)
        with torch.no_grad():
            for start in range(0, rows, BATCH):
                some = torch.arange(start, min(start + BATCH, rows))
                every = slice(0, len(some))
                losses = self._losses(
                    self.average, self.validation, some, every, derive_seed(self.seed, VALIDATION, start)
                )
                made.append(losses.double().cpu())
        return torch.cat(made)

    def _end_round(self, losses: Tensor, taken: int) -> None:
        train, validation = float(self.sum) / taken, float(losses.mean())
        if not math.isfinite(train + validation):
            raise FloatingPointError(
                f"the loss of the prior must stay finite; after {self.step} steps it is {train} on the training rows "
                f"and {validation} on the validation rows; check the model's codes (`model.embed`)"
            )
        if _is_clearly_higher(losses, self.lowest):
            self.worse += 1
        else:
            self.worse, self.kept = 0, copy_weights(self.average)
        if validation < float(self.lowest.mean()):
            self.lowest = losses
        self.sum.zero_()
        self.history.append(
            {
                "epoch": self.step / self.per_epoch,
                "seconds": self.seconds,
                "learning_rate": self.adam.param_groups[0]["lr"],
                "prior/train": train,
                "prior/validation": validation,
            }
        )


def _is_clearly_higher(losses: Tensor, than: Tensor) -> bool:
    """Returns whether losses `(N,)` exceed earlier losses of the same rows by more than `CLEARLY` standard errors."""
    difference = losses - than
    if len(difference) < 2:  # a standard error needs two rows
        return False
    return bool(difference.mean() > CLEARLY * difference.std() / math.sqrt(len(difference)))


def _generator(*parts: int) -> torch.Generator:
    return torch.Generator().manual_seed(derive_seed(*parts))


def _sum_over_processes(parameters: list[nn.Parameter], loss: Tensor) -> Tensor:
    """Sums the gradients and the losses of a batch over all processes; returns the summed loss."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([*(gradient.flatten() for gradient in gradients), loss[None].to(gradients[0])])
    dist.all_reduce(flat)
    for gradient, summed in zip(gradients, flat[:-1].split([gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(summed.view_as(gradient))
    return flat[-1].to(loss)


def _make_adam_state(p: Tensor) -> dict[str, Tensor]:
    """Returns AdamW's state of a parameter before the first step."""
    return {"step": torch.zeros(()), "exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.zeros_like(p)}

"""The tensors that an optimiser updates: parameters of a model, or tensors that hold parameters of several networks."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from polymodal.networks.cpu import WeightStack
from polymodal.training.state import restore_optimizer

__all__ = ["OptimizedWeights"]


class OptimizedWeights:
    """The parameters of a model, some of which are held in stacks.

    The state of an optimiser is written and read by the parameters' numbers in the model, whether they are stacked or
    not.

    Arguments:
        model: The model.
        stacks: Stacks of some of its parameters.

    Attributes:
        parameters: All parameters of the model.
    """

    def __init__(self, model: nn.Module, stacks: list[WeightStack]) -> None:
        self.parameters, self.stacks = [*model.parameters()], stacks

    @property
    def tensors(self) -> list[nn.Parameter]:
        """The tensors to optimise: those of the stacks, and all other parameters."""
        held = {id(p) for stack in self.stacks for p in stack.parameters}
        return [stack.tensor for stack in self.stacks] + [p for p in self.parameters if id(p) not in held]

    def collect_gradients(self) -> None:
        """Moves gradients of stacked parameters to the tensors of their stacks."""
        for stack in self.stacks:
            stack.collect_gradients()

    def read_state(self, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
        """Returns the state of an optimiser by parameter number and name, such as "0/exp_avg"."""
        states: dict[Tensor, dict[str, Tensor]] = {p: {**optimizer.state.get(p, {})} for p in self.parameters}
        for stack in self.stacks:
            for name, value in optimizer.state.get(stack.tensor, {}).items():
                parts = stack.split(value) if value.dim() else [value] * len(stack.parameters)
                for p, part in zip(stack.parameters, parts, strict=True):
                    states[p][name] = part
        return {f"{i}/{name}": value for i, p in enumerate(self.parameters) for name, value in states[p].items()}

    def restore_state(self, optimizer: torch.optim.Optimizer, values: Mapping[str, Tensor]) -> None:
        """Restores the state of an optimiser from the result of `read_state`.

        Parameters that have taken different numbers of steps do not stay in one stack.
        """
        optimizer.param_groups[0]["params"] = self.parameters
        optimizer.state.clear()
        restore_optimizer(optimizer, values)
        for stack in [*self.stacks]:
            states = [optimizer.state.get(p, {}) for p in stack.parameters]
            if len({float(state.get("step", 0)) for state in states}) > 1:
                stack.release()
                self.stacks.remove(stack)
                continue
            for p in stack.parameters:
                optimizer.state.pop(p, None)
            if states[0]:
                optimizer.state[stack.tensor] = {
                    name: stack.join([state[name] for state in states]) if value.dim() else value
                    for name, value in states[0].items()
                }
        optimizer.param_groups[0]["params"] = self.tensors

    def release(self) -> None:
        """Gives each stacked parameter memory of its own again."""
        while self.stacks:
            self.stacks.pop().release()

"""What makes networks fast on a CPU, with the results of the plain computation.

Models use three functions: `architecture` says which networks can be computed together, `run_networks` computes them,
and `sum_chunks` computes a sum over many codes without the memory for all of them. `WeightStack` holds the weights of
networks that are computed together in one tensor.
"""

from polymodal.networks.cpu.chunked import Capacity, Chunk, sum_chunks
from polymodal.networks.cpu.stacked import (
    architecture,
    count_classes,
    have_members,
    list_weights,
    run_networks,
    run_stacked,
)
from polymodal.networks.cpu.weight_stacks import WeightStack, stack_weights

__all__ = [
    "Capacity",
    "Chunk",
    "WeightStack",
    "architecture",
    "count_classes",
    "have_members",
    "list_weights",
    "run_networks",
    "run_stacked",
    "stack_weights",
    "sum_chunks",
]

"""What makes networks fast on a CPU, with the results of the plain computation.

Models use three functions: `architecture` says which networks can be computed together, `run_networks` computes them,
and `sum_chunks` computes a sum over many codes without the memory for all of them.
"""

from polymodal.networks.cpu.chunked import Capacity, Chunk, sum_chunks
from polymodal.networks.cpu.stacked import architecture, run_networks

__all__ = ["Capacity", "Chunk", "architecture", "run_networks", "sum_chunks"]

"""What the columns of a data frame are taken for, and why."""

from polymodal.proposals.frame import propose
from polymodal.proposals.proposal import Proposal, told

__all__ = ["Proposal", "propose", "told"]

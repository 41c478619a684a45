"""What the columns of a data frame are taken for, and why."""

from polymodal.tabular.proposal import Proposal, told
from polymodal.tabular.propose import propose

__all__ = ["Proposal", "propose", "told"]

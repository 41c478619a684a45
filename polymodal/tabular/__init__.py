"""Inference of the types of the columns of a data frame, and imputation of missing cells."""

from polymodal.tabular.proposal import Proposal, format_proposals
from polymodal.tabular.propose import propose

__all__ = ["Proposal", "format_proposals", "propose"]

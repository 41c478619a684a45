"""How good a model's answers are."""

from polymodal.evaluation.classes import classed
from polymodal.evaluation.codes import code_map
from polymodal.evaluation.frechet import frechet_distance
from polymodal.evaluation.inception import inception
from polymodal.evaluation.learning import train_verifiers
from polymodal.evaluation.metrics import COMPANIONS, METRICS, Metric
from polymodal.evaluation.tasks import FURTHER, LEARNED, TASKS, check_tasks, evaluate
from polymodal.evaluation.verifier import Verifiers

__all__ = [
    "COMPANIONS",
    "FURTHER",
    "LEARNED",
    "METRICS",
    "TASKS",
    "Metric",
    "Verifiers",
    "check_tasks",
    "classed",
    "code_map",
    "evaluate",
    "frechet_distance",
    "inception",
    "train_verifiers",
]

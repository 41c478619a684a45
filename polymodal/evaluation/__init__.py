"""How good a model's answers are."""

from polymodal.evaluation.metrics import COMPANIONS, METRICS, Metric
from polymodal.evaluation.tasks import TASKS, evaluate

__all__ = ["COMPANIONS", "METRICS", "TASKS", "Metric", "evaluate"]

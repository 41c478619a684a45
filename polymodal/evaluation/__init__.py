"""Evaluation of models: metrics, tasks, coherence, posterior samples, likelihood and codes.

The main function is `evaluate`.
"""

from polymodal.evaluation.codes import code_map
from polymodal.evaluation.coherence.classifier import Classifiers
from polymodal.evaluation.coherence.classifier_training import train_classifiers
from polymodal.evaluation.coherence.labels import list_label_modalities
from polymodal.evaluation.column_baselines import BASELINES, add_baselines
from polymodal.evaluation.evaluate import FURTHER, LEARNED, TASKS, check_tasks, evaluate
from polymodal.evaluation.frechet import frechet_distance
from polymodal.evaluation.inception_features import load_inception
from polymodal.evaluation.metrics import COMPANIONS, METRICS, Metric, RowMetric

__all__ = [
    "BASELINES",
    "COMPANIONS",
    "FURTHER",
    "LEARNED",
    "METRICS",
    "TASKS",
    "Classifiers",
    "Metric",
    "RowMetric",
    "add_baselines",
    "check_tasks",
    "code_map",
    "evaluate",
    "frechet_distance",
    "list_label_modalities",
    "load_inception",
    "train_classifiers",
]

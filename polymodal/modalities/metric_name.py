"""The argument `metric` of a modality, whose default is an attribute or a property of the modality's class."""

from __future__ import annotations

from typing import Any

__all__ = ["choose_metric", "restore_default"]


class MetricName(property):
    """The property `metric` of a class, which returns the metric that an instance was given, or the class's default."""

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is not None and (given := vars(instance).get("metric")) is not None:
            return given
        return super().__get__(instance, owner)

    def __set__(self, instance: Any, value: str | None) -> None:
        vars(instance)["metric"] = value


def choose_metric(cls: type) -> None:
    """Makes the metric of a new class of modalities an argument, whose default is the class's own `metric`.

    A class that has a field of its own with this name is left as it is.
    """
    own = getattr(cls, "metric", None)
    if isinstance(own, MetricName) or "metric" in vars(cls).get("__annotations__", {}):
        return
    default = own.fget if isinstance(own, property) else (lambda self: own or suitable_metric(self))
    cls.metric = MetricName(default, doc=own.__doc__ if isinstance(own, property) else None)  # pyright: ignore[reportAttributeAccessIssue]


def suitable_metric(modality: Any) -> str:
    """Returns the metric of a class that defines none: the accuracy of classes, the squared error of numbers."""
    return "rmse" if modality.levels is None else "acc"


def restore_default(modality: Any) -> None:
    """Forgets a metric that was given and equals the default, so that files leave it out.

    Raises:
        TypeError: The metric is not a text.
    """
    if not isinstance(descriptor := getattr(type(modality), "metric", None), MetricName):
        return
    given = vars(modality).get("metric")
    if not isinstance(given, str | None):
        raise TypeError(f"metric must be a name in polymodal.METRICS, such as 'rmse'; got {given!r}")
    if given is not None and descriptor.fget is not None and given == descriptor.fget(modality):
        vars(modality)["metric"] = None

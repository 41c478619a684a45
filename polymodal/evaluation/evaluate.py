"""Evaluation of a model: the three tasks of the MAC-WAE paper and further tasks.

The prediction of modality m given a set V of modalities is the value of p(x_m | z) at the posterior mean z of
q(z | x_V). The three tasks are, with M the set of all modalities,

- reconstruction: V = M,
- many-to-one: V = M without m,
- one-to-one: V = {e}, for each modality e other than m.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from polymodal.evaluation.coherence import unconditional
from polymodal.evaluation.coherence.classifier import Classifiers
from polymodal.evaluation.coherence.classifier_training import train_classifiers
from polymodal.evaluation.coherence.labels import Classes, find_label, get_classes, list_label_modalities
from polymodal.evaluation.frame import line, make_score_frame
from polymodal.evaluation.frechet import Features
from polymodal.evaluation.likelihood import estimate_log_likelihood, has_density
from polymodal.evaluation.metrics import choose_metrics
from polymodal.evaluation.probe import score_linear_probe
from polymodal.evaluation.queries import build_targets, collect_scores, plan_predictions, score_batch
from polymodal.evaluation.sampling import score_samples
from polymodal.models.base import Model, answering, check_model
from polymodal.runtime import distributed
from polymodal.runtime.progress import show_progress
from polymodal.runtime.registry import unknown
from polymodal.runtime.validation import check_kind, check_names, check_whole
from polymodal.table.table import Table, steps

if TYPE_CHECKING:
    import pandas as pd
    from torch.distributions import Distribution

__all__ = ["FURTHER", "LEARNED", "TASKS", "check_tasks", "evaluate"]

TASKS = ("reconstruction", "many-to-one", "one-to-one")
FURTHER = ("translation", "coherence", "sampling", "generation", "likelihood", "probe")
"""Tasks other than the paper's three."""
CLASSIFIED = ("coherence", "generation")
"""Tasks that use classifiers of the modalities."""
LEARNED = (*CLASSIFIED, "probe")
"""Tasks that train classifiers on training rows."""


def evaluate(
    model: Model,
    table: Table,
    *,
    tasks: Iterable[str] = TASKS,
    metrics: Mapping[str, str | Iterable[str]] | None = None,
    train: Table | None = None,
    classifiers: Classifiers | None = None,
    label: str | None = None,
    features: Features | None = None,
    batch_size: int = 256,
    progress: bool = False,
    seed: int = 0,
) -> pd.DataFrame:
    """Scores a model's predictions on each task.

    The paper's tasks, in `TASKS`:

    - reconstruction: predicts each modality given all modalities.
    - many-to-one: predicts each modality given all others.
    - one-to-one: predicts each modality given one other, with one score per given modality.

    Rows without the target or without any given modality are left out. Each modality is encoded once per row for all
    tasks, and equal inputs are decoded once. Decoding runs in chunks of bounded size.

    Further tasks, in `FURTHER`:

    - translation: predicts each modality given "1 other", "2 others", .... The score is the mean over all subsets of
      that size, or over 10 random ones.
    - coherence: the percentage of these predictions that are of the row's class. A classifier per modality, trained on
      true values, predicts the class; its own accuracy is "verifier-acc", given "the truth". Given "nothing", the score
      is the percentage of unconditional samples whose modalities are all of the same class. The task "calibration" has
      the total variation "tv" between the class frequencies of the predictions and of the true values, because
      coherence is also high if all samples are alike. For a model that samples with a flow, the same scores are
      reported given "nothing, normal prior", with codes from the standard normal distribution.
    - sampling: the quality of posterior samples, if the model has any: agreement of the modalities of a sample, energy
      score, coverage and diversity; see `polymodal.evaluation.sampling`. Scores of classes need rows with classes, and
      `train` or `classifiers`.
    - generation: the Fréchet distance between the classifiers' features of true values and of unconditional samples,
      as many as there are rows, up to 50,000. With `features`, "fid" is the Fréchet distance of these features. The
      samples are given "nothing" or "nothing, normal prior", as above.
    - likelihood: an importance-sampled bound "bound" on log p(x) of all observed modalities, in nats. Models without a
      density have no such score.
    - probe: the accuracy of a linear classifier of the codes, given all modalities except the label, and given one.

    With several processes, call this function in each. They share the batches, and each returns the scores of all rows.
    Posterior and unconditional samples, the bound and the probe are computed completely by each process.

    Arguments:
        model: Model to score.
        table: Rows to score the model on.
        tasks: Names of tasks in TASKS and FURTHER.
        metrics: Names of metrics in METRICS, by name of the modality that they score, such as {"m0": ["ssim", "rmse"]};
            for any other modality, its `metric` and that metric's companions.
        train: Training rows for coherence, generation, probe and the classes of sampling.
        classifiers: Classifiers for coherence, generation and sampling, see `train_classifiers`; by default they are
            trained on `train`.
        label: Name of the modality with the class of each row; by default that of `classifiers`, else the first label
            modality, else `Table.labels`.
        features: Function from images `(N, 3, H, W)` in [0, 1] to features `(N, F)`.
        batch_size: Number of rows per pass.
        progress: Whether to report progress, with a bar on a terminal and with lines elsewhere.
        seed: Random seed for the choice of subsets, for sampling and for training.

    Returns:
        Data frame with one row per score: `task`, `modality`, `given` ("all", "others", the name of a modality,
        "2 others", "nothing", "nothing, normal prior" or "the truth"), `metric`, `better` ("higher" or "lower"),
        `value`, `rows` (the number of rows scored) and `note`. The modalities of a group count as one modality with the
        group's name; its value is the mean of their scores, and `rows` their maximum.

    Raises:
        ValueError: A task is unknown or needs an argument that is not passed, a metric is unknown or not for its
            modality, the only task is likelihood and the model has no density, the only task is sampling and the model
            is deterministic, or the table has other modalities than the model.

    Example:
        >>> from polymodal.datasets import load
        >>> from polymodal.models import build
        >>> data = load("polydigits", rows=100, held_out_rows=50)
        >>> model = build("mac-wae", data.schema, latent_dim=8)
        >>> scores = evaluate(model, data.test)
        >>> scores.groupby("task", sort=False).size().to_dict()
        {'reconstruction': 11, 'many-to-one': 11, 'one-to-one': 55}
        >>> further = evaluate(model, data.test, tasks=["translation", "probe"], train=data.train)
        >>> further[further["modality"] == "label"]["given"].tolist()
        ['1 other', '2 others', '3 others', '4 others', '5 others', 'others', '1 other']

    Source: MAC-WAE, section "Experimental Design"; coherence with classifiers as in Shi et al. (2019).
    """
    tasks = check_tasks(tasks)
    check_model(model)
    check_kind("the table", table, Table, "a Table", "make one by polymodal.Table.from_frame(frame, model.schema)")
    check_whole("batch_size", batch_size)
    model.schema.require(table.schema, "the table")
    chosen = choose_metrics(model.schema, metrics)
    _check(model, tasks, train, classifiers)
    shows = progress and distributed.rank() == 0
    classes = None
    samples = "sampling" in tasks and not model.deterministic
    needs_classifiers = bool({*tasks} & {*CLASSIFIED}) or (
        samples and _has_classes(table) and not (train is classifiers is None)
    )
    if needs_classifiers or "probe" in tasks:
        classes = get_classes(table, find_label(table, label or (classifiers and classifiers.label)))
    if classes is not None and needs_classifiers:
        classifiers = _prepare_classifiers(model, train, classifiers, classes, seed, progress=shows)
        classes = classes._replace(number=max(classes.number, classifiers.classes))
    lines = _score_predictions(model, table, tasks, chosen, classes, classifiers, batch_size, seed, progress=shows)
    if samples:
        lines += score_samples(model, table, classifiers if needs_classifiers else None, classes, seed=seed)
    if classes is not None and classifiers is not None and {*tasks} & {*CLASSIFIED}:
        features = features if "generation" in tasks else None
        true = unconditional.measure_true_values(table, classifiers, features, batch_size)
        lines += unconditional.score_classifiers(true, table, classes) if "coherence" in tasks else []
        for given, prior in _priors(model).items():
            made = unconditional.measure_prior_samples(
                model, prior, classifiers, features, len(table), batch_size, seed
            )
            lines += unconditional.score_coherence(made, given, classes) if "coherence" in tasks else []
            lines += unconditional.score_distances(true, made, given) if "generation" in tasks else []
    if "likelihood" in tasks and has_density(model):
        value, rows = estimate_log_likelihood(model, table, batch_size=batch_size, seed=seed)
        lines.append(line("likelihood", "all", "all", "bound", "higher", value, rows))
    if "probe" in tasks and classes is not None and train is not None:
        lines += score_linear_probe(model, train, table, get_classes(train, classes.label), classes, batch_size, seed)
    return make_score_frame(lines, model.schema)


def check_tasks(tasks: Iterable[str]) -> list[str]:
    """Checks that all tasks are known, and returns them as a list.

    Raises:
        ValueError: A task is unknown.

    Example:
        >>> check_tasks("probe")
        ['probe']
    """
    tasks = [tasks] if isinstance(tasks, str) else tasks
    check_names("tasks", tasks, "['reconstruction']")
    tasks = list(tasks)
    for task in tasks:
        if task not in TASKS + FURTHER:
            raise unknown(task, TASKS + FURTHER, "task")
    return tasks


def _priors(model: Model) -> dict[str, Distribution]:
    """Returns the priors of unconditional samples, by the name in the column `given`."""
    by_flow = {} if model.flow is None else {"nothing, normal prior": model.normal_prior}
    return {"nothing": model.prior, **by_flow}


def _has_classes(table: Table) -> bool:
    return bool(list_label_modalities(table.schema)) or table.labels is not None


def _check(model: Model, tasks: list[str], train: Table | None, classifiers: Classifiers | None) -> None:
    if {*tasks} == {"likelihood"} and not has_density(model):
        raise ValueError(
            f"{model.name} must have a posterior and a likelihood with a density to be scored by its likelihood, and "
            "this one has not; leave the task out, or take a variational model, such as mac-vae"
        )
    if {*tasks} == {"sampling"} and model.deterministic:
        raise ValueError(
            f"{model.name} must have a distribution over codes for sampling, and has one code per row; leave the task "
            "out, build the model with members=4, or train a flow over its codes with fit(..., only='prior')"
        )
    learned = [task for task in LEARNED if task in tasks and (classifiers is None or task not in CLASSIFIED)]
    if train is None and learned:
        ready = ", or ready classifiers" if {*learned} <= {*CLASSIFIED} else ""
        raise ValueError(
            f"train must be a table of training rows{ready}, for {' and '.join(learned)} "
            f"learn{'s' * (len(learned) == 1)} from it; pass train=data.train"
        )
    for what, one in {"train": train, "classifiers": classifiers}.items():
        if one is not None:
            model.schema.require(one.schema, what)


def _prepare_classifiers(
    model: Model, train: Table | None, classifiers: Classifiers | None, classes: Classes, seed: int, *, progress: bool
) -> Classifiers:
    """Returns the classifiers on the model's device, and trains them if there are none."""
    device = model.weight.device
    if classifiers is None:
        assert train is not None  # checked by `_check`
        classifiers = train_classifiers(train, label=classes.label, seed=seed, device=device, progress=progress)
    if classifiers.label != classes.label:
        names = [name or "the tables' labels" for name in (classes.label, classifiers.label)]
        raise ValueError(
            f"classifiers must predict {names[0]}, the class of the rows; these predict {names[1]}; train others"
        )
    return classifiers.copy_to(device)


def _score_predictions(
    model: Model,
    table: Table,
    tasks: list[str],
    metrics: dict[str, list[str]],
    classes: Classes | None,
    classifiers: Classifiers | None,
    batch_size: int,
    seed: int,
    *,
    progress: bool,
) -> list[dict[str, Any]]:
    """Scores all predictions from observed modalities, in one pass over the table."""
    given, queries = plan_predictions(model.schema, tasks, seed)
    if not queries:
        return []
    classifiers = classifiers if "coherence" in tasks else None
    targets = build_targets(model.schema, queries, metrics, classifiers, 0 if classes is None else classes.number)
    given = given.to(model.weight.device)
    turn, turns = distributed.rank(), distributed.world_size()
    place: dict[str, Any] = {"start": turn, "stride": turns} if turns > 1 else {}
    batches = table.batches(batch_size, device=given.device, **place)
    if progress:
        batches = show_progress(batches, "evaluating", -(-steps(len(table), batch_size) // turns))
    with answering(model), distributed.detect_lost_process(lambda: "start all processes again"):
        for number, batch in enumerate(batches):
            start = (turn + number * turns) * batch_size
            of = None if classes is None else classes.values[start : start + len(batch)]
            score_batch(model, batch, given, targets, classifiers, of)
        for target in targets.values():
            target.merge()
    return collect_scores(queries, targets)

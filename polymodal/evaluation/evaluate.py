"""The paper's three tasks, reconstruction, many-to-one and one-to-one translation, and further ones."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from polymodal.evaluation.coherence import unconditional
from polymodal.evaluation.coherence.classifier import Verifiers
from polymodal.evaluation.coherence.classifier_training import train_verifiers
from polymodal.evaluation.coherence.labels import Classes, classed, classes_of, label_of
from polymodal.evaluation.frame import framed, line
from polymodal.evaluation.frechet import Features
from polymodal.evaluation.likelihood import bound, has_density
from polymodal.evaluation.probe import probed
from polymodal.evaluation.queries import asked, compared, scores, targets_of
from polymodal.evaluation.sampling import score_samples
from polymodal.models.base import Model, answering, check_model
from polymodal.runtime import distributed
from polymodal.runtime.progress import shown
from polymodal.runtime.registry import unknown
from polymodal.runtime.validation import check_kind, check_names, check_whole
from polymodal.table.table import Table, steps

if TYPE_CHECKING:
    import pandas as pd
    from torch.distributions import Distribution

__all__ = ["FURTHER", "LEARNED", "TASKS", "check_tasks", "evaluate"]

TASKS = ("reconstruction", "many-to-one", "one-to-one")
FURTHER = ("translation", "coherence", "sampling", "generation", "likelihood", "probe")
"""Tasks beyond the paper's three."""
VERIFIED = ("coherence", "generation")
"""Those that verifiers judge."""
LEARNED = (*VERIFIED, "probe")
"""Those that learn something from training rows."""


def evaluate(
    model: Model,
    table: Table,
    *,
    tasks: Iterable[str] = TASKS,
    train: Table | None = None,
    verifiers: Verifiers | None = None,
    label: str | None = None,
    features: Features | None = None,
    batch_size: int = 256,
    progress: bool = False,
    seed: int = 0,
) -> pd.DataFrame:
    """Scores a model's answers on every task.

    Reconstruction: each modality from all. Many-to-one: each from all the others. One-to-one: each from each
    single other one; its score is the mean of these. Rows that lack the target, or all that is given, are left
    out. Each modality is encoded once per row, for all tasks together, and codes of the same content are decoded
    once: from one label there are as many answers as classes. Codes are decoded in pieces of a few megabytes.

    Further tasks, in `FURTHER`:

    - translation: each modality given "1 other", "2 others", ...: the mean over the subsets of that size, all of
      them or 10 at random.
    - coherence: how often such an answer is of the row's class, in per cent. A classifier of each modality, trained on
      true values, says of which class it is; how often that is right given "the truth" is "verifier-acc". Given
      "nothing": in how many unconditional samples all modalities are of one class. As task "calibration" stands how
      far the answers' classes are from the true ones in frequency, in total variation, "tv": agreement alone is high
      where all samples are alike. Of a model that samples by a flow, "nothing, normal prior" are the same scores of
      codes from the standard normal distribution.
    - sampling: how good posterior samples are, of models that have any: whether the modalities of one sample agree,
      energy score, coverage, diversity; see `polymodal.evaluation.sampling`. Classes are judged where rows have them,
      and `train` or `verifiers` are given.
    - generation: the Fréchet distance between the classifiers' features of true values and of as many unconditional
      samples, and with `features` that of theirs, "fid"; given "nothing", or "nothing, normal prior" as above.
    - likelihood: an importance-sampled bound on log p(x) of all that a row has, in nats, "bound"; of models without a
      density there is none.
    - probe: how often a linear classifier on the codes says the class, given the others and given one.

    Several processes score whole batches in turn, and all return the scores of all rows: call it in each of them.
    Unconditional samples, the bound and the probe are worked out in full by each.

    Arguments:
        model: To score.
        table: The rows.
        tasks: Of TASKS and FURTHER.
        train: Training rows, which coherence, generation and probe learn from.
        verifiers: Classifiers for coherence and generation, see `train_verifiers`; by default they are trained anew.
        label: The modality that says a row's class; by default that of the verifiers, else the first that is one
            class, else `Table.labels`.
        features: From pictures `(N, 3, H, W)` in [0, 1] to features `(N, F)`.
        batch_size: Rows per pass.
        progress: Whether to show a bar on a terminal, and lines elsewhere.
        seed: Of the choice of subsets, of what is drawn, and of what is learned.

    Returns:
        A row per score: `task`, `modality`, `given` ("all", "others", the name of the single one, "2 others",
        "nothing", "nothing, normal prior" or "the truth"), `metric`, `better` ("higher" or "lower"), `value`, `rows`
        (how many it is over) and `note`. The modalities of a group are one modality of the group's name, with the mean
        of their scores, over at most `rows` rows.

    Raises:
        ValueError: A task is unknown or lacks what it needs, likelihood is all that is asked of a model without a
            density, or the table has other modalities than the model.

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

    Source: MAC-WAE, section "Experimental Design"; coherence as in Shi et al. (2019), by classifiers.
    """
    tasks = check_tasks(tasks)
    check_model(model)
    check_kind("the table", table, Table, "a Table", "make one by polymodal.Table.from_frame(frame, model.schema)")
    check_whole("batch_size", batch_size)
    model.schema.require(table.schema, "the table")
    _check(model, tasks, train, verifiers)
    shows = progress and distributed.rank() == 0
    classes = None
    samples = "sampling" in tasks and not model.deterministic
    judged = bool({*tasks} & {*VERIFIED}) or (samples and _has_classes(table) and not (train is verifiers is None))
    if judged or "probe" in tasks:
        classes = classes_of(table, label_of(table, label or (verifiers and verifiers.label)))
    if classes is not None and judged:
        verifiers = _verifiers(model, train, verifiers, classes, seed, progress=shows)
        classes = classes._replace(number=max(classes.number, verifiers.classes))
    lines = _answered(model, table, tasks, classes, verifiers, batch_size, seed, progress=shows)
    if samples:
        lines += score_samples(model, table, verifiers if judged else None, classes, seed=seed)
    if classes is not None and verifiers is not None and {*tasks} & {*VERIFIED}:
        features = features if "generation" in tasks else None
        true = unconditional.held(table, verifiers, features, batch_size)
        lines += unconditional.score_classifiers(true, table, classes) if "coherence" in tasks else []
        for given, prior in _priors(model).items():
            made = unconditional.drawn(model, prior, verifiers, features, len(table), batch_size, seed)
            lines += unconditional.coherence(made, given, classes) if "coherence" in tasks else []
            lines += unconditional.distances(true, made, given) if "generation" in tasks else []
    if "likelihood" in tasks and has_density(model):
        value, rows = bound(model, table, batch_size=batch_size, seed=seed)
        lines.append(line("likelihood", "all", "all", "bound", "higher", value, rows))
    if "probe" in tasks and classes is not None and train is not None:
        lines += probed(model, train, table, classes_of(train, classes.label), classes, batch_size, seed)
    return framed(lines, model.schema)


def check_tasks(tasks: Iterable[str]) -> list[str]:
    """The tasks, all of which are known.

    Raises:
        ValueError: One is not.

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
    """What unconditional samples come from, by what they are given."""
    by_flow = {} if model.flow is None else {"nothing, normal prior": model.normal_prior}
    return {"nothing": model.prior, **by_flow}


def _has_classes(table: Table) -> bool:
    return bool(classed(table.schema)) or table.labels is not None


def _check(model: Model, tasks: list[str], train: Table | None, verifiers: Verifiers | None) -> None:
    if {*tasks} == {"likelihood"} and not has_density(model):
        raise ValueError(
            f"{model.name} must have a posterior and a likelihood with a density to be scored by its likelihood, and "
            "this one has not; leave the task out, or take a variational model, such as mac-vae"
        )
    if {*tasks} == {"sampling"} and model.deterministic:
        raise ValueError(
            f"{model.name} must have a distribution over codes for sampling, and has one code per row; leave the task "
            "out, or train a flow over its codes with fit(..., only='prior')"
        )
    learned = [task for task in LEARNED if task in tasks and (verifiers is None or task not in VERIFIED)]
    if train is None and learned:
        ready = ", or ready verifiers" if {*learned} <= {*VERIFIED} else ""
        raise ValueError(
            f"train must be a table of training rows{ready}, for {' and '.join(learned)} "
            f"learn{'s' * (len(learned) == 1)} from it; pass train=data.train"
        )
    for what, one in {"train": train, "verifiers": verifiers}.items():
        if one is not None:
            model.schema.require(one.schema, what)


def _verifiers(
    model: Model, train: Table | None, verifiers: Verifiers | None, classes: Classes, seed: int, *, progress: bool
) -> Verifiers:
    """The verifiers on the model's device, trained where there are none."""
    device = model.weight.device
    if verifiers is None:
        assert train is not None  # or it was refused
        verifiers = train_verifiers(train, label=classes.label, seed=seed, device=device, progress=progress)
    if verifiers.label != classes.label:
        names = [name or "the tables' labels" for name in (classes.label, verifiers.label)]
        raise ValueError(f"verifiers must say {names[0]}, by which rows are judged; these say {names[1]}; train others")
    return verifiers.on(device)


def _answered(
    model: Model,
    table: Table,
    tasks: list[str],
    classes: Classes | None,
    verifiers: Verifiers | None,
    batch_size: int,
    seed: int,
    *,
    progress: bool,
) -> list[dict[str, Any]]:
    """Scores of answers from what rows have, of all questions in one pass."""
    given, questions = asked(model.schema, tasks, seed)
    if not questions:
        return []
    verifiers = verifiers if "coherence" in tasks else None
    targets = targets_of(model.schema, questions, verifiers, 0 if classes is None else classes.number)
    given = given.to(model.weight.device)
    turn, turns = distributed.rank(), distributed.world()
    place: dict[str, Any] = {"start": turn, "stride": turns} if turns > 1 else {}
    batches = table.batches(batch_size, device=given.device, **place)
    if progress:
        batches = shown(batches, "evaluating", -(-steps(len(table), batch_size) // turns))
    with answering(model), distributed.noticing(lambda: "start all of them again"):
        for number, batch in enumerate(batches):
            start = (turn + number * turns) * batch_size
            of = None if classes is None else classes.values[start : start + len(batch)]
            compared(model, batch, given, targets, verifiers, of)
        for target in targets.values():
            target.merge()
    return scores(questions, targets)

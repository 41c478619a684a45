"""Writes the model card of a model: the page README.md that the Hugging Face Hub shows for a repository.

The card consists of metadata in YAML, which the Hub reads, and of sections in Markdown. Names of modalities, classes,
metrics and data sets come from users' data. They are escaped, so that they cannot add markup to the page.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from math import isfinite
from typing import TYPE_CHECKING, Any, NamedTuple

from polymodal.modalities import MODALITIES
from polymodal.runtime.formatting import brief
from polymodal.runtime.metric_names import EXPLAINED

if TYPE_CHECKING:
    import pandas as pd

    from polymodal.models.base import Model

__all__ = ["CardFacts", "build_card", "escape_markdown"]

LETTERS = 200
"""Maximum number of characters of a text from users' data on the card."""
MOST_MODALITIES, MOST_SCORES = 100, 120
"""Maximum numbers of rows of the card's tables."""
KNOWN_TASKS = {
    "reconstruction": "given all modalities, the predicted one included",
    "many-to-one": "given all other modalities",
    "one-to-one": "given one other modality, mean over them",
}
"""Evaluation tasks that the card lists, with their explanations."""
METRIC_NAMES = {"acc": "accuracy", "bleu-3": "bleu"}
"""Names of metrics on the Hub that differ from those of polymodal."""
PLAIN = re.compile(r"[A-Za-z][\w-]*")
"""Names that need no quotes in a command."""
CITATION = """@inproceedings{tokar2026efficient,
  title     = {Efficient Modality Translation via Arbitrary Conditioning and Wasserstein Regularization},
  author    = {Tokar, Tomas and Sanner, Scott},
  booktitle = {Proceedings of the AAAI Conference on Artificial Intelligence},
  year      = {2026}
}"""


class CardFacts(NamedTuple):
    """What a card says about a model that the model does not know."""

    repository: str
    licence: str | None = None
    """Identifier of the licence, such as apache-2.0."""
    data: str | None = None
    """Name of the data set."""
    scores: Mapping[str, pd.DataFrame] = {}
    """Scores by split, as `polymodal.evaluate` returns them."""
    caption: str | None = None
    """Caption of the figure; None if there is no figure."""
    examples: int = 0
    """Number of example rows in examples.json."""


class Score(NamedTuple):
    """The mean of a metric over the conditioning modalities."""

    split: str
    task: str
    modality: str
    metric: str
    better: str
    value: float


def escape_markdown(text: object) -> str:
    r"""Escapes a text, so that Markdown and HTML show it as it is, on one line.

    Example:
        >>> print(escape_markdown("a|b <b>*c*</b> [d](http://e)"))
        a\|b &lt;b&gt;\*c\*&lt;/b&gt; \[d\]\(http\://e\)
    """
    line = brief(text, LETTERS) if str(text).strip() else repr(str(text))
    line = re.sub(r"([\\`*_{}\[\]()#+!|~^$:@=])", r"\\\1", line)
    line = re.sub(r"(?i)\bwww\.", r"www\\.", line)
    return line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")


def build_card(model: Model, facts: CardFacts) -> str:
    """Builds the model card as the text of README.md."""
    scores = _summarise_scores(facts.scores)
    sections = {
        "": _introduce(model, facts),
        "Modalities": _describe_modalities(model),
        "Scores": _tabulate_scores(scores),
        "How to use it": _show_usage(model, facts),
        "Limitations": _list_limitations(model, scores),
        "Licence": [_state_licence(facts.licence)],
        "Citation": ["```bibtex", CITATION, "```"],
    }
    lines = ["---", _build_metadata(model, facts, scores).strip(), "---", "", f"# {facts.repository}"]
    for title, body in sections.items():
        lines += ["", f"## {title}"] if title else []
        lines += ["", *body]
    return "\n".join(lines) + "\n"


def _build_metadata(model: Model, facts: CardFacts, scores: list[Score]) -> str:
    """Returns the metadata of the card in YAML."""
    from huggingface_hub import EvalResult, ModelCardData

    kinds = sorted({entry["type"] for entry in model.schema.to_json()["modalities"]} & {*MODALITIES})
    metadata: dict[str, Any] = {"library_name": "polymodal", "license": facts.licence}
    metadata["tags"] = ["polymodal", "multimodal", "any-to-any", model.name, *kinds]
    if facts.data is not None:
        name = brief(facts.data, LETTERS)
        results = [
            EvalResult(
                task_type="any-to-any",
                dataset_type=re.sub(r"[^A-Za-z0-9._-]+", "-", name),
                dataset_name=name,
                dataset_split=score.split,
                metric_type=METRIC_NAMES.get(score.metric, brief(score.metric, LETTERS)),
                metric_name=f"{brief(score.metric, LETTERS)} of {brief(score.modality, LETTERS)}, {score.task}",
                metric_value=float(f"{score.value:.6g}"),
            )
            for score in scores
        ]
        if results:
            metadata["metrics"] = list(dict.fromkeys(result.metric_type for result in results))
            metadata |= {"model_name": facts.repository.partition("/")[2], "eval_results": results}
    return ModelCardData(**metadata).to_yaml()


def _introduce(model: Model, facts: CardFacts) -> list[str]:
    members = f" (an ensemble of {model.member_count} members)" if model.member_count > 1 else ""
    trained = "" if facts.data is None else f" It was trained on **{escape_markdown(facts.data)}**."
    lines = [
        f"This model predicts any of its {len(model.schema)} modalities from any subset of the others. It is a "
        f"`{model.name}` model{members} of the Python library polymodal, with a latent code of {model.code_dim} "
        f"numbers.{trained}"
    ]
    if facts.caption is not None:
        caption = escape_markdown(facts.caption)
        lines += ["", f"![{caption}](figure.png)", "", f"*{caption}*"]
    return lines


def _describe_modalities(model: Model) -> list[str]:
    rows = [
        [escape_markdown(text) for text in (name, modality.description, ", ".join(modality.columns(name)))]
        for name, modality in list(model.schema.items())[:MOST_MODALITIES]
    ]
    more = len(model.schema) - len(rows)
    lines = _make_table(["modality", "type", "columns of a table"], rows)
    return [*lines, "", f"And {more} more."] if more else lines


def _make_table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    heads = list(heads)
    return [f"| {' | '.join(cells)} |" for cells in (heads, ["---"] * len(heads), *rows)]


def _summarise_scores(scores: Mapping[str, pd.DataFrame]) -> list[Score]:
    """Returns the scores of each split and task: the mean over the conditioning modalities of each predicted one."""
    return list(_iterate_scores(scores))[:MOST_SCORES]


def _iterate_scores(scores: Mapping[str, pd.DataFrame]) -> Iterator[Score]:
    import pandas as pd

    for split, frame in scores.items():
        frame = frame.assign(value=pd.to_numeric(frame["value"], errors="coerce")).dropna(subset=["value"])
        for task in KNOWN_TASKS:
            keys = ["modality", "metric", "better"]
            means = frame[frame["task"] == task].groupby(keys, sort=False)["value"].mean()
            for (modality, metric, better), value in zip(means.index.tolist(), means.tolist(), strict=True):
                if isfinite(value):
                    yield Score(split, task, str(modality), str(metric), str(better), value)


def _tabulate_scores(scores: list[Score]) -> list[str]:
    if not scores:
        return ["No scores are given. `polymodal.evaluate` measures how well the model predicts rows of your own."]
    lines = []
    for split in dict.fromkeys(score.split for score in scores):
        own = [score for score in scores if score.split == split]
        tasks = [task for task in KNOWN_TASKS if any(score.task == task for score in own)]
        cells: dict[tuple[str, str, str], dict[str, str]] = {}
        for score in own:
            key = score.modality, score.metric, score.better
            cells.setdefault(key, {})[score.task] = f"{score.value:.4g}"
        rows = [
            [escape_markdown(key[0]), escape_markdown(key[1]), escape_markdown(key[2])]
            + [found.get(task, "-") for task in tasks]
            for key, found in cells.items()
        ]
        about = f"Rows of the {escape_markdown(split)} split"
        about += ", which the model was trained on:" if split == "train" else ", which the model was not trained on:"
        about = about[:-1] + ", but which chose its best epoch:" if split == "validation" else about
        lines += ["" if lines else None, about, "", *_make_table(["predicted", "metric", "better", *tasks], rows)]
    kept = {score.task for score in scores} | {score.metric for score in scores}
    lines = [line for line in lines if line is not None]
    for what, words in (("Tasks", KNOWN_TASKS), ("Metrics", EXPLAINED)):
        if explained := ", ".join(f"{name} ({text})" for name, text in words.items() if name in kept):
            lines += ["", f"{what}: {explained}."]
    return lines


def _show_usage(model: Model, facts: CardFacts) -> list[str]:
    names, address = list(model.schema), f"hf://{facts.repository}"
    kinds = {entry["type"] for entry in model.schema.to_json()["modalities"]}
    if kinds <= {"label", "text", "vector"}:
        python, command = "imputed = pm.impute(model, frame)", f"impute {address} rows.csv"
    else:
        given, to = names[:1], names[-1:]
        python = "table = pm.Table.from_frame(frame, model.schema)\n"
        python += f"values = model.translate(table, given={_write_names(given)}, to={_write_names(to)})"
        plain = all(PLAIN.fullmatch(name) for name in (*given, *to))
        command = f"translate {address} rows.csv" + (f" --given {given[0]} --to {to[0]}" if plain else "")
    files = " Images and audio are paths of files in it." if kinds & {"image", "audio"} else ""
    lines = [
        f"Its input is a table whose columns have the names above and whose cells may be missing.{files} In Python:",
        "",
        "```python",
        "import pandas as pd",
        "import polymodal as pm",
        "",
        f'model = pm.load("{address}")',
        'frame = pd.read_csv("rows.csv")',
        *python.splitlines(),
        "samples = model.sample(16)",
        "```",
        "",
        "On the command line:",
        "",
        "```console",
        "$ pip install 'polymodal[hub,serve]'",
        f"$ polymodal {command}",
        f"$ polymodal sample {address} --number 16",
        f"$ polymodal serve {address}",
        "```",
    ]
    if facts.examples:
        lines += ["", f"`examples.json` has {facts.examples} example rows, in the format of `polymodal serve`."]
    return lines


def _write_names(names: list[str]) -> str:
    """Returns the names as a list in Python, in ASCII and on one line."""
    return "[" + ", ".join(ascii(name).replace("`", "\\x60") for name in names) + "]"


def _list_limitations(model: Model, scores: list[Score]) -> list[str]:
    samples = (
        "The model has one prediction per row and no samples, so it does not show how uncertain a prediction is."
        if model.deterministic and model.flow is None
        else "A prediction is a mean over what is possible. `translate(..., samples=10)` shows how much that varies."
    )
    lines = [
        "- The model knows only what its training rows show. For rows from another source, with other classes or with "
        "numbers outside of their range, predictions can be wrong without any warning.",
        "- Predictions are estimates, not measurements. Predicted images and audio are smoother than real ones.",
        f"- {samples}",
        "- What is rare in the training rows is predicted less well, and their biases are in the predictions. The "
        "model was not tested for fairness; do not use it for decisions about people without testing it for them.",
    ]
    if not scores:
        lines.append("- No scores are given, so nothing is known about how good its predictions are.")
    if model.untrained:
        names = ", ".join(escape_markdown(name) for name in model.untrained)
        lines.append(f"- These modalities were missing in all training rows, so they are not predicted well: {names}.")
    return lines


def _state_licence(licence: str | None) -> str:
    if licence is None:
        return "No licence is stated. Ask the owner of this repository before you use the model."
    return f"The model is published under the licence {escape_markdown(licence)}."

"""Code and documentation use the terms of the field, and functions are verbs.

The texts are the docstrings, comments and strings of the package (with them the help of every command), the templates
of its pages, README.md and docs/*.md. The names are those of functions, classes, arguments and attributes.
"""

from __future__ import annotations

import ast
import re
import tokenize
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "polymodal").rglob("*.py"))
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "polymodal").rglob("*.j2"))]

TEXTS = {
    r"told|is said|said so": "passed, given; reported",
    r"so-?manieth": "the number of the row",
    r"(make|makes|making|made) (\w+ )?(of|from) nothing": "sample from the prior",
    r"what (it|the encoder|the model|an encoder) sees": "the mask of observed modalities",
    r"verifiers?(?![-./=`_])": "classifier",
    r"verdicts?": "predicted class, label accuracy",
    r"looked(?! up)": "inspected",
    r"pictures?": "image",
    r"holes?(?!:)": "missing values",
    r"whole rows?": "complete rows",
    r"puts? back": "restore",
    r"goes? on": "continue, resume",
    r"(?<!-)(?<!`)beside(?![=`:])": "next to, compared with",
    r"rest(s|ing)? on": "is based on",
    r"lacks?": "has no, is missing",
    r"where nothing (else )?is (said|given|asked)": "by default",
    r"savings|(every|each) saving(?! of)": "optimisation",
    r"weighed": "weighted",
    r"there: (no|yes)": "available: yes, available: no",
    r"tak(e|es|en|ing) ((it|them|(the |each |a )?columns?) )?for (a|an|the|what)(?! (\w+ )?time)": "infer the type",
    r"(is|are|was|were) gone": "was removed, has ended, no longer exists",
    r"drawn (from|again|anew|with|at random)": "sampled",
    r"one's own": "your own, user-defined",
    r"sounds": "audio",
    r"answers?": "prediction",
}
"""Regular expressions that match in no text, and what to write instead."""
FRAGMENT = re.compile(r"(\A|: )Of (the|a|an|its|each|every|one) ")
"""Beginning of a text, or of the description of an argument, that is no sentence."""

WORDS = {
    "told": "message",
    "said": "predicted, message",
    "verifier": "classifier",
    "verifiers": "classifiers",
    "verdict": "predicted class",
    "verdicts": "predicted classes",
    "looked": "inspected",
    "picture": "image",
    "pictures": "images",
    "hole": "missing",
    "beside": "reference",
    "lacks": "missing",
    "savings": "optimisations",
    "weighed": "weighted",
    "sounds": "audio",
}
"""Words that are in no name, and what to write instead."""

FORMATS = {"weighed", "verifiers"}
"""Names of a tensor and of a folder in files of earlier versions, which stay."""
PUBLIC_NAMES = {
    ("polymodal/cli/commands/compare_command.py", "beside"),
    ("polymodal/studies/study_comparison.py", "beside"),
    ("polymodal/models/execution.py", "weighed"),
}
"""Names with these words that stay: the option `--beside` and argument of `compare`, and a tensor of every model."""

PARTICIPLES = re.compile(
    r"begun|bound|broken|built|caught|chosen|done|drawn|driven|fed|found|given|gone|held|hidden|kept|known|left|lost|made"
    r"|meant|met|paid|ran|said|seen|sent|shown|spelt|stood|taken|thrown|told|won|written|(?!need|seed|feed|embed)\w+ed"
)
"""First words of names of functions that are participles."""
PUBLIC = {"bound", "changed", "fitted", "pinned"}
"""Methods of classes in `polymodal.__all__` that keep their names."""


def read_texts():
    """Yields place and text of every docstring, string and comment, and of every line of a page."""
    for path in SOURCES:
        where = path.relative_to(ROOT)
        for node in ast.walk(parse(path)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield f"{where}:{node.lineno}", node.value
        with tokenize.open(path) as file:
            for token in tokenize.generate_tokens(file.readline):
                if token.type == tokenize.COMMENT:
                    yield f"{where}:{token.start[0]}", token.string
    for path in PAGES:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            yield f"{path.relative_to(ROOT)}:{number}", line


def read_names():
    """Yields place and name of every function, class, argument and attribute."""
    for path in SOURCES:
        for node in ast.walk(parse(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                yield f"{path.relative_to(ROOT)}:{node.lineno}", node.name
            elif isinstance(node, ast.arg):
                yield f"{path.relative_to(ROOT)}:{node.lineno}", node.arg
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                yield f"{path.relative_to(ROOT)}:{node.lineno}", node.attr
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                yield f"{path.relative_to(ROOT)}:{node.lineno}", node.target.id


@cache
def parse(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def test_texts_use_the_terms_of_the_field():
    rules = [(re.compile(rf"(?<![\w-])({text})(?![\w-])", re.IGNORECASE), better) for text, better in TEXTS.items()]
    found = [
        f"{place}: {match.group()!r}: write {better}"
        for place, text in read_texts()
        if text not in FORMATS
        for rule, better in [*rules, *([(FRAGMENT, "a full sentence")] if ".py:" in place else [])]
        for match in rule.finditer(text)
    ]
    assert not found, "\n".join(["", *found])


def test_names_use_the_terms_of_the_field():
    found = [
        f"{place}: {name}: write {WORDS[word]}"
        for place, name in read_names()
        if (place.partition(":")[0], name) not in PUBLIC_NAMES
        for word in re.findall(r"[a-z]+", re.sub(r"([A-Z][a-z])", r"_\1", name).lower())
        if word in WORDS
    ]
    assert not found, "\n".join(["", *found])


def test_no_function_is_named_by_a_participle():
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {node.name}: write a verb in the imperative"
        for path in SOURCES
        for node in ast.walk(parse(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and is_participle(node)
    ]
    assert not found, "\n".join(["", *found])


def is_participle(function):
    """Returns whether the first word of a function's name is a participle; properties are adjectives and may be."""
    first = function.name.strip("_").split("_")[0]
    properties = {"property", "cached_property", "classproperty"}
    if function.name in PUBLIC or properties & {ast.unparse(one) for one in function.decorator_list}:
        return False
    return bool(PARTICIPLES.fullmatch(first))

"""A floor imports only from floors below it."""

import ast
from collections import Counter
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import polymodal

ROOT = Path(polymodal.__file__).parent
FLOORS = {
    "batch": 0,
    "distributions": 0,
    "runtime": 1,
    "io": 2,
    "networks": 2,
    "modalities": 3,
    "objectives": 3,
    "csvfiles": 4,
    "tabular": 5,
    "schema": 6,
    "table": 7,
    "models": 7,
    "datasets": 8,
    "inference": 8,
    "imputation": 9,
    "training": 9,
    "evaluation": 9,
    "settings": 10,
    "onnx": 10,
    "report": 10,
    "testing": 12,
    "comparison": 11,
    "studies": 12,
    "serving": 13,
    "cli": 14,
    "__main__": 15,
}
NEVER = [
    ({"table", "datasets"}, {"models"}),
    ({"modalities"}, {"objectives"}),
    ({"training"}, {"evaluation"}),
]
FILES = sorted(path.relative_to(ROOT) for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


def room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def imports(file: Path) -> set[str]:
    """Modules of polymodal that a file imports anywhere, within functions and for types too."""
    found = set()
    for node in ast.walk(ast.parse((ROOT / file).read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} imports relatively"
            if node.module == "polymodal":
                found |= {f"polymodal.{alias.name}" for alias in node.names}
            elif (node.module or "").startswith("polymodal."):
                # `from package import name`: a registry is its package's own, a file is a file
                found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.split(".")[0] == "polymodal"}
    return found


def test_every_room_has_a_floor():
    assert {file.parts[0].removesuffix(".py") for file in FILES} <= FLOORS.keys()


@pytest.mark.parametrize("file", FILES, ids=str)
def test_imports_point_downwards(file):
    here = file.parts[0].removesuffix(".py")
    for module in imports(file):
        there = room(module)
        assert there in FLOORS, f"{file} imports the package itself ({module}), which is above all"
        if there != here:
            assert FLOORS[there] < FLOORS[here], f"{file} (floor {FLOORS[here]}) imports {module} ({FLOORS[there]})"


@pytest.mark.parametrize("file", FILES, ids=str)
def test_neighbours_that_must_not_know_each_other(file):
    here = file.parts[0].removesuffix(".py")
    for some, others in NEVER:
        for a, b in ((some, others), (others, some)):
            if here in a:
                assert not {room(module) for module in imports(file)} & b


def test_a_module_name_stands_in_one_folder():
    """`base`, of which a registry's entries are made, stands in several."""
    places = Counter(file.stem for file in FILES if file.stem not in ("__init__", "__main__", "base"))
    assert [name for name, count in places.items() if count > 1] == []


def test_floors_are_whole():
    assert all(type(floor) is int for floor in FLOORS.values())


def is_built_on(base: str, file: Path) -> bool:
    """Whether a file imports the base when it is loaded; what stands under TYPE_CHECKING is not."""
    return any(isinstance(node, ast.ImportFrom) and node.module == base for node in ast.parse(file.read_text()).body)


@pytest.mark.parametrize("file", [file for file in FILES if file.name == "base.py"], ids=str)
def test_a_base_imports_neither_its_registry_nor_what_is_built_on_it(file):
    package = ".".join(["polymodal", *file.parent.parts])
    own = {module for module in imports(file) if module.startswith(package)}
    siblings = {f"{package}.{path.stem}": path for path in (ROOT / file.parent).glob("*.py")}
    for module in own:
        sibling = next((path for name, path in siblings.items() if module.startswith(name)), None)
        assert sibling is not None, f"{file} imports {module}, its registry"
        assert not is_built_on(f"{package}.base", sibling), f"{file} imports {module}, which is built on it"


MAX_LINES, MAX_FUNCTION_LINES = 349, 44
"""Maximum numbers of lines of a file, and of lines of code in the body of a function."""
ALIASES = {"np", "pd", "pa", "pq", "pc", "F", "dist"}
"""Conventional short names of numpy, pandas, pyarrow and modules of PyTorch."""


def count_code_lines(function: ast.FunctionDef, lines: list[str]) -> int:
    """The lines of a function's body without its docstring, comments and empty lines."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    code = lines[body[0].lineno - 1 : function.end_lineno] if body else []
    return sum(bool(line.strip()) and not line.lstrip().startswith("#") for line in code)


@pytest.mark.parametrize("file", FILES, ids=str)
def test_files_and_functions_are_short(file):
    lines = (ROOT / file).read_text().splitlines()
    assert len(lines) <= MAX_LINES
    functions = [node for node in ast.walk(ast.parse("\n".join(lines))) if isinstance(node, ast.FunctionDef)]
    assert {one.name for one in functions if count_code_lines(one, lines) > MAX_FUNCTION_LINES} == set()


def test_nothing_is_imported_under_another_name():
    found = [
        f"{file}: {alias.name} as {alias.asname}"
        for file in FILES
        for node in ast.walk(ast.parse((ROOT / file).read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
        if alias.asname not in (None, *ALIASES)
    ]
    assert found == []


def test_no_import_closes_a_circle():
    """Neither when a module is loaded nor later, within a function; imports for types alone do not count."""
    modules = {".".join(["polymodal", *file.with_suffix("").parts]).removesuffix(".__init__"): file for file in FILES}
    graph = {}
    for module, file in modules.items():
        tree = ast.parse((ROOT / file).read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
                node.body = [ast.Pass()]
        imported = [
            f"{node.module}.{alias.name}" if f"{node.module}.{alias.name}" in modules else node.module
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        ]
        graph[module] = {target for target in imported if target in modules and target != module}
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle

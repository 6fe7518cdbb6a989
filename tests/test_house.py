"""The house rules that a reader relies on: imports point down only, and a library neither prints nor configures.

The picture that `FLOORS` encodes stands in CONTRIBUTING.md; change both together.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import polyseme

PACKAGE = Path(polyseme.__file__).parent

# From the ground up. A module may import from lower floors and from its own unit, never from a neighbour on its floor.
FLOORS: list[set[str]] = [
    {"_version", "errors"},
    {"publish", "text", "embedding"},
    {"nn"},
    {"bilm", "fetch"},
    {"formats", "store", "static"},
    {"encoder", "settle", "batching", "records"},
    {"engine", "elmo_bilm"},
    {"lm"},
    {"embedder", "elmo", "train", "training"},
    {"long_sentence"},
    {"embed_file", "verify"},
    {"tasks", "insight", "search", "scale", "hub"},
    {"cli", "serve"},
]
# `serve` starts the server; train.py is the first page of the room training/, whose plan and adapt run the loop.
NEIGHBOURS_ALLOWED = {("cli", "serve"), ("train", "training"), ("training", "train")}
FLOOR_OF = {unit: number for number, units in enumerate(FLOORS) for unit in units}
DOORS = {"", "__main__"}  # polyseme/__init__.py and __main__.py open onto every floor

NO_TORCH = {"_version", "errors", "publish", "text", "embedding", "static"}
POSIX_ONLY = {
    *("crypt", "curses", "fcntl", "grp", "posix", "pty"),
    *("pwd", "readline", "resource", "syslog", "termios", "tty"),
}
MAX_LINES = 450

MODULES = sorted(PACKAGE.rglob("*.py"))
each_module = pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())


def unit_of(path: Path) -> str:
    """The room that a file belongs to: `text` for text/read.py, `bilm` for bilm.py, "" for the package's own door."""
    first = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return "" if first == "__init__" else first


def imported(node: ast.AST, path: Path) -> list[str]:
    """Absolute dotted names that one import statement asks for; [] for any other node."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            above = ("polyseme", *path.relative_to(PACKAGE).parts)[: -node.level]
            base = ".".join((*above, base)).rstrip(".")
        # `from polyseme import bilm` names a room in the second half.
        return [f"{base}.{alias.name}" for alias in node.names] if base == "polyseme" else [base]
    return []


def at_module_level(tree: ast.Module) -> Iterator[ast.AST]:
    """Every node that runs on import: all but the bodies of functions, and of `if TYPE_CHECKING:`."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting.extend(node.orelse)
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            waiting.extend(ast.iter_child_nodes(node))


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def wrong_imports(tree: ast.Module, path: Path) -> list[str]:
    """The imports, anywhere in a file, that point up or sideways, or that its room may not have at all."""
    unit, wrong = unit_of(path), []
    for node in ast.walk(tree):
        for name in imported(node, path):
            root, _, rest = name.partition(".")
            target = rest.partition(".")[0]
            if unit == "nn" and root not in {"torch", "polyseme"} and root not in sys.stdlib_module_names:
                wrong.append(f"{name}: nn imports torch only")
            if unit in NO_TORCH and root == "torch":
                wrong.append(f"{name}: {unit} must work without torch")
            if root != "polyseme" or unit in DOORS or target == unit:
                continue
            if target not in FLOOR_OF:
                wrong.append(f"{name}: import the module that defines a name, not the package's door")
            elif unit == "nn" and FLOOR_OF[target] > 0:
                wrong.append(f"{name}: nn imports torch only")
            elif FLOOR_OF[target] >= FLOOR_OF[unit] and (unit, target) not in NEIGHBOURS_ALLOWED:
                wrong.append(f"{name}: points {'up' if FLOOR_OF[target] > FLOOR_OF[unit] else 'sideways'} from {unit}")
    return wrong


@each_module
def test_imports_point_down(path: Path) -> None:
    assert unit_of(path) in FLOOR_OF.keys() | DOORS, f"give {unit_of(path)} a floor here and in CONTRIBUTING.md"
    assert wrong_imports(parse(path), path) == []


def test_the_picture_in_contributing_shows_these_floors() -> None:
    text = (PACKAGE.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    picture = text.partition("```text\n")[2].partition("```")[0].splitlines()
    drawn = [set(re.split(r"\s{3,}", line)[0].replace("(", "").replace(")", "").split()) for line in picture]
    assert drawn == FLOORS[::-1]


@pytest.mark.parametrize(
    ("place", "line", "finding"),
    [
        ("text/read.py", "from polyseme.bilm import BiLM", "points up"),
        ("text/read.py", "def late():\n    import torch", "without torch"),
        ("text/read.py", "from ..embedding import Embedding", "points sideways"),
        ("nn/lstm.py", "import numpy", "torch only"),
        ("nn/lstm.py", "from polyseme.text.config import TextConfig", "torch only"),
        ("embedder.py", "import polyseme.train", "points sideways"),
        ("bilm.py", "from polyseme import embedder", "points up"),
        ("store/arrow.py", "from polyseme import load", "door"),
    ],
)
def test_the_import_rule_finds_what_it_forbids(place: str, line: str, finding: str) -> None:
    (found,) = wrong_imports(ast.parse(line), PACKAGE / place)
    assert finding in found


@each_module
def test_nothing_posix_only_is_imported_at_module_level(path: Path) -> None:
    names = {name.partition(".")[0] for node in at_module_level(parse(path)) for name in imported(node, path)}
    assert names & POSIX_ONLY == set()


@each_module
def test_the_command_line_imports_torch_lazily(path: Path) -> None:
    if unit_of(path) == "cli":
        names = {name.partition(".")[0] for node in at_module_level(parse(path)) for name in imported(node, path)}
        assert "torch" not in names


@each_module
def test_library_code_neither_prints_nor_exits_nor_configures_logging(path: Path) -> None:
    calls = [ast.unparse(node.func) for node in ast.walk(parse(path)) if isinstance(node, ast.Call)]
    assert "logging.basicConfig" not in calls
    if unit_of(path) not in {"cli", "__main__"}:
        assert {"print", "sys.exit", "exit", "quit", "SystemExit"}.intersection(calls) == set()


def unpickling(tree: ast.Module) -> list[str]:
    """What in a file could execute a pickle. `pickle` itself may be imported for the name of its error."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom | ast.Import):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            unwanted = {"cloudpickle", "dill", "joblib", "shelve", "marshal"}
            if unwanted.intersection(names) or (isinstance(node, ast.ImportFrom) and node.module == "pickle"):
                found.append(ast.unparse(node))
        elif isinstance(node, ast.Attribute) and ast.unparse(node) != "pickle.UnpicklingError":
            if ast.unparse(node.value) == "pickle":
                found.append(ast.unparse(node))
        elif isinstance(node, ast.Call):
            called, words = ast.unparse(node.func), {word.arg: ast.unparse(word.value) for word in node.keywords}
            if called == "torch.load" and words.get("weights_only") != "True":
                found.append(ast.unparse(node))
            if called == "np.load" and words.get("allow_pickle", "False") != "False":
                found.append(ast.unparse(node))
    return found


@each_module
def test_no_pickle_is_executed(path: Path) -> None:
    assert unpickling(parse(path)) == []


@pytest.mark.parametrize(
    "line",
    ["torch.load(f)", "np.load(f, allow_pickle=True)", "import pickle; pickle.load(f)", "from pickle import loads"],
)
def test_the_pickle_rule_finds_what_it_forbids(line: str) -> None:
    assert len(unpickling(ast.parse(line))) == 1


@each_module
def test_a_file_is_short_enough_to_read(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_LINES


def run_python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True).stdout


@pytest.mark.parametrize("statement", ["import polyseme", "from polyseme import Embedding, PolysemeError"])
def test_importing_polyseme_does_not_import_torch(statement: str) -> None:
    assert run_python(f"{statement}; import sys; print('torch' in sys.modules)").strip() == "False"


def test_public_names_resolve_and_are_listed() -> None:
    assert set(polyseme.__all__) <= set(dir(polyseme))
    for name in polyseme.__all__:
        assert getattr(polyseme, name) is not None
    assert polyseme.load.__module__.startswith("polyseme.embedder")


def test_an_unknown_public_name_is_an_attribute_error_that_lists_the_names() -> None:
    with pytest.raises(AttributeError, match=r"'lod'.*load"):
        polyseme.lod  # noqa: B018

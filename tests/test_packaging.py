"""What installing Polyseme brings, what the wheel holds, and that a broken torchvision beside it does no harm.

`.ci/resolve.py` asks pip about every extra; here the closure of what is installed is walked, without a network.
"""

from __future__ import annotations

import ast
import os
import runpy
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import polyseme

REPOSITORY = Path(__file__).resolve().parent.parent
TINY = REPOSITORY / "tests" / "data" / "allennlp-char" / "highway2"
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
FORBIDDEN: set[str] = runpy.run_path(str(REPOSITORY / ".ci" / "resolve.py"))["FORBIDDEN"]


def closure(requirements: list[str]) -> set[str]:
    """Names of everything that these requirements lead to, as far as it is installed."""
    names: set[str] = set()
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting = [Requirement(text) for text in requirements]
    while waiting:
        wanted = waiting.pop()
        key = canonicalize_name(wanted.name), frozenset(wanted.extras)
        if key in seen:
            continue
        seen.add(key)
        names.add(key[0])
        try:
            needs = metadata.requires(wanted.name) or []
        except metadata.PackageNotFoundError:
            continue
        for text in needs:
            need = Requirement(text)
            extras = ["", *wanted.extras]
            if need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in extras):
                waiting.append(need)
    return names


def python(code: str, path: Path) -> list[str]:
    """The lines that a new interpreter prints which finds modules in `path` first and takes warnings for errors."""
    environment = {**os.environ, "PYTHONPATH": str(path), "PYTHONIOENCODING": "utf-8"}
    # torch opens a file without naming its encoding; that is not ours to mend
    command = [sys.executable, "-W", "error", "-W", "ignore::EncodingWarning", "-c", code]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("extra", ["", *PROJECT["optional-dependencies"]])
def test_no_dependency_asks_for_torchvision(extra: str) -> None:
    requirements = PROJECT["optional-dependencies"][extra] if extra else PROJECT["dependencies"]
    assert closure(requirements) & FORBIDDEN == set()


def test_the_closure_follows_requirements_of_requirements() -> None:
    assert {"torch", "sympy", "mpmath"} <= closure(["torch>=2"])


def test_what_we_import_is_what_we_ask_for() -> None:
    asked = [*PROJECT["dependencies"], *(text for texts in PROJECT["optional-dependencies"].values() for text in texts)]
    named = {canonicalize_name(Requirement(text).name) for text in asked}
    owners = metadata.packages_distributions()
    for path in (REPOSITORY / "polyseme").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            for module in {name.partition(".")[0] for name in names} - sys.stdlib_module_names - {"polyseme"}:
                found = {canonicalize_name(owner) for owner in owners.get(module, [module])}
                assert found & named, f"{path.name} imports {module}, which pyproject.toml does not ask for"


def test_the_core_works_without_the_extras(tmp_path: Path) -> None:
    extras = ["pyarrow", "datasets", "pandas", "zstandard", "spacy", "gensim", "scipy", "sklearn"]
    extras += ["hypothesis", "pytest"]
    done = python(
        f"import sys; sys.modules.update(dict.fromkeys({extras!r}))\n"
        "import polyseme\n"
        "for name in polyseme.__all__: getattr(polyseme, name)\n"
        f"(sentence,) = polyseme.load({str(TINY)!r}).embed_text('The bank.')\n"
        "print(sentence.layers.shape)\n",
        tmp_path,
    )
    assert done == ["(3, 3, 16)"]


def test_constraints_pin_the_core_and_the_extras_in_use() -> None:
    lines = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {canonicalize_name(line.partition("==")[0]) for line in lines if "==" in line and not line.startswith("#")}
    extras = PROJECT["optional-dependencies"]
    wanted = [
        *PROJECT["dependencies"],
        *extras["dev"],
        *extras["data"],
        *extras["text"],
        *extras["static"],
        *extras["tasks"],
    ]
    asked = {canonicalize_name(Requirement(text).name) for text in wanted}
    assert asked - pinned == set()
    assert "torch==2.13.0" in lines


def test_polyseme_and_a_loaded_model_survive_a_broken_torchvision(tmp_path: Path) -> None:
    broken = tmp_path / "torchvision"
    broken.mkdir()
    (broken / "__init__.py").write_text("raise RuntimeError('built for another torch')\n", encoding="utf-8")
    code = (
        "import polyseme\n"
        f"embedder = polyseme.load({str(TINY)!r})\n"
        "print(embedder.embed([['The', 'bank']])[0].layers.shape)\n"
        "try:\n    import torchvision\nexcept RuntimeError as error:\n    print(error)\n"
    )
    assert python(code, tmp_path) == ["(3, 2, 16)", "built for another torch"]


def test_the_wheel_holds_the_package_its_types_and_its_licence_and_no_tests(tmp_path: Path) -> None:
    pytest.importorskip("hatchling")
    build = "import sys, hatchling.build; print(hatchling.build.build_wheel(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", build, str(tmp_path)], capture_output=True, encoding="utf-8", cwd=REPOSITORY, check=True
    )
    with zipfile.ZipFile(tmp_path / done.stdout.split()[-1]) as wheel:
        names = wheel.namelist()
        (metadata_name,) = [name for name in names if name.endswith(".dist-info/METADATA")]
        about = wheel.read(metadata_name).decode("utf-8")
    sources = [path.relative_to(REPOSITORY).as_posix() for path in (REPOSITORY / "polyseme").rglob("*.py")]
    insight = REPOSITORY / "polyseme" / "insight"
    data = [path for path in insight.rglob("*") if path.suffix in (".txt", ".css", ".js")]
    assert len(data) >= 4
    sources += ["polyseme/py.typed", *(path.relative_to(REPOSITORY).as_posix() for path in data)]
    assert set(sources) <= set(names)
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert {name.partition("/")[0] for name in names} == {"polyseme", metadata_name.partition("/")[0]}
    assert f"\nVersion: {polyseme.__version__}\n" in about
    assert "\nRequires-Python: >=3.11\n" in about


def test_the_citation_names_this_version() -> None:
    citation = (REPOSITORY / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {polyseme.__version__}\n" in citation

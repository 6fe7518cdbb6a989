"""The README and the pages of docs/ are run and checked, so that what they show is what a reader gets.

What runs, in a page's order, in one namespace a page and in a scratch folder that holds `examples/` and `tests/data/`:
every ```pycon block (as doctest), every ```python or ```bash block right after `<!-- run -->`, and the README's
`<!-- newcomer: run -->` block without its pip line. Every `polyseme VERB --option` that a page names must exist, and
a block after `<!-- help: VERB -->` must be what `polyseme VERB --help` prints (`python docs/quote_help.py` writes it).
"""

from __future__ import annotations

import doctest
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
QUOTE_HELP = runpy.run_path(str(REPOSITORY / "docs" / "quote_help.py"))  # a script, no module of ours
PAGES = [
    *sorted(REPOSITORY.glob("README*.md")),
    REPOSITORY / "CONTRIBUTING.md",
    *sorted((REPOSITORY / "docs").glob("*.md")),
]
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(REPOSITORY).as_posix())

BLOCK = re.compile(r"(?:<!-- (?P<mark>[^>]+) -->\s*)?^```(?P<kind>\w*)\n(?P<text>.*?)^```$", re.M | re.S)


class Block(NamedTuple):
    """A fenced block: the comment right before it, its language, its text and the line where the text starts."""

    mark: str
    kind: str
    text: str
    line: int


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(found["mark"] or "", found["kind"], found["text"], text.count("\n", 0, found.start("text")) + 1)
        for found in BLOCK.finditer(text)
    ]


def is_run(block: Block) -> bool:
    return block.kind == "pycon" or block.mark in {"run", "newcomer: run"}


def run_doctest(block: Block, page: Path, namespace: dict[str, object]) -> None:
    examples = doctest.DocTestParser().get_examples(block.text)
    test = doctest.DocTest(examples, namespace, page.name, str(page), block.line - 1, None)
    test.globs = namespace  # DocTest makes a copy; later blocks of the page need what this one defines
    problems: list[str] = []
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=problems.append, clear_globs=False)
    assert problems == [], "".join(problems)


def run_bash(block: Block, page: Path) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("this page's commands need bash")
    script = "".join(line for line in block.text.splitlines(keepends=True) if not line.startswith("pip install"))
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    done = subprocess.run(
        [bash, "-euo", "pipefail", "-c", script.encode()], capture_output=True, env={**os.environ, "PATH": path}
    )
    assert done.returncode == 0, f"{page.name}:{block.line}\n{(done.stdout + done.stderr).decode('utf-8', 'replace')}"


@each_page
def test_the_examples_of_a_page_run_and_print_what_it_shows(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runnable = [block for block in blocks(page) if is_run(block)]
    if runnable:
        shutil.copytree(REPOSITORY / "examples", tmp_path / "examples")
        shutil.copytree(REPOSITORY / "tests" / "data", tmp_path / "tests" / "data")
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": "__main__"}
    for block in runnable:
        if block.kind == "pycon":
            run_doctest(block, page, namespace)
        elif block.kind == "python":
            exec(compile("\n" * (block.line - 1) + block.text, str(page), "exec"), namespace)
        else:
            run_bash(block, page)


def commands(page: Path) -> list[list[str]]:
    """Every command line of ours that a page names, in fenced blocks and in `inline code`, as words."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line.strip().removeprefix("$ ") for block in BLOCK.finditer(text) for line in block["text"].splitlines()]
    lines += re.findall(r"`([^`\n]+)`", BLOCK.sub("", text))
    return [shlex.split(line, comments=True) for line in lines if re.match(r"(python -m )?polyseme [a-z]", line)]


@each_page
def test_every_verb_and_option_that_a_page_names_exists(page: Path) -> None:
    named = [words[words.index("polyseme") + 1 :] for words in commands(page)]
    if not named:
        return
    verbs = {verb: QUOTE_HELP["help_of"](verb) for verb in QUOTE_HELP["verbs"]()}
    for verb, *arguments in named:
        if arguments and f"{verb} {arguments[0]}" in verbs:  # a verb of a group
            verb, *arguments = f"{verb} {arguments[0]}", *arguments[1:]
        assert verb in verbs, f"{page.name} names the verb {verb!r}; the program has {sorted(verbs)}"
        for option in (word.partition("=")[0] for word in arguments if re.match(r"--?[A-Za-z]", word)):
            known = re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", verbs[verb])
            assert known, f"{page.name} names `polyseme {verb} {option}`, and its --help does not"


@each_page
def test_quoted_help_is_what_the_program_prints(page: Path) -> None:
    for block in blocks(page):
        if block.mark.startswith("help: "):
            assert block.text == QUOTE_HELP["help_of"](block.mark.removeprefix("help: ")), (
                "run python docs/quote_help.py"
            )


LEFT_OUT = "[...]"  # a line that stands for any number of lines


@each_page
def test_quoted_output_is_what_the_program_prints(page: Path) -> None:
    for block in blocks(page):
        if not block.mark.startswith("output of: polyseme "):
            continue
        command = [sys.executable, "-m", "polyseme", *shlex.split(block.mark.removeprefix("output of: polyseme "))]
        done = subprocess.run(command, capture_output=True, check=True, env={**os.environ, "PYTHONIOENCODING": "utf-8"})
        rest = done.stdout.decode("utf-8")
        for part in re.split(rf"^{re.escape(LEFT_OUT)}\n", block.text, flags=re.M):
            assert part in rest, f"{page.name}:{block.line}: this is not printed (any more):\n{part}"
            rest = rest.split(part, 1)[1]

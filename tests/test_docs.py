"""The code in the documentation is run, and prints what the page says.

The Python blocks of a page run in order, in one module; a block that defines ``main`` is run with
``trio.run``, on a clock that jumps over waits. A block of text right after it is what it prints. A
block that starts processes is a program: it is run as one. Above a block, comments that readers do
not see make exceptions: ``<!-- only defined: why -->`` does not call its ``main``, and
``<!-- a fragment: why -->`` is not run at all.
"""

import importlib
import itertools
import logging
import re
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import trio

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted(DOCS.glob("*.md"))
BLOCK = re.compile(
    r"(?:<!-- (?P<exception>a fragment|only defined): [^\n]+ -->\n)?"
    r"```python\n(?P<code>.*?)```\n"
    r"(?:\n```text\n(?P<printed>.*?)```\n)?",
    re.DOTALL,
)


class Block(NamedTuple):
    exception: str
    code: str
    printed: str
    line: int


def blocks(page: Path) -> list[Block]:
    """The Python blocks of a page, with the numbers of their first lines."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(
            found["exception"] or "",
            found["code"],
            found["printed"] or "",
            text.count("\n", 0, found.start("code")) + 1,
        )
        for found in BLOCK.finditer(text)
    ]


def test_every_block_is_found():
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert len(blocks(page)) == len(re.findall(r"^ *```+ *\{?py", text, re.MULTILINE)), (
            page.name
        )
        shown = [block for block in blocks(page) if block.printed]
        assert len(shown) == text.count("```text\n"), page.name


def is_program(block: Block) -> bool:
    return "__main__" in block.code


@pytest.fixture
def own_logging() -> Iterator[None]:
    """A page may set what is logged: for itself, not for the tests after it."""
    yield
    logging.getLogger("poolder_trio").setLevel(logging.NOTSET)


@pytest.mark.usefixtures("own_logging")
@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p)], ids=lambda page: page.stem)
def test_blocks_run_and_print_what_the_page_says(page, capsys, monkeypatch):
    module = types.ModuleType(page.stem)
    monkeypatch.setitem(sys.modules, page.stem, module)
    for block in blocks(page):
        # Errors show the line of the page.
        code = compile("\n" * (block.line - 1) + block.code, str(page), "exec")
        if is_program(block) or block.exception == "a fragment":
            continue
        vars(module).pop("main", None)
        exec(code, vars(module))  # noqa: S102  # it is what the page tells readers to run
        main = vars(module).get("main")
        if main is not None and not block.exception:
            trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
        assert capsys.readouterr().out == block.printed, f"{page.name}:{block.line}"


@pytest.mark.server
@pytest.mark.parametrize(
    ("page", "block"),
    [
        pytest.param(page, block, id=f"{page.stem}-{number}")
        for page in PAGES
        for number, block in zip(itertools.count(1), filter(is_program, blocks(page)), strict=False)
    ],
)
def test_programs_run_and_print_what_the_page_says(page, block, tmp_path):
    script = tmp_path / "program.py"
    script.write_text(block.code, encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        cwd=tmp_path,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ran.stdout, ran.stderr) == (block.printed, ""), page.name


@pytest.mark.once
def test_the_page_of_benchmarks_says_and_draws_what_is_demanded_and_was_measured(monkeypatch):
    """Ratios only: figures of other kinds say more about the machine."""
    monkeypatch.syspath_prepend(DOCS.parent)  # benchmarks are not installed
    topics = importlib.import_module("benchmarks.__main__").TOPICS
    text = (DOCS / "benchmarks.md").read_text(encoding="utf-8")
    said = re.findall(r"^(\|.*x \|) [\d.]+x \|$", text, re.MULTILINE)
    demanded = [
        f"| `{topic}` | {contest.contestants[0].name} | {each.name} | {each.verdict(0, 0)[0]} |"
        for topic, contests in topics.items()
        for contest in contests
        for each in contest.contestants
        if each.least is not None or each.most is not None
    ]
    assert said == list(dict.fromkeys(demanded))
    for topic in topics:
        assert f"`{topic}`" in text.partition("## What is demanded")[0], topic
    picture = importlib.import_module("benchmarks.bars").draw(text)
    assert picture == (DOCS / "ratios.svg").read_text(encoding="utf-8"), "python -m benchmarks.bars"

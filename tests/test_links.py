"""Every link in the documentation leads somewhere; what is said of those that lead outside."""

import json
import re
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
FENCE = re.compile(r"^ *(```+).*?^ *\1$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[(?:[^\[\]]|\[[^\]]*\])*\]\(<?([^()\s>]+)>?\)")
HEADING = re.compile(r"^(#+) (.+)$", re.MULTILINE)
#: How deep headings have anchors on the pages that Sphinx makes: `myst_heading_anchors`.
DEPTH = 2


@cache
def prose(page: Path) -> str:
    """Return a page without its code, line for line."""
    text = page.read_text(encoding="utf-8")
    return FENCE.sub(lambda fenced: "\n" * fenced[0].count("\n"), text)


def links(page: Path) -> list[str]:
    """Return what a page links to within this repository."""
    found = LINK.findall(re.sub(r"(`+).*?\1", "`code`", prose(page), flags=re.DOTALL))
    return [target for target in found if not re.match(r"[a-z]+:", target)]


@cache
def anchors(page: Path) -> frozenset[str]:
    """Return the anchors of a page's headings, as both GitHub and MyST make them."""
    seen: Counter[str] = Counter()
    made = set()
    for level, title in HEADING.findall(prose(page)):
        shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title).strip().lower()
        slug = re.sub(r"[^\w\- ]", "", shown).replace(" ", "-")
        if DOCS not in page.parents or len(level) <= DEPTH:
            made.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return frozenset(made)


def fault(page: Path, link: str) -> str | None:
    """Return what is wrong with a link, or ``None``."""
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    if not target.exists():
        return f"{link}: there is no such file"
    if anchor and anchor not in anchors(target):
        return f"{link}: expected one of {sorted(anchors(target))}"
    return None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_inside_leads_somewhere(page):
    assert [found for link in links(page) if (found := fault(page, link))] == []


def test_links_are_found():
    total = Counter(bool(link.partition("#")[2]) for page in PAGES for link in links(page))
    assert total[False] > 50  # else the pattern is wrong
    assert total[True] > 5


def test_anchors_are_as_deep_as_sphinx_makes_them():
    assert f"\nmyst_heading_anchors = {DEPTH}\n" in (DOCS / "conf.py").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("link", "is_right"),
    [
        ("page.md", True),
        ("page.md#two-words", True),
        ("#two-words", True),
        ("#run-it-now", True),
        ("#twice-1", True),
        ("#twice-2", False),
        ("#a-comment", False),
        ("page.md#no", False),
        ("other.md", False),
    ],
)
def test_a_link_that_leads_nowhere_is_found(tmp_path, link, is_right):
    page = tmp_path / "page.md"
    page.write_text(
        f"# Two words\n## `run` [it](x), *now*!\n## Twice\n## Twice\n"
        f"```python\n# a comment [no](link.md)\n```\n`[no](link.md)`\n[a\nlink]({link})\n",
        encoding="utf-8",
    )
    assert links(page) == ["x", link]
    assert (fault(page, link) is None) is is_right


#: How Sphinx's linkcheck has worded these, asked of a server of ours, and of none.
SAID = [
    ("working", "", "fine"),
    ("redirected", "https://example.org/new", "fine"),
    ("ignored", "service unavailable", "fine"),
    ("broken", "404 Client Error: Not Found for url: https://example.org/x", "BROKEN"),
    ("broken", "410 Client Error: Gone for url: https://example.org/x", "BROKEN"),
    ("broken", "400 Client Error: Bad Request for url: https://example.org/x", "BROKEN"),
    ("broken", "Anchor 'nothere' not found", "BROKEN"),
    ("broken", "Exceeded 30 redirects.", "BROKEN"),
    ("broken", "", "BROKEN"),
    ("broken", "unauthorized", "not known"),
    ("broken", "403 Client Error: Forbidden for url: https://example.org/x", "not known"),
    ("broken", "429 Client Error: Too Many Requests for url: https://example.org/x", "not known"),
    ("broken", "500 Server Error: Internal Server Error for url: https://a.org/x", "not known"),
    (
        "broken",
        (
            "HTTPSConnectionPool(host='example.org', port=443): Max retries exceeded with url: / "
            "(Caused by NameResolutionError(\"HTTPSConnection(host='example.org', port=443): "
            "Failed to resolve 'example.org' ([Errno -2] Name or service not known)\"))"
        ),
        "not known",
    ),
    (
        "broken",
        "('Connection aborted.', RemoteDisconnected('Remote end closed connection'))",
        "not known",
    ),
    ("timeout", "HTTPConnectionPool(host='a.org', port=80): Read timed out.", "not known"),
]


@pytest.mark.parametrize(("status", "info", "verdict"), SAID)
def test_a_link_outside_is_broken_if_it_was_answered_so(tmp_path, status, info, verdict):
    found = {"filename": "index.md", "lineno": 3, "status": status, "code": 0}
    output = tmp_path / "output.json"
    output.write_text(json.dumps({**found, "uri": "https://a.org/x", "info": info}) + "\n")
    judged = subprocess.run(
        [sys.executable, "-W", "error", str(DOCS / "links.py"), str(output)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    said = "" if verdict == "fine" else f"{verdict} index.md:3: https://a.org/x: {info}\n"
    assert (judged.stdout, judged.stderr) == (said, "")
    assert judged.returncode == (verdict == "BROKEN")

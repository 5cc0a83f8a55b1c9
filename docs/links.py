# ruff: noqa: INP001, T201  # a script, which prints
"""Judge what Sphinx's linkcheck found: `python docs/links.py docs/_build/linkcheck/output.json`.

A link that is answered with an error is broken, and fails. Where no answer came there may be no
network here, or trouble there; and who asks for a login, or for fewer requests, does not say that
there is no such page. Such links are only listed.
"""

import json
import re
import sys
from pathlib import Path

#: How linkcheck words what says nothing about a link. Anything else that it calls broken is.
SAYS_NOTHING = re.compile(
    r"""
    ConnectionPool\( | Connection.(aborted|broken)  # words of urllib3: there was no answer
    | ^(401|403|408|429)\ Client\ Error | ^unauthorized  # not for us, or not now
    | ^5\d\d\ Server\ Error
    """,
    re.VERBOSE,
)


def judged(lines: list[str]) -> tuple[list[str], list[str]]:
    """Return the links that are broken, and those of which nothing is known, with what was said."""
    broken: list[str] = []
    unknown: list[str] = []
    for line in lines:
        link = json.loads(line)
        if link["status"] in {"broken", "timeout"}:
            says_nothing = link["status"] == "timeout" or SAYS_NOTHING.search(link["info"])
            where = unknown if says_nothing else broken
            where.append(f"{link['filename']}:{link['lineno']}: {link['uri']}: {link['info']}")
    return broken, unknown


def main() -> int:
    """Print both lists; return 1 if a link is broken."""
    broken, unknown = judged(Path(sys.argv[1]).read_text(encoding="utf-8").splitlines())
    for link in unknown:
        print("not known", link)
    for link in broken:
        print("BROKEN", link)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())

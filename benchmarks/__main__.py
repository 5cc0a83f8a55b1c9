"""`python -m benchmarks [NAME ...] [--repeats N] [--quick]`."""

from __future__ import annotations

import argparse
import platform
import sys
from importlib import metadata

from benchmarks import (
    batches,
    bounded,
    calls,
    casts,
    elsewhere,
    functions,
    lag,
    memory,
    options,
    overload,
    schedules,
    states,
)
from benchmarks.harness import show

TOPICS = {
    "casts": casts.CONTESTS,
    "options": options.CONTESTS,
    "calls": calls.CONTESTS,
    "bounded": bounded.CONTESTS,
    "batches": batches.CONTESTS,
    "schedules": schedules.CONTESTS,
    "functions": functions.CONTESTS,
    "elsewhere": elsewhere.CONTESTS,
    "overload": overload.CONTESTS,
    "states": states.CONTESTS,
    "memory": memory.CONTESTS,
    "lag": lag.CONTESTS,
}
REPEATS = 7
QUICK = 200


def main() -> int:
    """Run what is asked for; return 1 if something demanded does not hold."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure against peers in one run. Exit with 1 if a demand is missed.",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(TOPICS)}; all")
    parser.add_argument("--repeats", type=int, default=REPEATS, help=f"of each ({REPEATS})")
    parser.add_argument("--quick", action="store_true", help="see that all work; judge nothing")
    asked = parser.parse_args()
    if unknown := [name for name in asked.names if name not in TOPICS]:
        parser.error(f"NAME must be one of {', '.join(TOPICS)}, got {', '.join(unknown)}")
    if asked.repeats < 1:
        parser.error(f"--repeats must be at least 1, got {asked.repeats}")
    versions = f"Python {platform.python_version()}, Trio {metadata.version('trio')}"
    print(f"{versions}: medians of {asked.repeats}")
    held = [
        show(contest, repeats=asked.repeats, most=QUICK if asked.quick else None)
        for name in asked.names or TOPICS
        for contest in TOPICS[name]
    ]
    return 0 if asked.quick or all(held) else 1


if __name__ == "__main__":
    sys.exit(main())

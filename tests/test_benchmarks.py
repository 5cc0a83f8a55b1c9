"""The benchmarks work, and count every job. How fast anything is, is not for a test to say."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

pytestmark = pytest.mark.once


JUDGE = """
import sys
from benchmarks.harness import Contest, Contestant, show

contestants = [Contestant("one", lambda n: 10.0), Contestant("other", lambda n: 20.0, {demand})]
sys.exit(not show(Contest("title", "unit", 1, contestants), repeats=1))
"""


def python(*args):
    """Run Python where the benchmarks are: they are not installed."""
    return subprocess.run(
        [sys.executable, "-W", "error", *args],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def bench(*args):
    """Run the benchmarks as `nox -s bench` does."""
    return python("-m", "benchmarks", *args)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "batches",
        "bounded",
        "calls",
        "casts",
        "elsewhere",
        "functions",
        "lag",
        "memory",
        "options",
        "overload",
        "states",
    ],
)
def test_every_contestant_handles_every_job(name):
    done = bench(name, "--quick", "--repeats", "1")
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    tables = done.stdout.split("\n\n")[1:]
    assert tables
    for table in tables:
        title, head, *rows = table.strip().splitlines()
        assert title
        assert "ratio" in head
        assert len(rows) > 1


@pytest.mark.slow
def test_a_short_run_is_not_judged():
    assert not re.search("holds|MISSED", bench("casts", "--quick", "--repeats", "1").stdout)


@pytest.mark.parametrize(
    ("demand", "holds"),
    [
        ("least=2", True),
        ("least=2.1", False),
        ("most=2", True),
        ("most=1.9", False),
        ("limit=20", True),
        ("limit=19", False),
    ],
)
def test_a_demand_that_is_missed_shows_and_fails_the_run(demand, holds):
    done = python("-c", JUDGE.format(demand=demand))
    assert done.returncode == (not holds)
    assert ("MISSED" not in done.stdout) is holds
    assert ("holds" in done.stdout) is holds


@pytest.mark.parametrize("args", [["nothing"], ["casts", "--repeats", "0"]])
def test_what_can_not_be_run_is_refused(args):
    done = bench(*args)
    assert done.returncode == 2
    assert "must be" in done.stderr

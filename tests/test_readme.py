"""What the README shows is run, and prints what it says."""

import re
import subprocess
import sys
from pathlib import Path

import attrs

import poolder_trio
from poolder_trio import (
    AsyncPool,
    Batcher,
    Cron,
    GenPool,
    JobPool,
    Pool,
    Queue,
    Rate,
    Restart,
    Retry,
    Scheduler,
    Tasker,
    Worker,
)

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_example_is_short_and_prints_what_the_readme_says(tmp_path):
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    body = [line for line in example.splitlines() if line.strip()]
    assert len(body) <= 13  # ten lines, and the imports
    script = tmp_path / "example.py"
    script.write_text(example, encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    (said,) = re.findall(r"It prints `(.*?)`", README)
    assert ran.stdout == said + "\n"
    assert ran.stderr == ""


def test_every_name_and_option_in_the_table_exists():
    table = "".join(line for line in README.splitlines(keepends=True) if line.startswith("| "))
    for name in set(re.findall(r"\b([A-Z]\w+)\(", table)) - {"MyWorker"}:
        assert hasattr(poolder_trio, name), name
    options = {
        name
        for component in (Pool, Worker, Tasker, JobPool, AsyncPool, Batcher, Scheduler, GenPool)
        for name in component.OPTIONS
    }
    for described in (Cron, Queue, Rate, Retry, Restart):
        options |= {field.name for field in attrs.fields(described)}
    assert set(re.findall(r"\b(\w+) ?=", table)) <= options
    for method in set(re.findall(r"pool\.(\w+)", table)):
        assert hasattr(Pool, method) or hasattr(AsyncPool, method) or hasattr(Batcher, method), (
            method
        )
    for method in set(re.findall(r"tasker\.(\w+)", table)) | {"execute", "call"}:
        assert hasattr(Tasker, method), method
    for function in set(re.findall(r"await (\w+)\(", table)):
        assert hasattr(poolder_trio, function), function


def test_what_the_readme_links_to_exists():
    for path in re.findall(r"\]\(([^)]+)\)", README):
        assert (ROOT / path).is_file(), path

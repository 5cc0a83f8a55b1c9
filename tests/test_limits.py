"""A test that hangs fails in seconds, alone, and says where it hung."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.server, pytest.mark.slow]

HANGING = """
import itertools, time
import pytest, trio
from poolder_trio.testing import simulate

async def test_parked_on_virtual_time(autojump_clock):
    await trio.sleep_forever()

async def test_parked_on_real_time():
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever, name="the one who waits")

async def test_shielded(autojump_clock):
    with trio.CancelScope(shield=True):
        await trio.sleep_forever()

async def test_spinning():
    for _ in itertools.count():
        pass

async def test_checkpointing(autojump_clock):
    while True:
        await trio.lowlevel.checkpoint()

def test_plain():
    trio.run(trio.sleep_forever)

def test_without_trio():
    time.sleep(100)

async def test_swallowing(autojump_clock):
    try:
        await trio.sleep_forever()
    finally:
        pass

def test_after_them():
    pass

async def test_of_trio_after_them(autojump_clock):
    await trio.sleep(1000)
"""


def run(folder, *options):
    (folder / "conftest.py").write_text(
        Path(__file__).with_name("conftest.py").read_text(encoding="utf-8"), encoding="utf-8"
    )
    (folder / "pytest.ini").write_text("[pytest]\ntrio_mode = true\n", encoding="utf-8")
    (folder / "test_hanging.py").write_text(HANGING, encoding="utf-8")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rf", "-p", "no:cacheprovider", *options],
        cwd=folder,
        env={**os.environ, "TEST_LIMIT": "0.5", "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=100,
        check=False,
    ).stdout


@pytest.mark.parametrize("options", [(), ("-n", "2")], ids=["alone", "in two processes"])
def test_each_kind_of_hang_fails_alone_and_is_told(tmp_path, options):
    told = run(tmp_path, *options)
    assert "8 failed, 2 passed" in told, told
    assert told.count("took longer than 0.5 s; it was at") >= 8
    assert "task the one who waits" in told

"""A state in a file: durable when answered, committed in groups, and careful with files."""

import gc
import os
import signal
import sqlite3
import stat
import sys
import time
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
import trio

from poolder_trio import SQLiteState
from poolder_trio.backends import sqlite_file
from poolder_trio.backends.line import Line
from poolder_trio.backends.sqlite_file import APPLICATION_ID, StateFile

OPEN_FILES = Path("/proc/self/fd")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state of ü?#%20.db"  # what a URI would read otherwise


def all_of(folder):
    return {each.name: each.read_bytes() for each in folder.iterdir() if each.is_file()}


async def refuses(path, error, message):
    """Loading and storing raise ``error``, which names the path, and no file is changed.

    Whoever reads a database in WAL mode may leave the two empty files of that mode beside it.
    """
    before = all_of(path.parent)
    for call in (SQLiteState(path).load, partial(SQLiteState(path).store, "state", 0)):
        with pytest.raises(error, match=message) as caught:
            await call()
        assert str(path) in str(caught.value)
    assert before.items() <= all_of(path.parent).items()
    gc.collect()  # a connection left open would warn


# -- kill -9


WRITER = """
import sys, trio
from poolder_trio import SQLiteState

async def main(path, callers):
    async with SQLiteState(path).open() as state:
        value, version = await state.load()
        head = value or 0

        async def write():
            nonlocal head
            while True:
                mine, head = head, head + 1
                assert await state.store([mine + 1] * 500, mine)
                sys.stdout.write(f"{mine + 1}\\n")
                sys.stdout.flush()

        async with trio.open_nursery() as nursery:
            for _ in range(callers):
                nursery.start_soon(write)

trio.run(main, sys.argv[1], int(sys.argv[2]))
"""


@pytest.mark.server
@pytest.mark.slow
@pytest.mark.parametrize("callers", [1, 32])
async def test_killed_while_it_writes_it_keeps_all_that_was_answered(path, callers):
    for patience in (0.0, 0.01, 0.05):
        path.unlink(missing_ok=True)
        heard = b""
        with trio.fail_after(60):
            process = await trio.lowlevel.open_process(
                [sys.executable, "-c", WRITER, str(path), str(callers)], stdout=-1
            )
            async with process.stdout:
                heard += await process.stdout.receive_some()
                await trio.sleep(patience)
                process.send_signal(signal.SIGKILL)
                assert await process.wait() == -signal.SIGKILL
                async for more in process.stdout:
                    heard += more
            answered = max(map(int, heard.decode().rpartition("\n")[0].split()))
            state, version = await SQLiteState(path).load()
            assert answered <= version <= answered + callers
            assert state == [version] * 500
            assert await SQLiteState(path).store("next", version)


# -- groups


@pytest.fixture
def transactions(monkeypatch):
    """The number of calls in each transaction, as they come."""
    sizes = []
    settle = StateFile.settle

    def counting(self, asks, seconds):
        sizes.append(len(asks))
        return settle(self, asks, seconds)

    monkeypatch.setattr(StateFile, "settle", counting)
    return sizes


async def test_stores_that_wait_together_are_committed_together(path, transactions):
    async with SQLiteState(path).open() as state:
        done = []

        async def store(number):
            done.append(await state.store(number, number))

        for number in range(200):  # in order, as Trio starts tasks in none
            async with trio.open_nursery() as nursery:
                nursery.start_soon(store, number)
                await trio.testing.wait_all_tasks_blocked()
            if number == 2:
                break
        del transactions[:], done[:]
        expected = iter(range(3, 203))

        async def store_next():
            number = next(expected)
            done.append(await state.store(number, number))

        async with trio.open_nursery() as nursery:
            for _ in range(200):
                nursery.start_soon(store_next)
        assert done == [True] * 200
        assert sum(transactions) == 200
        assert len(transactions) <= 3
        assert await state.load() == (202, 203)


async def test_what_is_answered_is_on_disk(path):
    async with SQLiteState(path).open() as state:
        assert await state.store("state", 0)
        with closing(sqlite3.connect(path)) as other:
            assert other.execute("SELECT key, version, data FROM state").fetchall() == [
                ("state", 1, b'"state"')
            ]
            assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_commits_are_synchronous(path):
    with closing(StateFile(path, "state")) as file:
        assert file._connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL


async def test_each_key_is_a_state_of_its_own(path):
    async with (
        SQLiteState(path, key="a").open() as first,
        SQLiteState(str(path), key="b").open() as second,
    ):
        assert await first.store(1, 0)
        assert await second.load() == (None, 0)
        assert await second.store(2, 0)
        assert await first.load() == (1, 1)


@pytest.mark.skipif(not OPEN_FILES.is_dir(), reason="no /proc shows which files are open")
async def test_when_its_block_is_left_nothing_of_it_is_open(path):
    def count():
        return sum(str(each.resolve()).startswith(str(path)) for each in OPEN_FILES.iterdir())

    async with SQLiteState(path).open() as state:
        await state.store("state", 0)
        assert count() > 0
    assert count() == 0
    assert [each.name for each in path.parent.iterdir()] == [path.name]


# -- files that can't be used


@pytest.mark.parametrize("content", [b"notes\n" * 500, b"n" * 511, b"n" * 512, b"n", b"\0" * 5000])
async def test_a_file_that_is_no_database_is_left_alone(path, content):
    path.write_bytes(content)
    await refuses(path, ValueError, "can't be used, and is left as it is: file is not a database")


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE state (key, version, data)",
        "PRAGMA application_id = 7",
        "PRAGMA user_version = 1",
        "PRAGMA journal_mode = WAL; CREATE TABLE theirs (a)",
    ],
)
async def test_a_database_of_another_program_is_left_alone(path, sql):
    with closing(sqlite3.connect(path)) as other:
        other.executescript(sql)
    await refuses(path, ValueError, "left as it is: it is a database of another program")


async def test_a_file_of_a_later_layout_is_left_alone(path):
    with closing(sqlite3.connect(path)) as other:
        other.executescript(f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 2")
    await refuses(path, ValueError, "its layout is 2, and this version of poolder_trio knows 1")


async def test_a_damaged_file_is_left_alone(path):
    assert await SQLiteState(path).store("x" * 50_000, 0)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    await refuses(path, ValueError, "can't be used, and is left as it is")
    path.write_bytes(whole[:4096] + b"\xaa" * 4096 + whole[8192:])
    await refuses(path, ValueError, "can't be used, and is left as it is")
    path.write_bytes(whole)
    assert await SQLiteState(path).load() == ("x" * 50_000, 1)


async def test_a_row_that_others_changed_is_left_alone(path):
    assert await SQLiteState(path).store("state", 0)
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("UPDATE state SET version = 'new'")
    await refuses(path, ValueError, "its row 'state' has been changed by other hands")


async def test_a_file_that_turns_bad_while_it_is_open_is_told(path):
    async with SQLiteState(path).open() as state:
        assert await state.store("state", 0)
        with closing(sqlite3.connect(path)) as other:
            other.execute("DROP TABLE state")
        for _ in range(2):
            with pytest.raises(OSError, match="can't be used: no such table") as caught:
                await state.store("next", 1)
            assert str(path) in str(caught.value)


async def test_what_is_no_file_and_what_has_no_folder_is_told(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").touch()
    await refuses(tmp_path / "folder", ValueError, "it is no file")
    with pytest.raises(OSError, match=r"missing.*unable to open database file"):
        await SQLiteState(tmp_path / "missing" / "state.db").load()


async def test_an_empty_file_or_database_becomes_one(path):
    path.touch()
    assert await SQLiteState(path).load() == (None, 0)
    assert await SQLiteState(path).store("state", 0)


async def test_a_file_that_others_keep_locked_is_told_and_works_afterwards(path, monkeypatch):
    monkeypatch.setattr(Line, "PATIENCE", 0.1)
    async with SQLiteState(path).open() as state:
        assert await state.store("state", 0)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(TimeoutError, match=r"locked by others for 0\.1 s") as caught:
                await state.store("next", 1)
            assert str(path) in str(caught.value)
            assert await state.load() == ("state", 1)  # readers do not wait for a writer
            other.execute("ROLLBACK")
        assert await state.store("next", 1)


async def test_a_store_that_is_cancelled_while_others_keep_the_lock_says_what_became_of_it(path):
    async with SQLiteState(path).open() as state:
        await state.store("first", 0)
        other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        with closing(other):
            other.execute("BEGIN IMMEDIATE")

            def let_go():
                time.sleep(0.2)
                other.execute("ROLLBACK")

            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.to_thread.run_sync, let_go)
                with trio.move_on_after(0.05) as scope:
                    assert await state.store("second", 1)
                assert not scope.cancelled_caught
        assert await state.load() == ("second", 2)


async def test_many_make_the_same_new_file_at_once(path):
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            for number in range(20):
                described = SQLiteState(path, key=str(number))
                nursery.start_soon(described.store, number, 0)
    for number in range(20):
        assert await SQLiteState(path, key=str(number)).load() == (number, 1)


# -- a path is a path


@pytest.mark.parametrize(
    "name", ["file:state.db?mode=memory", "file:state.db", "file::memory:?cache=shared", "a?b#c%20"]
)
async def test_a_path_is_taken_as_it_is_and_never_for_a_uri(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    for path in (name, Path(name)):
        assert await SQLiteState(path, key=repr(path)).store("state", 0)
        assert await SQLiteState(path, key=repr(path)).load() == ("state", 1)
    assert [each.name for each in tmp_path.iterdir()] == [name]


@pytest.mark.skipif(os.name == "nt", reason="Windows knows no such modes")
async def test_a_new_file_and_those_beside_it_are_for_their_owner_alone(path):
    def modes():
        return {each.name: stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()}

    before = os.umask(0)
    try:
        async with SQLiteState(path).open() as state:
            assert await state.store("state", 0)
            assert modes() == {path.name + end: 0o600 for end in ("", "-wal", "-shm")}
        assert modes() == {path.name: 0o600}
        path.chmod(0o640)  # whoever wants others to read it says so, and is left alone
        assert await SQLiteState(path).store("next", 1)
        assert modes() == {path.name: 0o640}
        link = path.with_name("link")
        link.symlink_to(path.with_name("target"))
        assert await SQLiteState(link).store("state", 0)
        assert modes()["target"] == 0o600
    finally:
        os.umask(before)


# -- files that were made to be read for ever

_MARK = f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 1;"
_ENDLESS = "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i FROM n) SELECT"
_OURS = sqlite_file._TABLE


@pytest.mark.parametrize(
    "sql",
    [
        f"CREATE VIEW state AS {_ENDLESS} 'x' AS key, i AS version, x'' AS data FROM n",
        f"CREATE VIEW State AS {_ENDLESS} 'x' AS key, i AS version, x'' AS data FROM n",
        (
            f"{_OURS}; CREATE TRIGGER forever AFTER INSERT ON state "
            f"BEGIN INSERT INTO state {_ENDLESS} i, i, x'' FROM n; END"
        ),
        f"{_OURS}; CREATE VIEW other AS {_ENDLESS} i FROM n",
        f"{_OURS}; CREATE TABLE other (a, CHECK (length(zeroblob(a)) > 0))",
        f"{_OURS}; CREATE INDEX slow ON state (length(zeroblob(900000000)))",
        (
            "CREATE TABLE state (key TEXT PRIMARY KEY, version INTEGER NOT NULL, "
            "data BLOB GENERATED ALWAYS AS (zeroblob(900000000)))"
        ),
        "CREATE TABLE state (key, version, data)",
        "CREATE TABLE other (a)",
        "SELECT 1",
    ],
)
async def test_a_marked_file_with_anything_but_our_table_is_not_read(path, sql):
    with closing(sqlite3.connect(path)) as other:
        other.executescript(f"{_MARK} {sql}")
    with trio.fail_after(5):
        await refuses(path, ValueError, "not the one table that poolder_trio makes")


async def test_what_sqlite_itself_adds_is_ours(path):
    assert await SQLiteState(path).store("state", 0)
    with closing(sqlite3.connect(path)) as other:
        other.executescript("ANALYZE; VACUUM")
    assert await SQLiteState(path).store("next", 1)


# -- ten seconds in all


async def test_opening_a_locked_file_takes_the_patience_once(path, monkeypatch):
    monkeypatch.setattr(Line, "PATIENCE", 1.5)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        begun = time.monotonic()
        with pytest.raises(TimeoutError, match=r"locked by others for 1\.5 s"):
            await SQLiteState(path).load()
        assert 1.4 < time.monotonic() - begun < 2.5
        other.execute("ROLLBACK")


async def test_what_a_store_waits_in_line_counts_for_its_patience(path, monkeypatch):
    monkeypatch.setattr(Line, "PATIENCE", 1.5)
    async with SQLiteState(path).open() as state:
        assert await state.store("state", 0)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            took = []

            async def store():
                begun = time.monotonic()
                with pytest.raises(TimeoutError):
                    await state.store("next", 1)
                took.append(time.monotonic() - begun)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(store)
                await trio.sleep(0.1)
                nursery.start_soon(store)  # the first is under way: this one waits in line
            other.execute("ROLLBACK")
        assert len(took) == 2
        assert max(took) < 2.5


# -- options


@pytest.mark.parametrize("wrong", [None, 3, b"bytes"])
def test_a_path_is_a_str_or_a_path(wrong):
    with pytest.raises(TypeError, match=r"path must be the path of a file, got .* \(SQLiteState\)"):
        SQLiteState(wrong)


@pytest.mark.parametrize("wrong", ["", ":memory:"])
def test_a_path_is_that_of_a_file(wrong):
    with pytest.raises(ValueError, match=r"path must be the path of a file, got .* \(SQLiteState"):
        SQLiteState(wrong)


def test_a_key_is_a_str():
    with pytest.raises(TypeError, match=r"key must be a str, got 3 \(SQLiteState\)"):
        SQLiteState("state.db", key=3)

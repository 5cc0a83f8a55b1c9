"""The file of an SQLite state, as threads use it: one at a time."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from poolder_trio.backends.line import Line, settle

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from poolder_trio.backends.line import Answer, Ask

#: What marks a file as ours, in SQLite's own header: "ptst", and the layout of its tables.
APPLICATION_ID = int.from_bytes(b"ptst", "big")
LAYOUT = 1

_SMALLEST = 512  # bytes, of a page
_TABLE = "CREATE TABLE state (key TEXT PRIMARY KEY, version INTEGER NOT NULL, data BLOB NOT NULL)"
_STORE = (
    "INSERT INTO state VALUES (?, ?, ?) "
    "ON CONFLICT (key) DO UPDATE SET version = excluded.version, data = excluded.data"
)


#: Held while a file is made: to close it releases what this process has locked of it since.
_making = threading.Lock()


class Unfit(sqlite3.DatabaseError):
    """What is there is not ours, or is damaged."""


class StateFile:
    """An open file. All is durable when a method returns.

    Raises:
        sqlite3.Error: the file can't be used.
    """

    def __init__(self, path: Path, key: str) -> None:
        self._key = key
        #: SQLite's count of changes of what the file is made of, when it was last looked at.
        self._schema = -1
        # In full: as a relative path, SQLite may take "file:..." for a URI.
        place = Path(os.path.abspath(path))  # noqa: PTH100  # resolves no links
        until = time.monotonic() + Line.PATIENCE
        _inspect(place)
        _make(place)
        self._connection = sqlite3.connect(
            place, timeout=_left(until), isolation_level=None, check_same_thread=False
        )
        with ExitStack() as stack:
            stack.callback(self._connection.close)
            self._prepare(until)
            stack.pop_all()

    def close(self) -> None:
        """Close it."""
        self._connection.close()

    def settle(self, asks: Sequence[Ask], seconds: float) -> list[Answer]:
        """Return the answers to ``asks`` after one transaction for all of them.

        Args:
            asks: what is asked, in order.
            seconds: how long to wait for other processes to finish theirs.
        """
        self._wait_at_most(seconds)

        def look() -> list[Answer]:
            self._require_ours()
            return settle(*self._held(), asks)[0]

        if all(ask.expected is None for ask in asks):
            return self._within("BEGIN", look)

        def decide() -> list[Answer]:
            self._require_ours()
            before = self._held()
            answers, data, version = settle(*before, asks)
            if version != before[1]:
                self._connection.execute(_STORE, (self._key, version, data))
            return answers

        return self._within("BEGIN IMMEDIATE", decide)

    def _wait_at_most(self, seconds: float) -> None:
        self._connection.execute(f"PRAGMA busy_timeout = {seconds * 1000:.0f}")

    def _require_ours(self) -> None:
        """Raise `Unfit` if others have put something else in the place of the table since.

        SQLite counts changes of what a file is made of: only then there is more to look at.
        """
        schema = self._connection.execute("PRAGMA schema_version").fetchone()[0]
        if schema == self._schema:
            return
        found = "SELECT 1 FROM sqlite_master WHERE lower(name) = 'state'"
        if self._connection.execute(found).fetchone():  # else SQLite itself says that it is gone
            _is_new(self._connection)
            self._schema = schema

    def _held(self) -> tuple[bytes, int]:
        found = self._connection.execute(
            "SELECT data, version FROM state WHERE key = ?", (self._key,)
        ).fetchone()
        if found is None:
            return b"", 0
        data, version = found
        if not (isinstance(data, bytes) and isinstance(version, int) and version > 0):
            raise Unfit(f"its row {self._key!r} has been changed by other hands")
        return data, version

    def _within(self, begin: str, decide: Callable[[], list[Answer]]) -> list[Answer]:
        """Return what ``decide`` does, in one transaction."""
        execute = self._connection.execute
        execute(begin)
        try:
            result = decide()
            execute("COMMIT")
        finally:
            if self._connection.in_transaction:
                execute("ROLLBACK")
        return result

    def _prepare(self, until: float) -> None:
        if _is_new(self._connection):
            self._wait_at_most(_left(until))
            self._within("BEGIN IMMEDIATE", self._lay_out)
        self._use_wal(until)
        # In WAL mode NORMAL would leave the last commits to chance when the power fails.
        self._connection.execute("PRAGMA synchronous = FULL")

    def _lay_out(self) -> list[Answer]:
        if _is_new(self._connection):  # still so, now that no other process can lay it out
            self._connection.execute(_TABLE)
            self._connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            self._connection.execute(f"PRAGMA user_version = {LAYOUT}")
        return []

    def _use_wal(self, until: float) -> None:
        """Change to WAL mode, in which readers and a writer do not wait for one another."""
        # SQLite does not wait here for others who open the new file as well.
        while True:
            self._wait_at_most(_left(until))
            try:
                self._connection.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > until:
                    raise
                time.sleep(0.01)
            else:
                return


def _left(until: float) -> float:
    """Return the seconds to ``until``: however often SQLite is asked, they are one total."""
    return max(0.0, until - time.monotonic())


def _inspect(path: Path) -> None:
    """Raise `Unfit` unless a state can be in ``path``. It opens for reading, and writes nothing.

    Reading the header without SQLite would do harm: to close a file that another connection of
    this process has open releases its locks.
    """
    if not path.exists():
        return
    if not path.is_file():
        raise Unfit("it is no file")
    size = path.stat().st_size
    if not size:
        return
    if size < _SMALLEST:  # SQLite takes such a file for a new one
        raise Unfit("file is not a database")
    with closing(
        sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=Line.PATIENCE)
    ) as connection:
        if not _is_new(connection):
            found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if found != "ok":
                raise Unfit(found)


def _make(path: Path) -> None:
    """Make a file for its owner alone, if there is none. SQLite makes those beside it alike.

    Where it can't be made, it is SQLite that says so when it opens it.
    """
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
    with _making, suppress(OSError):
        os.close(os.open(path.resolve(), flags, 0o600))


def _is_new(connection: sqlite3.Connection) -> bool:
    """Tell whether the database is an empty one; raise `Unfit` if it is not ours."""

    def value(query: str) -> object:
        return connection.execute(query).fetchone()[0]

    if not connection.in_transaction:
        # Else somebody might lay it out between one look and the next.
        connection.execute("BEGIN")
        try:
            return _is_new(connection)
        finally:
            connection.execute("ROLLBACK")
    mark, layout = value("PRAGMA application_id"), value("PRAGMA user_version")
    if (mark, layout) == (APPLICATION_ID, LAYOUT):
        # Under the name of the table may be a view without an end, or one that has triggers. Names
        # that begin like this are SQLite's own.
        made = "SELECT type, name, sql FROM sqlite_master WHERE substr(name, 1, 7) <> 'sqlite_'"
        if connection.execute(made).fetchmany(2) != [("table", "state", _TABLE)]:
            raise Unfit("what it holds is not the one table that poolder_trio makes")
        return False
    if mark == APPLICATION_ID:
        raise Unfit(f"its layout is {layout}, and this version of poolder_trio knows {LAYOUT}")
    if mark or layout or value("SELECT count(*) FROM sqlite_master"):
        raise Unfit("it is a database of another program")
    return True

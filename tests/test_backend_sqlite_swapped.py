"""What others put in the place of a state's table while the file is open: refused, in time."""

import sqlite3
from contextlib import closing

import pytest
import trio

from poolder_trio import SQLiteState

VIEW = (
    "CREATE VIEW state AS WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) "
    "SELECT x AS key, x AS version, x AS data FROM n"
)
TRIGGER = "CREATE TRIGGER t AFTER INSERT ON state BEGIN SELECT abs(version) FROM state; END"
SWAPS = {
    "view": ["DROP TABLE state", VIEW],
    "trigger": [TRIGGER],
    "dropped": ["DROP TABLE state"],
    "renamed": ["ALTER TABLE state RENAME TO other"],
    "index": ["CREATE INDEX more ON state (version)"],
}


@pytest.mark.parametrize("do", ["load", "store"])
@pytest.mark.parametrize("swap", SWAPS)
async def test_what_is_put_in_the_place_of_the_table_meanwhile_is_refused(do, swap, tmp_path):
    path = tmp_path / "state.db"
    with trio.fail_after(8):
        async with SQLiteState(path).open() as state:
            assert await state.store(1, 0)
            with closing(sqlite3.connect(path)) as other:
                for each in SWAPS[swap]:
                    other.execute(each)
                other.commit()
            for _ in range(2):
                with pytest.raises((ValueError, OSError), match=r"left as it is|no such table"):
                    await (state.load() if do == "load" else state.store(2, 1))


async def test_a_file_that_is_put_in_order_meanwhile_is_used_on(tmp_path):
    path = tmp_path / "state.db"
    async with SQLiteState(path).open() as state:
        assert await state.store(1, 0)
        with closing(sqlite3.connect(path)) as other:
            other.execute("VACUUM")
            other.execute("CREATE TABLE another (x)")
            other.execute("DROP TABLE another")
        assert await state.load() == (1, 1)
        assert await state.store(2, 1)

"""The command line: runs, signals under load, checks, and errors in one line."""

import os
import re
import signal
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

import pytest

from poolder_trio import cli

LOADED = """
import trio
from poolder_trio import Application, Pool, Scheduler, Worker

class Slow(Worker):
    async def handle_job(self, number):
        await trio.sleep(0.002)
        print("done", number, flush=True)

class Work(Pool):
    worker = Slow
    pool_size = 3
    name = "work"

class Feed(Scheduler):
    number = 0

    async def handle_init(self):
        self.schedule("feed", 0.01, self.feed_them)

    async def feed_them(self):
        for _ in range(20):
            await app["work"].cast(self.number)
            print("accepted", self.number, flush=True)
            self.number += 1

app = Application(Work, Feed, default_pool=False)
"""

SHOP = """
from poolder_trio import Application, Every, Pool, Scheduler, Tasker, Worker, Restart, perform

class Clerk(Worker):
    async def handle_job(self, job): ...
    async def handle_periodic_job(self, event): ...

class Counter(Pool):
    worker = Clerk
    pool_size = 3
    schedules = {"sweep": 10.0, "lunch": "0 12 * * *"}
    timezone = "Europe/Paris"

class Nightly(Scheduler):
    jobs = {"backup": "30 2 * * *"}
    async def backup(self): ...
    async def handle_init(self):
        raise RuntimeError("a check runs nothing")

class Ending(Scheduler):
    async def handle_init(self):
        self.schedule("end", 0.01, self.end_it)
    async def end_it(self):
        ended.close()

class Crashing(Scheduler):
    async def handle_init(self):
        self.schedule("crash", 0.01, self.crash_it)
    async def crash_it(self):
        raise KeyError("crash")

app = Application(Counter, Tasker(name="mytasker", limit=7), Nightly, extra_pools=["email"])
ended = Application(Ending)
crashed = Application(Crashing)

class Declared(Application):
    children = [Counter]

number = 5
"""

pytestmark = pytest.mark.usefixtures("own_sigint")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of a user's, with a module in it, in which commands run."""
    (tmp_path / "shop.py").write_text(SHOP, encoding="utf-8")
    (tmp_path / "loaded.py").write_text(LOADED, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    for name in ("shop", "loaded", "broken", "wrong"):
        sys.modules.pop(name, None)


class Command:
    """A command in a process of its own, whose output goes to files: none of it can be missed."""

    def __init__(self, folder, *arguments):
        self.out, self.err = folder / "out.txt", folder / "err.txt"
        with self.out.open("w") as out, self.err.open("w") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-W", "error", "-m", "poolder_trio", *arguments],
                cwd=folder,
                stdout=out,
                stderr=err,
            )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def wait_for(self, text, path):
        until = time.monotonic() + 60
        while text not in path.read_text():
            assert self.process.poll() is None, self.err.read_text()
            assert time.monotonic() < until
            time.sleep(0.02)

    def finish(self, number=None):
        """Send a signal, if there is one, and return what was printed and the exit code."""
        if number is not None:
            self.process.send_signal(number)
        code = self.process.wait(timeout=60)
        return self.out.read_text(), self.err.read_text(), code


def numbers(out, word):
    return {int(number) for number in re.findall(rf"^{word} (\d+)$", out, re.MULTILINE)}


def counts(err, name):
    (line,) = re.findall(rf"^{name}: (completed=.*)$", err, re.MULTILINE)
    return {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", line)}


@pytest.mark.server
@pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals between processes")
class TestSignals:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_a_signal_under_load_loses_no_accepted_job_within_grace(self, folder, number):
        with Command(folder, "run", "loaded:app", "--grace", "50") as command:
            command.wait_for("accepted 100\n", command.out)
            out, err, code = command.finish(number)
        accepted, done = numbers(out, "accepted"), numbers(out, "done")
        assert len(accepted) > 100
        assert accepted == done
        assert counts(err, "work")["completed"] == len(done)
        assert "cut=no" in err
        assert code == 0

    def test_what_grace_is_too_short_for_is_cut_and_said(self, folder):
        with Command(folder, "run", "loaded:app", "--grace", "0") as command:
            command.wait_for("accepted 100\n", command.out)
            out, err, code = command.finish(signal.SIGTERM)
        accepted, done = numbers(out, "accepted"), numbers(out, "done")
        work = counts(err, "work")
        assert work["completed"] == len(done) < len(accepted)
        # A cast may have been accepted and cut before it was printed.
        total = work["completed"] + work["cancelled"] + work["abandoned"]
        assert len(accepted) <= total <= len(accepted) + 1
        assert "cut=yes" in err
        assert re.search(r"^work: abandoned \d+$", err, re.MULTILINE)
        assert code == 1

    def test_a_second_signal_does_not_wait(self, folder):
        (folder / "stuck.py").write_text(
            "import trio\n"
            "from poolder_trio import Application, Scheduler, perform\n"
            "class Begins(Scheduler):\n"
            "    async def handle_init(self):\n"
            "        await perform('job', trio.sleep_forever)\n"
            "        print('open', flush=True)\n"
            "app = Application(Begins)\n"
        )
        with Command(folder, "run", "stuck:app", "--log-level", "info") as command:
            command.wait_for("open\n", command.out)
            command.process.send_signal(signal.SIGTERM)
            # Two of a kind at once may arrive as one.
            command.wait_for("signal=SIGTERM action=close", command.err)
            _, err, code = command.finish(signal.SIGTERM)
        assert counts(err, "job")["cancelled"] == 1
        assert code == 1


@pytest.mark.server
def test_a_program_that_closes_itself_ends_with_0_and_a_report(folder):
    with Command(folder, "run", "shop:ended") as command:
        out, err, code = command.finish()
    assert (out, code) == ("", 0)
    assert err.splitlines() == [
        "job: completed=0 failed=0 cancelled=0 dropped=0 abandoned=0",
        "Ending: completed=1 failed=0 cancelled=0 dropped=0 abandoned=0",
        "all: completed=1 failed=0 cancelled=0 dropped=0 abandoned=0 cut=no",
    ]


@pytest.mark.server
def test_a_program_that_fails_ends_with_1_its_traceback_and_a_report(folder):
    with Command(folder, "run", "shop:crashed") as command:
        _, err, code = command.finish()
    assert "KeyError: 'crash'" in err
    assert counts(err, "Crashing")["failed"] == 1
    assert code == 1


LATE = """
import atexit, signal, sys, trio
from poolder_trio import Application, Scheduler, Tasker, every

class Ends(Scheduler):
    @every(0.01)
    async def end(self):
        app.close()

class Named:
    def __repr__(self):
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        return "named"
    async def __call__(self): ...

class Cut(Scheduler):
    async def handle_init(self):
        for fn in (trio.sleep_forever, Named()):
            await cut["Tasker"].execute(fn)
    @every(0.01)
    async def end(self):
        cut.close()

class Exits(Scheduler):
    @every(0.01)
    async def exit(self):
        sys.exit(3)

app = Application(Ends)
cut = Application(Tasker(limit=1), Cut, default_pool=False, grace=0.0)
exits = Application(Exits)
atexit.register(signal.raise_signal, signal.SIGTERM)
atexit.register(signal.raise_signal, signal.SIGINT)
"""


@pytest.mark.server
@pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals between processes")
@pytest.mark.parametrize(("name", "expected"), [("app", 0), ("cut", 1)])
def test_signals_that_come_after_the_end_change_neither_report_nor_exit_code(
    folder, name, expected
):
    (folder / "late.py").write_text(LATE)
    with Command(folder, "run", f"late:{name}") as command:
        _, err, code = command.finish()
    assert ("Tasker: abandoned named()" in err) is (name == "cut")
    assert "Traceback" not in err
    assert code == expected


@pytest.mark.server
def test_a_handler_that_exits_ends_the_program_with_1_and_a_report(folder):
    (folder / "late.py").write_text(LATE)
    with Command(folder, "run", "late:exits") as command:
        _, err, code = command.finish()
    assert "SystemExit: 3" in err
    assert err.splitlines()[0].startswith("job: completed=0")
    assert code == 1


@pytest.mark.server
def test_importing_the_package_configures_no_logging():
    code = (
        "import logging, poolder_trio, poolder_trio.cli\n"
        "assert not logging.getLogger().handlers\n"
        "assert not [n for n in logging.root.manager.loggerDict if n.startswith('poolder_trio')\n"
        "            and logging.getLogger(n).handlers]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_check_prints_components_options_and_firings_and_runs_nothing(folder, capsys):
    assert cli.main(["check", "shop:app"]) == 0
    out = capsys.readouterr().out
    date = r"\d{4}-\d\d-\d\d (\d\d:\d\d:\d\d) UTC"
    noon = rf"{date} \(\d{{4}}-\d\d-\d\d 12:00:00 Europe/Paris\)"
    lunch = re.search(rf"        fires lunch: {noon}, {noon}, {noon}\n", out)
    assert set(lunch.groups()) <= {"10:00:00", "11:00:00"}  # noon in Paris
    assert re.sub(date, "DATE", re.sub(noon, "NOON", out)) == (
        "Application: Application\n"
        "    extra_pools = ['email']\n"
        "    job: JobPool\n"
        "    email: JobPool\n"
        "    Counter: Counter(Pool)\n"
        "        worker = <class 'shop.Clerk'>\n"
        "        pool_size = 3\n"
        "        timezone = 'Europe/Paris'\n"
        "        fires sweep: every 10 s\n"
        "        fires lunch: NOON, NOON, NOON\n"
        "    mytasker: Tasker\n"
        "        limit = 7\n"
        "    Nightly: Nightly(Scheduler)\n"
        "        fires backup: DATE, DATE, DATE\n"
    )


def test_check_prints_all_options_when_asked(folder, capsys):
    assert cli.main(["check", "shop:Declared", "--all"]) == 0
    out = capsys.readouterr().out
    assert "        job_timeout = inf\n" in out
    assert "    default_pool = 'job'\n" in out


def test_check_shows_the_names_of_args_and_not_what_may_be_secret(folder, capsys):
    (folder / "broken.py").write_text(
        "from poolder_trio import Application, Pool, Worker\n"
        "class Mailer(Worker):\n"
        "    async def handle_init(self, *, host, password): pass\n"
        "    async def handle_job(self, job): pass\n"
        "pool = Pool(Mailer, args={'host': 'x', 'password': 'hunter2'})\n"
        "app = Application(pool, default_pool=False)\n",
        encoding="utf-8",
    )
    assert cli.main(["check", "broken:app", "--all"]) == 0
    printed = capsys.readouterr().out
    assert "args = host, password\n" in printed
    assert "hunter2" not in printed


def test_check_finds_a_schedule_that_never_fires(folder, capsys):
    (folder / "wrong.py").write_text(
        "from datetime import datetime, timezone\n"
        "from poolder_trio import Application, Scheduler\n"
        "class Late(Scheduler):\n"
        "    jobs = {'party': datetime(2020, 1, 1, tzinfo=timezone.utc)}\n"
        "    async def party(self): ...\n"
        "app = Application(Late)\n"
    )
    assert cli.main(["check", "wrong:app"]) == 2
    assert "'party' never fires" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("returned", "says"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero ("),
        ("5", "must be an aware datetime, such as datetime.now(timezone.utc), got 5 (Mine)"),
        ("datetime(2100, 1, 1)", "must be an aware datetime"),
        ("after", "must return a date after "),
        ("after - timedelta(1)", "must return a date after "),
    ],
)
def test_check_finds_a_trigger_that_the_scheduler_would_refuse(folder, capsys, returned, says):
    (folder / "wrong.py").write_text(
        "from datetime import datetime, timedelta\n"
        "from poolder_trio import Application, Scheduler\n"
        "class Mine:\n"
        f"    def next(self, after): return {returned}\n"
        "class Odd(Scheduler):\n"
        "    jobs = {'party': Mine()}\n"
        "    async def party(self): ...\n"
        "app = Application(Odd)\n"
    )
    assert cli.main(["check", "wrong:app"]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert says in err
    assert err.endswith("; when 'party' of Odd fires next cannot be told\n")


@pytest.mark.server
def test_check_prints_what_its_output_cannot_encode_in_another_way(folder):
    (folder / "wrong.py").write_text(
        "from poolder_trio import Application, Tasker\n"
        "app = Application(Tasker(name='snow\u2603'))\n",
        encoding="utf-8",
    )
    ran = subprocess.run(
        [sys.executable, "-m", "poolder_trio", "check", "wrong:app"],
        cwd=folder,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.stdout.endswith("    snow\\u2603: Tasker\n")


def test_a_toml_file_is_a_target(folder, capsys):
    (folder / "pyproject.toml").write_text(
        '[tool.poolder-trio]\nchildren = ["shop:Counter"]\npool_size = 2\n'
    )
    assert cli.main(["check", "pyproject.toml"]) == 0
    assert "    job: JobPool\n        pool_size = 2\n    Counter: " in capsys.readouterr().out


@pytest.mark.parametrize("command", ["run", "check"])
@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("nowhere:app", "there is no module 'nowhere'"),
        ("shop.inner:app", "there is no module 'shop.inner'"),
        ("shop:ap", "'shop:ap' has no 'ap': did you mean 'app'?"),
        ("shop", "expected 'module:attribute', got 'shop'"),
        ("shop:number", "expected 'shop:number' to be an Application, got 5"),
        ("shop:Counter", "to be an Application, got <class 'shop.Counter'>"),
        ("none.toml", "poolder: [Errno 2] No such file or directory: 'none.toml'\n"),
        ("folder.toml", "poolder: [Errno 21] Is a directory: 'folder.toml'\n"),
        ("exits:app", "SystemExit: not today ("),
        ("exits_well:app", "exits_well.py:2)"),
        ("speechless:app", "Speechless: its text raises ZeroDivisionError ("),
        ("unread:app", "unread.py:2)\n"),
        ("bad.toml", "bad.toml is no TOML file"),
        ("unknown.toml", "unknown key 'poolsize': did you mean 'pool_size'?"),
        ("broken:app", "broken.py:2"),
        ("imports:app", "No module named 'not_there'"),
        ("syntax:app", "SyntaxError: "),
    ],
)
def test_what_is_wrong_is_one_line_and_exit_code_2(folder, capsys, command, target, says):
    (folder / "bad.toml").write_text("pool_size = \n")
    (folder / "unknown.toml").write_text("poolsize = 3\n")
    (folder / "broken.py").write_text("from poolder_trio import Tasker\nTasker(limit=0)\n")
    (folder / "imports.py").write_text("import not_there\n")
    (folder / "syntax.py").write_text("def\n")
    (folder / "exits.py").write_text("import sys\nsys.exit('not\\ntoday')\n")
    (folder / "exits_well.py").write_text("import sys\nsys.exit()\n")
    (folder / "unread.py").write_text("import json\njson.loads('{')\n")
    (folder / "speechless.py").write_text(
        "class Speechless(Exception):\n    def __str__(self): return 1 / 0\nraise Speechless\n"
    )
    (folder / "folder.toml").mkdir()
    assert cli.main([command, target]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("poolder: ")
    assert says in err


def test_at_log_level_debug_the_traceback_of_what_is_wrong_is_logged(folder, caplog):
    (folder / "broken.py").write_text("raise ZeroDivisionError('by the module')\n")
    caplog.set_level("DEBUG")
    assert cli.main(["check", "broken:app"]) == 2
    (record,) = caplog.records
    assert record.exc_info[0] is ZeroDivisionError
    assert (record.name, record.message) == (
        "poolder_trio.application",
        "target=broken:app event=refused",
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run"], "target"),
        (["run", "shop:app", "--grace", "-1"], "expected a number of seconds >= 0, got '-1'"),
        (["run", "shop:app", "--grace", "nan"], "expected a number of seconds >= 0, got 'nan'"),
        (["run", "shop:app", "--log-level", "loud"], "invalid choice: 'loud'"),
        (["fly", "shop:app"], "invalid choice: 'fly'"),
        (["check", "shop:app", "--grace", "3"], "unrecognized arguments"),
        ([], "required"),
    ],
)
def test_a_wrong_command_line_is_exit_code_2(folder, capsys, arguments, says):
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("poolder: ")
    assert says in err


def test_it_says_its_version(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith("poolder_trio ")


@pytest.mark.server
def test_the_console_script_does_the_same(folder):
    try:
        (entry,) = metadata.entry_points(group="console_scripts", name="poolder")
    except (ValueError, metadata.PackageNotFoundError):
        pytest.skip("the package is not installed with its scripts")
    assert entry.load() is cli.main
    script = Path(sys.executable).with_name("poolder")
    ran = subprocess.run(
        [script, "check", "shop:app"],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "Counter: Counter(Pool)" in ran.stdout


@pytest.mark.parametrize("zone", ["'UTC'", "__import__('zoneinfo').ZoneInfo('UTC')"])
@pytest.mark.parametrize("command", ["check", "run"])
def test_a_hidden_timezone_is_told_of(tmp_path, monkeypatch, capsys, command, zone):
    (tmp_path / "hidden_zone.py").write_text(
        f"""
from datetime import datetime, timezone
from poolder_trio import Application, Scheduler

class Once(Scheduler):
    timezone = {zone}
    jobs = {{"once": datetime(2030, 1, 1, tzinfo=timezone.utc)}}
"""
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "hidden_zone", raising=False)
    assert cli.main([command, "hidden_zone:app"]) == 2
    said = capsys.readouterr().err
    assert "an attribute timezone hides datetime.timezone" in said
    assert "import datetime as dt" in said

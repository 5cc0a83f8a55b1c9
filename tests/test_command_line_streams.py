"""The command line where streams are closed or full, its folder is gone, or it is ending."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from poolder_trio import cli

pytestmark = [
    pytest.mark.server,
    pytest.mark.usefixtures("own_sigint"),
    pytest.mark.skipif(sys.platform == "win32", reason="has another shell"),
]

SHORT = """
from poolder_trio import Application, Scheduler

class Short(Scheduler):
    jobs = {"now": 1.0}

    async def handle_job(self, name):
        print("the job's own output")
        app.close()

app = Application(Short(name="short"), default_pool=False)
"""

ENDING = """
import atexit
import os
import time

class Last:
    def __init__(self):
        self.sleep, self.write = time.sleep, os.write

    def __del__(self):
        self.write(1, b"at the very end\\n")
        self.sleep(0.5)

# Beyond its module's end, to the last steps of the interpreter.
atexit.last = Last()
"""

TREE = "Application: Application\n"
REPORT = "all: completed=1"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "short.py").write_text(SHORT)
    (tmp_path / "ending.py").write_text(SHORT + ENDING)
    return tmp_path


def shell(folder, command, cwd=None):
    """Run ``poolder`` in a shell, with Python's usual buffers."""
    poolder = f"{sys.executable} -m poolder_trio"
    environment = {name: value for name, value in os.environ.items() if "UNBUFFERED" not in name}
    environment["PYTHONPATH"] = os.pathsep.join([str(folder), *sys.path])
    return subprocess.run(
        ["/bin/bash", "-o", "pipefail", "-c", command.replace("poolder", poolder)],
        cwd=cwd or folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("redirected", "code", "out", "err"),
    [
        (">&-", 0, "", ""),
        ("2>&-", 0, TREE, ""),
        ("<&-", 0, TREE, ""),
        ("<&- >&- 2>&-", 0, "", ""),
        (">/dev/full", 2, "", "poolder: the output cannot be written: "),
        ("2>/dev/full", 0, TREE, ""),
        ("| true", 0, "", ""),
        ("| head -n 1", 0, TREE, ""),
    ],
)
def test_check_with_streams_that_are_closed_or_full(folder, redirected, code, out, err):
    ended = shell(folder, f"poolder check short:app {redirected}")
    assert ended.returncode == code
    assert ended.stdout[: len(TREE)] == out
    assert ended.stderr.startswith(err)
    assert len(ended.stderr.splitlines()) == bool(err)


@pytest.mark.parametrize(
    ("redirected", "code", "out", "err"),
    [
        (">&-", 0, "", REPORT),
        ("2>&-", 0, "the job's own output\n", ""),
        ("<&-", 0, "the job's own output\n", REPORT),
        ("<&- >&- 2>&-", 0, "", ""),
        (">/dev/full", 1, "", "poolder: the output cannot be written: "),
        ("2>/dev/full", 0, "the job's own output\n", ""),
        ("| true", 0, "", REPORT),
    ],
)
def test_run_with_streams_that_are_closed_or_full(folder, redirected, code, out, err):
    ended = shell(folder, f"poolder run short:app {redirected}")
    assert (ended.returncode, ended.stdout) == (code, out)
    assert err in ended.stderr
    assert "Exception" not in ended.stderr
    assert bool(ended.stderr) == bool(err)


@pytest.mark.parametrize("redirected", ["2>&-", "2>/dev/full", "<&- >&- 2>&-"])
@pytest.mark.parametrize("command", ["check nothing:app", "run nothing:app", "chuck", "run"])
def test_what_is_wrong_is_exit_code_2_where_nobody_can_be_told(folder, command, redirected):
    ended = shell(folder, f"poolder {command} {redirected}")
    assert (ended.returncode, ended.stdout, ended.stderr) == (2, "", "")


@pytest.mark.parametrize("option", ["--help", "--version", "run --help"])
def test_help_that_cannot_be_written_is_said(folder, option):
    ended = shell(folder, f"poolder {option} >/dev/full")
    assert ended.returncode == 2
    assert ended.stderr.startswith("poolder: the output cannot be written: ")
    assert shell(folder, f"poolder {option} | true").returncode == 0


def test_a_traceback_that_nobody_can_read_leaves_the_exit_code(folder):
    (folder / "short.py").write_text(SHORT.replace("app.close()", "raise ValueError('told')"))
    for redirected in ("2>&-", "2>/dev/full"):
        ended = shell(folder, f"poolder run short:app {redirected}")
        assert (ended.returncode, ended.stderr) == (1, "")
        assert "told" not in ended.stdout


@pytest.mark.parametrize("command", ["check", "run"])
def test_a_working_folder_that_is_gone_is_none_of_its_business(folder, command, tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    ended = shell(folder, f"rmdir {gone}; poolder {command} short:app", cwd=gone)
    assert ended.returncode == 0, ended.stderr


def test_what_is_not_found_from_a_folder_that_is_gone_is_one_line(folder, tmp_path):
    for target in ("nothing:app", "app.toml"):
        gone = tmp_path / "gone"
        gone.mkdir()
        ended = shell(folder, f"rmdir {gone}; poolder run {target}", cwd=gone)
        assert ended.returncode == 2
        assert len(ended.stderr.splitlines()) == 1
        assert target.partition(":")[0] in ended.stderr


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_stream_that_is_none_is_no_error(folder, stream, monkeypatch, capsys):
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(sys, stream, None)
    assert cli.main(["check", "short:app"]) == 0
    assert cli.main(["check", "nothing:app"]) == 2
    assert "poolder:" not in capsys.readouterr().out


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_at_the_very_end_does_not_change_the_exit_code(folder, number):
    with subprocess.Popen(
        [sys.executable, "-m", "poolder_trio", "run", "ending:app"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as program:
        watchdog = threading.Timer(60, program.kill)
        watchdog.start()
        try:
            while program.stdout.readline() not in (b"at the very end\n", b""):
                pass
            time.sleep(0.05)
            program.send_signal(number)
            _, err = program.communicate()
        finally:
            watchdog.cancel()
            program.kill()
    assert REPORT.encode() in err
    assert program.returncode == 0


WRITES = """
import sys
from poolder_trio import Application

{}
app = Application(default_pool=False)
"""


@pytest.mark.parametrize(
    "writes",
    [
        "sys.stderr.write('no newline')",
        "import logging; logging.basicConfig(force=True); logging.error('loaded')",
        "sys.stderr = open(2, 'w', buffering=9999, closefd=False); sys.stderr.write('text')",
        "import atexit; atexit.register(lambda: sys.stderr.write('the end'))",
    ],
    ids=["no newline", "logging", "buffered", "at the end"],
)
@pytest.mark.parametrize("redirected", ["2>/dev/full", "2>&-"])
def test_what_a_module_says_on_a_full_stderr_is_no_exit_code(folder, writes, redirected):
    (folder / "writes.py").write_text(WRITES.format(writes))
    ended = shell(folder, f"poolder check writes:app {redirected}")
    assert (ended.returncode, ended.stdout[: len(TREE)]) == (0, TREE)


@pytest.mark.parametrize("ending", ["SystemExit(0)", "SystemExit(3)", "KeyboardInterrupt"])
@pytest.mark.parametrize("redirected", [">/dev/full", "2>/dev/full", ">/dev/full 2>/dev/full"])
def test_what_ends_the_program_from_a_handler_is_exit_code_1_on_full_streams(
    folder, ending, redirected
):
    (folder / "short.py").write_text(SHORT.replace("app.close()", f"raise {ending}"))
    ended = shell(folder, f"poolder run short:app {redirected}")
    assert ended.returncode == shell(folder, "poolder run short:app").returncode == 1
    assert ("the output cannot be written" in ended.stderr) is (redirected == ">/dev/full")


@pytest.mark.parametrize("command", ["check", "run"])
def test_what_a_module_printed_before_it_failed_is_no_exit_code_of_its_own(folder, command):
    (folder / "writes.py").write_text("print('text')\nraise ValueError('wrong')")
    ended = shell(folder, f"poolder {command} writes:app >/dev/full")
    assert ended.returncode == 2
    assert "ValueError: wrong" in ended.stderr

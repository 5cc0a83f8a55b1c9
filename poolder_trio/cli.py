"""The command line: ``python -m poolder_trio``, or ``poolder``."""

from __future__ import annotations

import argparse
import atexit
import contextlib
import logging
import os
import sys
import sysconfig
import traceback
from datetime import datetime, timezone, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TextIO

from poolder_trio._version import __version__
from poolder_trio.application import Application
from poolder_trio.configuration import find
from poolder_trio.kernel.notes import describe, printable
from poolder_trio.overview import overview
from poolder_trio.policies import checks
from poolder_trio.running import Signals, ignore_signals, run_to_the_end

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from poolder_trio.application import ApplicationReport
    from poolder_trio.kernel.accounts import ShutdownReport

#: Exit codes: all that was accepted is finished; something was cut, or failed; nothing was run.
DRAINED, CUT, WRONG = 0, 1, 2
LEVELS = ("debug", "info", "warning", "error", "critical")
#: Seconds for which signals go unheard after a run: an interpreter's end takes less.
SETTLING = 1.0
#: How many abandoned jobs of a component are named.
NAMED = 3

_log = logging.getLogger("poolder_trio.application")


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says, and return the exit code.

    Args:
        arguments: what follows the program's name; by default, that of this process.

    Raises:
        SystemExit: the arguments are wrong, or ask for help.
        BaseExceptionGroup: what ended the application was no `Exception`, such as `SystemExit`.
    """
    _open_closed_streams()
    asked = _parser().parse_args(arguments)
    if arguments is None:
        # Before whatever the user's modules register, so that they come after all of that.
        if asked.command == "run":
            atexit.register(ignore_signals)
        atexit.register(_leave_stderr)
    logging.basicConfig(
        level=asked.log_level.upper(),
        format="%(asctime)s level=%(levelname)s logger=%(name)s %(message)s",
    )
    try:
        app = load(asked.target)
        if asked.command == "check":
            lines = list(overview(app, datetime.now(timezone.utc), everything=asked.all))
            encoding = sys.stdout.encoding or "utf-8"
            text = "\n".join(lines).encode(encoding, "backslashreplace").decode(encoding)
            return DRAINED if _printed(text) else WRONG
        if asked.grace is not None:
            app.override("grace", asked.grace)
    except (Exception, SystemExit) as error:  # noqa: BLE001  # of the user's modules, in one line
        _log.debug("target=%s event=refused", asked.target, exc_info=True)
        _say(f"poolder: {_in_one_line(error)}")
        _printed()
        return WRONG
    # If the command line is that of the process, all that is left of it is its end.
    with Signals(settling=SETTLING if arguments is None else 0.0) as signals:
        printed = False
        try:
            code = _run(app, signals)
        finally:
            printed = _printed()  # also if what leaves is a SystemExit of a handler's
        return code if printed else max(code, CUT)


def load(target: str) -> Application:
    """Return the application that a target names.

    Args:
        target: ``module:attribute``, of an `Application` or a class of them; or a ``.toml`` file.

    Raises:
        TypeError: it is something else.
        Exception: whatever making it raises.
    """
    with contextlib.suppress(OSError):  # the folder is gone, and nothing of it is needed
        here = str(Path.cwd())
        if here not in sys.path and not getattr(sys.flags, "safe_path", False):
            sys.path.insert(0, here)  # as `python -m` has it; a console script has it not
    if target.endswith(".toml"):
        return Application.from_toml(target)
    found = find(target, "the command line")
    if isinstance(found, type) and issubclass(found, Application):
        found = found()
    if not isinstance(found, Application):
        raise TypeError(f"expected {target!r} to be an Application, got {describe(found)}")
    return found


def _run(app: Application, signals: Signals) -> int:
    try:
        report = run_to_the_end(app, signals)
    except Exception:  # noqa: BLE001  # it leaves the program, with what it cut
        _tell_on_stderr(traceback.format_exc().rstrip("\n"))
        return CUT
    finally:
        _tell(app.report)  # also if what leaves is a SystemExit of a handler's
    return CUT if report.cut else DRAINED


def _tell(report: ApplicationReport) -> None:
    for name, its in report.children.items():
        _say(f"{name}: {_counts(its)}")
    _say(f"all: {_counts(report)} cut={'yes' if report.cut else 'no'}")
    if report.cut:
        for name, its in report.children.items():
            for line in _lost(its):
                _say(f"{name}: {line}")


def _counts(report: ShutdownReport[object]) -> str:
    return (
        f"completed={report.completed} failed={report.failed} cancelled={report.cancelled} "
        f"dropped={report.dropped} abandoned={len(report.abandoned)}"
    )


def _lost(report: ShutdownReport[object]) -> Iterator[str]:
    for job in report.abandoned[:NAMED]:
        yield f"abandoned {describe(job)}"
    if len(report.abandoned) > NAMED:
        yield f"abandoned {len(report.abandoned) - NAMED} more"


def _in_one_line(error: Exception | SystemExit) -> str:
    kind = type(error).__name__
    theirs = [
        frame for frame in traceback.extract_tb(error.__traceback__) if _is_theirs(frame.filename)
    ]
    where = f" ({theirs[-1].filename}:{theirs[-1].lineno})" if theirs else ""
    is_plain = not theirs and not isinstance(error, (SyntaxError, SystemExit, RecursionError))
    text = _text_of(error) if is_plain else f"{kind}: {_text_of(error)}{where}"
    notes = getattr(error, "__notes__", ())
    return " ".join("; ".join([text, *_hints(error), *map(str, notes)]).split())


def _hints(error: BaseException) -> Iterator[str]:
    """Yield what to do where Python cannot know what was meant."""
    wrong = error.obj if isinstance(error, AttributeError) and error.name == "utc" else None
    if isinstance(wrong, (str, tzinfo)):
        yield (
            "in a class statement, an attribute timezone hides datetime.timezone from the lines "
            "that follow: import datetime as dt, and write dt.timezone.utc"
        )


def _text_of(error: BaseException) -> str:
    try:
        return str(error) or "no message"
    except Exception as another:  # noqa: BLE001  # it is the user's, and must not hide where
        return f"its text raises {type(another).__name__}"


def _is_theirs(filename: str) -> bool:
    """Tell whether a frame is of the user's: not of this package, nor of Python's library."""
    ours, python = (
        os.path.join(folder, "")  # noqa: PTH118  # a prefix
        for folder in (os.path.dirname(__file__), sysconfig.get_path("stdlib"))  # noqa: PTH120
    )
    installed = tuple(
        os.path.join(sysconfig.get_path(name), "")  # noqa: PTH118  # a prefix
        for name in ("purelib", "platlib")
    )
    if filename.startswith((ours, "<frozen")):
        return False
    return filename.startswith(installed) or not filename.startswith(python)


def _open_closed_streams() -> None:
    """Let standard streams that are closed lead nowhere.

    Else ``print(file=sys.stderr)`` goes to stdout, and the next file to be opened, a socket of
    somebody's perhaps, gets the number of the one that is closed.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere == number:
                os.set_inheritable(nowhere, True)  # noqa: FBT003
            setattr(sys, name, open(nowhere, mode, encoding="utf-8", closefd=False))  # noqa: SIM115


def _printed(*lines: str) -> bool:
    """Print ``lines``, and whatever others left to be printed; tell whether nothing was lost.

    If whoever reads has gone, as ``head`` does, they have what they want.
    """
    try:
        for line in lines:
            print(line)  # noqa: T201  # it is what was asked for
        sys.stdout.flush()
    except OSError as error:
        _give_up(sys.stdout)
        if isinstance(error, BrokenPipeError):
            return True
        _say(f"poolder: the output cannot be written: {error}")
        return False
    return True


def _leave_stderr() -> None:
    """Let what nobody can read on stderr be lost: it is no reason for an exit code of its own."""
    try:
        sys.stderr.flush()
    except (OSError, ValueError):
        _give_up(sys.stderr)


def _say(line: str) -> None:
    _tell_on_stderr(printable(line))


def _tell_on_stderr(text: str) -> None:
    try:
        print(text, file=sys.stderr, flush=True)  # noqa: T201  # a command line talks
    except OSError:  # nobody reads it any more: what is done is done
        _give_up(sys.stderr)


def _give_up(stream: TextIO) -> None:
    """Drop what ``stream`` holds, which Python would try again at its end, and exit with 120."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def _seconds(text: str) -> float:
    try:
        value = float(text)
        checks.SECONDS("--grace", value, "the command line")
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected a number of seconds >= 0, got {text!r}"
        ) from None
    return value


class _Parser(argparse.ArgumentParser):
    """Says in one line what is wrong, as the rest of the command line does."""

    def error(self, message: str) -> NoReturn:
        self.exit(WRONG, f"poolder: {message}; see {self.prog} --help\n")

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        if message:
            _say(message.rstrip("\n"))
        sys.exit(status if _printed() else WRONG)  # help was, or the version


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="poolder", description="Run an Application, or look at it.")
    parser.add_argument("--version", action="version", version=f"poolder_trio {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    both = _Parser(add_help=False)
    both.add_argument("target", help="module:app, or a TOML file")
    both.add_argument(
        "--log-level",
        type=str.lower,
        choices=LEVELS,
        default="warning",
        help="default: %(default)s",
    )
    running = commands.add_parser(
        "run",
        parents=[both],
        help="run it until it closes, or a signal",
        description="Run an application until it closes. SIGTERM or Ctrl-C lets it finish what it "
        "accepted, a second one does not. The exit code is 0 if nothing was cut, 1 if something "
        "was, or failed, and 2 if there is nothing to run.",
    )
    running.add_argument(
        "--grace", type=_seconds, help="seconds to finish in, instead of the application's own"
    )
    checking = commands.add_parser(
        "check",
        parents=[both],
        help="print its components, options and next firings, without running anything",
    )
    checking.add_argument(
        "--all", action="store_true", help="also print options that have their default values"
    )
    checking.set_defaults(grace=None)
    running.set_defaults(all=False)
    return parser

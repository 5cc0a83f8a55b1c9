"""The command line: ``python -m poolder_trio``, or ``poolder``."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import traceback
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from poolder_trio._version import __version__
from poolder_trio.application import Application
from poolder_trio.configuration import find
from poolder_trio.kernel.notes import describe
from poolder_trio.overview import overview
from poolder_trio.policies import checks
from poolder_trio.running import run

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from poolder_trio.application import ApplicationReport
    from poolder_trio.kernel.accounts import ShutdownReport

#: Exit codes: all that was accepted is finished; something was cut, or failed; nothing was run.
DRAINED, CUT, WRONG = 0, 1, 2
LEVELS = ("debug", "info", "warning", "error", "critical")
#: How many abandoned jobs of a component are named.
NAMED = 3

_log = logging.getLogger("poolder_trio.application")


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says, and return the exit code.

    Args:
        arguments: what follows the program's name; by default, that of this process.

    Raises:
        SystemExit: the arguments are wrong, or ask for help.
    """
    asked = _parser().parse_args(arguments)
    logging.basicConfig(
        level=asked.log_level.upper(),
        format="%(asctime)s level=%(levelname)s logger=%(name)s %(message)s",
    )
    try:
        app = load(asked.target)
        if asked.command == "check":
            lines = list(overview(app, datetime.now(timezone.utc), everything=asked.all))
            print("\n".join(lines))  # noqa: T201  # it is what was asked for
            return DRAINED
        if asked.grace is not None:
            app.grace = asked.grace
    except Exception as error:  # noqa: BLE001  # whatever the user's modules raise, in one line
        _log.debug("target=%s is wrong", asked.target, exc_info=True)
        _say(f"poolder: {_in_one_line(error)}")
        return WRONG
    return _run(app)


def load(target: str) -> Application:
    """Return the application that a target names.

    Args:
        target: ``module:attribute``, of an `Application` or a class of them; or a ``.toml`` file.

    Raises:
        TypeError: it is something else.
        Exception: whatever making it raises.
    """
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


def _run(app: Application) -> int:
    try:
        report = run(app)
    except Exception:  # noqa: BLE001  # it leaves the program, with what it cut
        traceback.print_exc()
        _tell(app.report)
        return CUT
    _tell(report)
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


def _in_one_line(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    frames = traceback.extract_tb(error.__traceback__)
    ours = os.path.join(os.path.dirname(__file__), "")  # noqa: PTH118, PTH120  # a prefix
    theirs = [
        frame
        for frame in frames
        if not frame.filename.startswith((ours, "<frozen")) and "importlib" not in frame.filename
    ]
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {text}"
    if not theirs:
        return text
    return f"{type(error).__name__}: {text} ({theirs[-1].filename}:{theirs[-1].lineno})"


def _say(line: str) -> None:
    print(line, file=sys.stderr)  # noqa: T201  # a command line talks


def _seconds(text: str) -> float:
    try:
        value = float(text)
        checks.SECONDS("--grace", value, "the command line")
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected a number of seconds >= 0, got {text!r}"
        ) from None
    return value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="poolder", description="Run an Application, or look at it."
    )
    parser.add_argument("--version", action="version", version=f"poolder_trio {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    both = argparse.ArgumentParser(add_help=False)
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

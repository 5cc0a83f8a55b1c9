"""The terms of a job: what its queue, its worker and its end go by, beside the work itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable
    from contextvars import Context


class Form:
    """What a job's ``message`` is, and what its ``given``.

    Attributes:
        sent, awaited: what is left of the terms of jobs of this form that have ended.
    """

    __slots__ = ("awaited", "sent")

    awaited: Terms
    sent: Terms


#: A message; nothing is given.
MESSAGE = Form()
#: A function, and its one argument: a tuple around it would cost as much as a small job.
ONE = Form()
#: A function, and a tuple of its arguments.
ALL = Form()


def form_of(args: tuple[object, ...]) -> Form:
    """Return the form of a job that calls a function with ``args``."""
    return ONE if len(args) == 1 else ALL


def packed(args: tuple[object, ...]) -> object:
    """Return what a job that calls a function with ``args`` is given."""
    return args[0] if len(args) == 1 else args


class Terms:
    """One object for all jobs that agree in them; it does not change.

    Attributes:
        awaited: whether somebody waits for the result, or may.
        form: whether a function is called, and with how many arguments.
        context: the context of a function's submitter; the function runs in a copy.
        key: what a queue and limits go by.
        priority: its rank in a queue that goes by it.
        since: when it was put in, in seconds of Trio's clock; ``None`` where no rule asks.
    """

    __slots__ = ("awaited", "context", "form", "key", "priority", "since")

    def __init__(  # noqa: PLR0917  # by position: some jobs have their own
        self,
        awaited: bool = False,  # noqa: FBT001, FBT002
        form: Form = MESSAGE,
        context: Context | None = None,
        key: Hashable = None,
        priority: float = 0,
        since: float | None = None,
    ) -> None:
        self.awaited = awaited
        self.form = form
        self.context = context
        self.key = key
        self.priority = priority
        self.since = since

    @property
    def ended(self) -> Terms:
        """What is left of them when a job has ended: it lets go of the context, and of a key."""
        return self.form.awaited if self.awaited else self.form.sent


for _form in (MESSAGE, ONE, ALL):
    _form.sent, _form.awaited = Terms(False, _form), Terms(True, _form)  # noqa: FBT003

#: Of messages that nobody waits for and of which nothing is asked.
SENT = MESSAGE.sent
#: Of messages whose senders wait.
AWAITED = MESSAGE.awaited

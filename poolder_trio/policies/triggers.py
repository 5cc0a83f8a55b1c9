"""When something is to happen: every so often, once, or as a cron expression says."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

import attrs

from poolder_trio.abc import Trigger
from poolder_trio.policies import checks
from poolder_trio.policies.cron import Cron
from poolder_trio.policies.instants import in_utc, in_utc_field
from poolder_trio.policies.jitter import own_seed, seed_of, spread

if TYPE_CHECKING:
    from datetime import tzinfo
    from typing import TypeAlias

    #: What stands for a trigger: seconds, a timedelta, a cron expression, a date, or a trigger.
    TriggerLike: TypeAlias = float | timedelta | str | datetime | Trigger

_PERIOD = checks.Check(
    "a finite number of seconds >= 0.001", checks.is_number, checks.at_least(0.001, finite=True)
)


@attrs.frozen
class Every:
    """Fires every so many seconds, without drift: the n-th time exactly n periods after the start.

    Args:
        seconds: the period.
        jitter: seconds by which each firing is late at most, at random, but never so late as the
            next due time; the next ones do not shift.
        start: an aware datetime, the first due time. By default, the first is one period after
            the moment of scheduling.
        seed: what the random numbers come from. By default, in a component it is made of the job's
            name, so that a trigger that is set anew, or after a restart, draws the same; outside
            of one, each trigger has its own.

    Raises:
        TypeError, ValueError: one of them is wrong.
    """

    seconds: float = attrs.field(validator=_PERIOD.field)
    jitter: float = attrs.field(default=0.0, validator=checks.FINITE_SECONDS.field)
    start: datetime | None = attrs.field(
        default=None, validator=attrs.validators.optional(in_utc_field)
    )
    seed: int | None = attrs.field(
        default=None,
        validator=attrs.validators.optional(checks.Check("an int", checks.is_int).field),
        eq=False,
        repr=False,
        kw_only=True,
    )
    _own_seed: int = attrs.field(
        init=False,
        default=attrs.Factory(lambda self: own_seed(self.jitter), takes_self=True),
        eq=False,
        repr=False,
    )

    @property
    def drawn_from(self) -> int:
        """What its random numbers come from."""
        return self._own_seed if self.seed is None else self.seed

    def next(self, after: datetime) -> datetime | None:
        """Return the first firing after ``after``, in UTC; without ``start``, as if it were that.

        ``None`` if none is before year 10000.

        Raises:
            TypeError, ValueError: ``after`` is no aware datetime.
        """
        after = in_utc("after", after, "Every.next")
        if self.start is None:
            return _on_grid(self, after, 1, after)
        return _on_grid(self, in_utc("start", self.start, "Every"), 0, after)


def _on_grid(every: Every, anchor: datetime, first: int, after: datetime) -> datetime | None:
    """Return the first firing after ``after``; the n-th is due n periods after ``anchor``."""

    def due(after: datetime) -> datetime | None:
        # The division is off by one at most, for it is of floats.
        n = max(first, int((after - anchor).total_seconds() / every.seconds) - 1)
        try:
            while (at := anchor + timedelta(seconds=n * every.seconds)) <= after:
                n += 1
        except OverflowError:
            return None
        return at

    return spread(due, after, every.jitter, every.drawn_from)


@attrs.frozen
class At:
    """Fires once.

    Args:
        when: an aware datetime.

    Raises:
        TypeError, ValueError: it is something else, or naive.
    """

    when: datetime = attrs.field(validator=in_utc_field)

    def next(self, after: datetime) -> datetime | None:
        """Return the moment in UTC, if it comes after ``after``, else ``None``.

        Raises:
            TypeError, ValueError: ``after`` is no aware datetime.
        """
        when = in_utc("when", self.when, "At")
        return when if when > in_utc("after", after, "At.next") else None


_TRIGGER = checks.Check(
    "a number of seconds, a timedelta, a cron expression, an aware datetime, or a Trigger "
    "such as Every(60)",
    lambda value: isinstance(value, Trigger) and not isinstance(value, type),
)


@lru_cache
def interval(seconds: float) -> Every:
    """Return the trigger of an interval.

    Those of a program are few numbers, and thousands of jobs may share each.
    """
    return Every(seconds)


def make_trigger(
    value: object, timezone: str | tzinfo = "UTC", name: str = "trigger", where: str = "Scheduler"
) -> Trigger:
    """Return the trigger that ``value`` stands for.

    Args:
        value: a number of seconds or a timedelta: every so often; a str: a cron expression; an
            aware datetime: once; or a `Trigger`, which is returned as it is.
        timezone: where cron expressions are meant: an IANA name or a ``tzinfo``.
        name: what errors call ``value``.
        where: where it was written, for errors.

    Raises:
        TypeError, ValueError: it is something else, or wrong.
    """
    try:
        if type(value) is float:
            return interval(value)
        if isinstance(value, str):
            return Cron(value, timezone)
        if isinstance(value, timedelta):
            return Every(value.total_seconds())
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return Every(value)
        if isinstance(value, datetime):
            return At(value)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name} in {where}: {error}") from error
    _TRIGGER(name, value, where)
    assert isinstance(value, Trigger)
    return value


def seeded(trigger: Trigger, name: str) -> Trigger:
    """Return a trigger whose jitter, if it has one and no seed, is drawn from a job's name."""
    if isinstance(trigger, (Every, Cron)) and trigger.jitter and trigger.seed is None:
        return attrs.evolve(trigger, seed=seed_of(name))
    return trigger


def follows_the_wall(trigger: Trigger) -> bool:
    """Tell whether a trigger is to come again when a clock shows the same time again."""
    if isinstance(trigger, Cron):
        return not trigger.fixed
    # One of the user's own: nobody knows better than it what it is to do.
    return not isinstance(trigger, At)

"""Cron expressions, in a zone whose clocks change."""

from __future__ import annotations

import copy
from datetime import datetime
from typing import TYPE_CHECKING

import attrs
from croniter import CroniterBadDateError, croniter

from poolder_trio.policies import checks
from poolder_trio.policies.crontab import Crontab, read
from poolder_trio.policies.daytime import ZONE, zone_of
from poolder_trio.policies.instants import SECOND, change, in_utc, readings
from poolder_trio.policies.jitter import own_seed, spread

if TYPE_CHECKING:
    from datetime import tzinfo

_EXPECTED = "a cron expression of 5 fields, or 6 with the seconds first, or @daily and its like"
# Leap days on one day of the week are up to 40 years apart; what has not come by then never will.
_START = datetime(2000, 1, 1)  # noqa: DTZ001  # as all local times here


@attrs.frozen
class Cron:
    """Fires when clocks in a time zone show what a cron expression says.

    Lists, ranges (also ``fri-mon``), steps and names as in crontab; 0 and 7 are Sunday. Among days
    of the month, ``L`` is the last, and ``15W`` the weekday nearest to the 15th; among days of the
    week, ``5#3`` is the third Friday, and ``L5`` the last. If day of month and day of week are both
    given, either is enough; if one of them begins with a ``*``, as in ``*/2``, both have to match.

    When clocks change, it does as Vixie cron does. A fixed time, without a ``*`` in seconds,
    minutes and hours, that clocks skip comes at the first moment after the gap, and several that
    they skip come as one; of a time that they show twice, the first counts. With a ``*`` in one
    of the three it follows the clocks: nothing in the gap, and both times what they show twice.

    Args:
        expression: five fields, six with the seconds first, or ``@daily`` and its like.
        timezone: an IANA name or a ``tzinfo``.
        jitter: seconds by which each firing is late at most, at random, but never so late as the
            next due time.
        seed: what the random numbers come from. By default, in a component it is made of the job's
            name, so that a trigger that is set anew, or after a restart, draws the same; outside
            of one, each trigger has its own.

    Raises:
        TypeError, ValueError: one of them is wrong, or there is no such date, as in
            ``0 0 30 2 *``.
    """

    expression: str = attrs.field(validator=checks.instance_of(str, _EXPECTED).field)
    timezone: str | tzinfo = attrs.field(default="UTC", validator=ZONE.field)
    jitter: float = attrs.field(default=0.0, validator=checks.FINITE_SECONDS.field)
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
    _steps: tuple[_Steps, ...] = attrs.field(init=False, eq=False, repr=False)
    _zone: tzinfo = attrs.field(init=False, eq=False, repr=False)
    _fixed: bool = attrs.field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        table = _parse(self.expression)
        object.__setattr__(self, "_steps", _steppers(self.expression, table))
        object.__setattr__(self, "_zone", zone_of(self.timezone))
        object.__setattr__(self, "_fixed", table.fixed)

    @property
    def fixed(self) -> bool:
        """Whether it is a fixed time, without a ``*`` in seconds, minutes and hours."""
        return self._fixed

    @property
    def drawn_from(self) -> int:
        """What its random numbers come from."""
        return self._own_seed if self.seed is None else self.seed

    def next(self, after: datetime) -> datetime | None:
        """Return the first firing after ``after``, in UTC; ``None`` if none is before year 10000.

        Raises:
            TypeError, ValueError: ``after`` is no aware datetime.
        """
        return spread(self._due, in_utc("after", after, "Cron.next"), self.jitter, self.drawn_from)

    def _due(self, after: datetime) -> datetime | None:
        try:
            return self._find(after.replace(microsecond=0))
        except (OverflowError, ValueError):  # beyond the years that a datetime has
            return None

    def _find(self, after: datetime) -> datetime:
        local = self._match(after)
        while True:
            first, second = readings(local, self._zone)
            if first <= second:
                # Only what is shown twice has passed once: then it is the second time.
                return first if first > after else second
            end = change(second, first, self._zone)
            if self._fixed:
                return end
            local = self._step(_shown(end, self._zone) - SECOND)

    def _match(self, after: datetime) -> datetime:
        """Return the first local time after ``after`` that matches; it may be in a gap."""
        zone = self._zone
        local = _shown(after, zone)
        first, second = readings(local, zone)
        if first >= second:
            return self._step(local)
        # Clocks show each time from `start` to `end` twice: before `again`, and from then on.
        again = change(first, second, zone)
        start, end = _shown(again, zone), again.replace(tzinfo=None) + (local - _naive(first))
        if after >= again:
            return self._step(end - SECOND if self._fixed else local)
        found = self._step(local)
        return self._step(start - SECOND) if found >= end and not self._fixed else found

    def _step(self, local: datetime) -> datetime:
        found = []
        for steps in self._steps:
            try:
                found.append(steps.after(local))
            except (OverflowError, ValueError):  # beyond the years of a datetime
                continue
        if not found:
            raise OverflowError
        return min(found)


class _Steps:
    """Steps from one local time to the next, of an expression in croniter's words.

    It remembers what it found last: a date that is rare takes long to find, and is asked for at
    each firing of the alternatives.
    """

    __slots__ = ("_croniter", "_known")

    def __init__(self, line: str) -> None:
        self._croniter = croniter(line, _START, day_or=False, second_at_beginning=True)
        #: Between these two there is none; the second is one. They change together.
        self._known = (_START, _START)

    def after(self, local: datetime) -> datetime:
        """Return the first date after ``local``.

        Raises:
            CroniterBadDateError: there is none in the next 50 years.
            OverflowError, ValueError: it is beyond the years of a datetime.
        """
        early, found = self._known
        if early <= local < found:
            return found
        # A copy, for it keeps its position, and threads may share what a class declares.
        # It is given no zone: what it makes of changes of the clocks is something else.
        found = copy.copy(self._croniter).get_next(datetime, local)
        self._known = (local, found)
        return found


def _parse(expression: str) -> Crontab:
    try:
        return read(expression)
    except ValueError as error:
        raise ValueError(f"{_message(expression)}: {error}") from error


def _steppers(expression: str, table: Crontab) -> tuple[_Steps, ...]:
    """Return what steps from one local time to the next: alternatives, of which each has dates.

    One that never comes is left out: to find that it does not takes croniter a search through 50
    years, which is not to be made at each firing of the others.

    Raises:
        ValueError: none has a date.
    """
    found = []
    for line in table.lines():
        steps = _Steps(line)
        try:
            steps.after(_START)
        except CroniterBadDateError:
            continue
        found.append(steps)
    if not found:
        raise ValueError(f"{_message(expression)}: there is no such date")
    return tuple(found)


def _message(expression: str) -> str:
    return f"expression must be {_EXPECTED}, got {expression!r} (Cron)"


def _naive(moment: datetime) -> datetime:
    return moment.replace(tzinfo=None, fold=0)


def _shown(moment: datetime, zone: tzinfo) -> datetime:
    """Return what clocks in ``zone`` show, as a naive datetime."""
    return _naive(moment.astimezone(zone))

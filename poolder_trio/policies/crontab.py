"""The fields of a cron expression, read into the numbers that they stand for."""

from __future__ import annotations

import re

import attrs

ALIASES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_WEEKDAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
_TERM = re.compile(r"(\*|\w+)(?:-(\w+))?(?:/(\d+))?", re.ASCII)
_NEAREST = re.compile(r"(\d+)w|w(\d+)", re.ASCII)
_NTH = re.compile(r"([^#]+)#([1-5])", re.ASCII)
_LAST = re.compile(r"l(\d)", re.ASCII)


@attrs.frozen
class Field:
    """Which values a field may have, and what they are called."""

    name: str
    low: int
    high: int
    names: dict[str, int] = attrs.field(factory=dict)
    #: One more value, and another way to write `low`: 7 is Sunday, too.
    also: int = -1

    def values(self, text: str) -> set[int]:
        """Return the numbers that a part of a list stands for: ``*``, 5, 2-8, each also ``/3``.

        Raises:
            ValueError: it is none of these.
        """
        match = _TERM.fullmatch(text)
        if match is None or (match[1] == "*" and match[2]):
            raise ValueError(f"{text!r} is no {self.name}")
        step = int(match[3] or 1)
        if not step:
            raise ValueError(f"{text!r} steps by 0")
        if match[1] == "*":
            return set(range(self.low, self.high + 1, step))
        low = self._number(match[1])
        high = self._number(match[2]) if match[2] else self.high if match[3] else low
        size = self.high - self.low + 1
        if high < low:  # as from Friday to Monday, or from 23 to 3
            low = self.low if low == self.also else low
            high += size if high < low else 0
        return {(each - self.low) % size + self.low for each in range(low, high + 1, step)}

    def _number(self, text: str) -> int:
        number = self.names.get(text)
        if number is None:
            if not text.isdigit():
                raise ValueError(f"{text!r} is no {self.name}")
            number = int(text)
            if not (self.low <= number <= self.high or number == self.also):
                raise ValueError(
                    f"{self.name} {number} is out of range, which is {self.low} to {self.high}"
                )
        return number


SECOND = Field("second", 0, 59)
MINUTE = Field("minute", 0, 59)
HOUR = Field("hour", 0, 23)
# As the end of a range, "l" is the 31st; by itself it is the last of any month.
DAY = Field("day of the month", 1, 31, {"l": 31})
MONTH = Field("month", 1, 12, {name: n for n, name in enumerate(_MONTHS, 1)})
WEEKDAY = Field("day of the week", 0, 6, {name: n for n, name in enumerate(_WEEKDAYS)}, 7)


@attrs.frozen
class Crontab:
    """What an expression says, of each field the numbers."""

    second: frozenset[int] | None
    minute: frozenset[int]
    hour: frozenset[int]
    month: frozenset[int]
    #: The days on which it may be, as pairs of a day of the month and a day of the week, in
    #: croniter's words: each pair is enough, and in each both have to match.
    days: tuple[tuple[str, str], ...]
    #: Whether there is no ``*`` in seconds, minutes and hours.
    fixed: bool

    def lines(self) -> list[str]:
        """Return expressions, in croniter's words, that together stand for this one."""
        seconds = "" if self.second is None else f"{_listed(SECOND, self.second)} "
        minutes, hours = _listed(MINUTE, self.minute), _listed(HOUR, self.hour)
        months = _listed(MONTH, self.month)
        return [f"{seconds}{minutes} {hours} {day} {months} {week}" for day, week in self.days]


def read(expression: str) -> Crontab:
    """Return what a cron expression says.

    Raises:
        ValueError: it is wrong; the error says where.
    """
    text = expression.strip().lower()
    fields = ALIASES.get(text, text).split()
    if len(fields) not in {5, 6}:
        raise ValueError(f"it has {len(fields)} fields")
    *first, minute, hour, day, month, weekday = fields
    return Crontab(
        second=_values(SECOND, first[0]) if first else None,
        minute=_values(MINUTE, minute),
        hour=_values(HOUR, hour),
        month=_values(MONTH, month),
        days=_days("*" if day == "?" else day, "*" if weekday == "?" else weekday),
        fixed="*" not in "".join([*first, minute, hour]),
    )


def _values(field: Field, text: str) -> frozenset[int]:
    return frozenset().union(*map(field.values, text.split(",")))


def _listed(field: Field, values: set[int] | frozenset[int]) -> str:
    if len(values) > field.high - field.low:
        return "*"
    return ",".join(map(str, sorted(values)))


def _days(day: str, weekday: str) -> tuple[tuple[str, str], ...]:
    """Return the days as `Crontab` has them."""
    days, weekdays = _of_month(day), _of_week(weekday)
    # As with Vixie cron: a field that begins with a * is a condition, two others are alternatives.
    if day.startswith("*") or weekday.startswith("*"):
        return tuple((each, other) for each in days for other in weekdays)
    return (*((each, "*") for each in days), *(("*", other) for other in weekdays))


def _of_month(text: str) -> list[str]:
    """Return the days of the month that a field names, in parts that croniter takes each."""
    plain: set[int] = set()
    parts: list[str] = []
    for term in text.split(","):
        nearest = _NEAREST.fullmatch(term)
        if nearest:
            (day,) = DAY.values(nearest[1] or nearest[2])
            parts.append(f"{day}w")
        elif term == "l":
            parts.append("l")
        elif term.startswith("l"):
            raise ValueError(f"{term!r} is no day of the month")
        else:
            plain |= DAY.values(term)
    return [_listed(DAY, plain), *parts] if plain else parts


def _of_week(text: str) -> list[str]:
    """Return the days of the week that a field names, in parts that croniter takes each."""
    plain: set[int] = set()
    parts: list[str] = []
    for term in text.split(","):
        nth, last = _NTH.fullmatch(term), _LAST.fullmatch(term)
        if nth:
            if "*" in nth[1] or "/" in nth[1]:
                raise ValueError(f"{term!r} is no day of the week")
            parts += [f"{day}#{nth[2]}" for day in sorted(WEEKDAY.values(nth[1]))]
        elif last:
            (day,) = WEEKDAY.values(last[1])
            parts.append(f"l{day}")
        else:
            plain |= WEEKDAY.values(term)
    return [*([_listed(WEEKDAY, plain)] if plain else []), *([",".join(parts)] if parts else [])]

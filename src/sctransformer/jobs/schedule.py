"""Schedules in crontab syntax, checked, and translated to forms that all schedulers interpret the same way.

croniter and similar libraries compute run times; they neither reject expressions that schedulers read differently nor
write systemd's OnCalendar, so the parser is our own.
"""

import calendar
import re
from dataclasses import dataclass
from typing import NamedTuple, Self

_EXAMPLE = "expected five fields as in crontab, for example '0 3 * * *'"
_PART = re.compile(r"(?:(\*)|([0-9]{1,2}|[A-Za-z]{3})(?:-([0-9]{1,2}|[A-Za-z]{3}))?)(?:/([0-9]{1,2}))?")
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAYS = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat")
_LEAP_YEAR = 2024
_EVERY = ("*", "*/1")


class _Field(NamedTuple):
    name: str
    first: int
    last: int
    names: tuple[str, ...] = ()


_MINUTE, _HOUR = _Field("minute", 0, 59), _Field("hour", 0, 23)
_DAY, _MONTH = _Field("day of month", 1, 31), _Field("month", 1, 12, _MONTHS)
_WEEKDAY = _Field("day of week", 0, 7, tuple(day.upper() for day in _DAYS))
_FIELDS = (_MINUTE, _HOUR, _DAY, _MONTH, _WEEKDAY)


@dataclass(frozen=True)
class Schedule:
    """The minutes at which a job runs.

    Where neither all days of the month nor all of the week are given, a day that is in either runs the job, as in
    crontab(5).
    """

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    """Of the month, from 1."""
    months: frozenset[int]
    weekdays: frozenset[int]
    """0 is Sunday, 6 Saturday."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read numbers, names, ranges, lists and steps (of `*` or a range) in five fields.

        Raises:
            ValueError: the expression is not valid, or schedulers would interpret it differently.
        """
        words = re.split(r"[ \t]+", text.strip(" \t"))
        if len(words) != len(_FIELDS):
            raise ValueError(f"{_EXAMPLE}, found {text!r}")
        minutes, hours, days, months, weekdays = (
            _numbers(word, field) for word, field in zip(words, _FIELDS, strict=True)
        )
        weekdays = frozenset(day % 7 for day in weekdays)
        if words[2] not in _EVERY and words[4] not in _EVERY:
            if "*" in words[2] + words[4]:
                raise ValueError(
                    f"days of the month {words[2]!r} with days of the week {words[4]!r} mean both to some schedulers "
                    "and either to others; write numbers in place of '*', or leave one field '*'"
                )
            if len(days) == _DAY.last or len(weekdays) == len(_DAYS):  # every day is in one of the two
                days, weekdays = _all(_DAY), frozenset(range(len(_DAYS)))
        if len(weekdays) == len(_DAYS) and min(days) > max(
            calendar.monthrange(_LEAP_YEAR, month)[1] for month in months
        ):
            raise ValueError(f"{text!r} never comes: month {words[3]} has no day {min(days)}")
        return cls(minutes, hours, days, months, weekdays)

    def crontab(self) -> str:
        """Five fields of numbers: not every scheduler supports names in lists, or 7 for Sunday."""
        fields = (self.minutes, self.hours, self.days, self.months)
        texts = [_listed(numbers, field) for numbers, field in zip(fields, _FIELDS, strict=False)]
        return " ".join([*texts, "*" if self._every_weekday else ",".join(map(str, sorted(self.weekdays)))])

    def calendars(self) -> list[str]:
        """As OnCalendar of systemd; two if day and weekday are given, because one would require both."""
        month, day = _listed(self.months, _MONTH), _listed(self.days, _DAY)
        time = f"{_listed(self.hours, _HOUR)}:{_listed(self.minutes, _MINUTE)}:00"
        of_month = f"*-{month}-{day} {time}"
        if self._every_weekday:
            return [of_month]
        of_week = f"{','.join(_DAYS[day] for day in sorted(self.weekdays))} *-{month}-* {time}"
        return [of_week] if day == "*" else [of_month, of_week]

    @property
    def _every_weekday(self) -> bool:
        return len(self.weekdays) == len(_DAYS)


def _numbers(word: str, field: _Field) -> frozenset[int]:
    return frozenset(number for part in word.split(",") for number in _range(part, field))


def _range(part: str, field: _Field) -> range:
    found = _PART.fullmatch(part)
    if found is None:
        raise ValueError(f"{field.name} {part!r} is not a number, range or step; {_EXAMPLE}")
    every, first, last, step = found.groups()
    if step is not None and not 1 <= int(step) <= field.last:
        raise ValueError(f"{field.name} {part!r} has step {step}; expected 1 to {field.last}")
    if every:
        return range(field.first, field.last + 1, int(step or 1))
    if step is not None and last is None:
        raise ValueError(f"{field.name} {part!r}: schedulers differ in it; write {first}-{field.last}/{step}")
    start, stop = _number(first, field), _number(last or first, field)
    if start > stop:
        raise ValueError(f"{field.name} {part!r} runs backwards; write two ranges with a comma")
    return range(start, stop + 1, int(step or 1))


def _number(text: str, field: _Field) -> int:
    if text.upper() in field.names:
        return field.names.index(text.upper()) + field.first
    if not text.isdigit() or not field.first <= int(text) <= field.last:
        known = f" or {field.names[0]} to {field.names[-1]}" if field.names else ""
        raise ValueError(f"{field.name} is {text!r}; expected {field.first} to {field.last}{known}")
    return int(text)


def _all(field: _Field) -> frozenset[int]:
    return frozenset(range(field.first, field.last + 1))


def _listed(numbers: frozenset[int], field: _Field) -> str:
    return "*" if numbers == _all(field) else ",".join(map(str, sorted(numbers)))

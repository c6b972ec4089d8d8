"""A job's schedule: what is wrong is one sentence, and every scheduler is given the minutes that crontab means."""

import calendar
import shutil
import subprocess
from datetime import date, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sctransformer.jobs.schedule import Schedule

FIELDS = {"minute": (0, 59), "hour": (0, 23), "day": (1, 31), "month": (1, 12), "weekday": (0, 7)}
NAMES = {
    "month": {name.lower(): number for number, name in enumerate(calendar.month_abbr) if number},
    "weekday": {name.lower(): number for number, name in enumerate(["Sun", *calendar.day_abbr[:6]])},
}
Days = set[date]
FIRST, SPAN = date(2027, 11, 20), 420  # a leap day and a change of year


@st.composite
def part(draw: st.DrawFn, field: str) -> tuple[str, set[int]]:
    """A part of a list, and the numbers that it means."""
    low, high = FIELDS[field]
    start, stop = sorted(draw(st.tuples(*[st.integers(low, high)] * 2)))
    step = draw(st.integers(1, high))
    kind = draw(st.sampled_from(["number", "name", "range", "step", "star"]))
    if kind == "name" and field in NAMES:
        name = draw(st.sampled_from(sorted(NAMES[field])))
        return draw(st.sampled_from([name, name.upper(), name.title()])), {NAMES[field][name]}
    if kind == "range":
        return f"{start}-{stop}", set(range(start, stop + 1))
    if kind == "step":
        return f"{start}-{stop}/{step}", set(range(start, stop + 1, step))
    if kind == "star":
        return f"*/{step}", set(range(low, high + 1, step))
    return str(start), {start}


@st.composite
def field(draw: st.DrawFn, name: str) -> tuple[str, set[int]]:
    """A field, and the numbers that it means."""
    if draw(st.booleans()):
        return "*", set(range(FIELDS[name][0], FIELDS[name][1] + 1))
    parts = draw(st.lists(part(name), min_size=1, max_size=3))
    return ",".join(text for text, _ in parts), set().union(*(numbers for _, numbers in parts))


def as_crontab_means(texts: list[str], numbers: list[set[int]]) -> tuple[Days, set[tuple[int, int]]]:
    """The days of the span and the times of day, by crontab(5)."""
    minutes, hours, days, months, weekdays = numbers
    either = texts[2] not in ("*", "*/1") and texts[4] not in ("*", "*/1")
    found = set()
    for day in span():
        of_month, of_week = day.day in days, bool({day.isoweekday() % 7, day.isoweekday()} & weekdays)
        if day.month in months and (of_month or of_week if either else of_month and of_week):
            found.add(day)
    return found, {(hour, minute) for hour in hours for minute in minutes}


def as_systemd_means(text: str) -> tuple[Days, set[tuple[int, int]]]:
    """The same of a calendar in systemd's words: lists of numbers, `*`, and names of weekdays."""
    *weekday, dates, time = text.split()
    year, month, day = dates.split("-")
    hour, minute, second = time.split(":")
    assert (year, second) == ("*", "00")
    names = weekday[0].split(",") if weekday else list(calendar.day_abbr)
    days = {
        one for one in span()
        if one.day in listed(day, 1, 31) and one.month in listed(month, 1, 12) and one.strftime("%a") in names
    }  # fmt: skip
    return days, {(one, other) for one in listed(hour, 0, 23) for other in listed(minute, 0, 59)}


def listed(text: str, low: int, high: int) -> set[int]:
    return set(range(low, high + 1)) if text == "*" else {int(number) for number in text.split(",")}


def span() -> list[date]:
    return [FIRST + timedelta(days=number) for number in range(SPAN)]


@settings(max_examples=150, deadline=None)
@given(st.tuples(*[field(name) for name in FIELDS]))
def test_systemd_is_given_the_minutes_that_crontab_means(fields: tuple[tuple[str, set[int]], ...]) -> None:
    texts, numbers = [text for text, _ in fields], [each for _, each in fields]
    expression = " ".join(texts)
    try:
        schedule = Schedule.parse(expression)
    except ValueError as error:
        assert "never comes" in str(error) or "mean both to some schedulers" in str(error)
        never = not as_crontab_means(texts, numbers)[0]
        assert never or ("*" in texts[2] + texts[4] and "*" not in (texts[2], texts[4]))
        return
    days, times = as_crontab_means(texts, numbers)
    assert days
    rendered = [as_systemd_means(text) for text in schedule.calendars()]
    assert set().union(*(each for each, _ in rendered)) == days
    assert all(each == times for _, each in rendered)
    assert Schedule.parse(schedule.crontab()) == schedule


@pytest.mark.parametrize(
    ("schedule", "crontab", "calendars"),
    [
        ("*/15 * * * *", "0,15,30,45 * * * *", ["*-*-* *:0,15,30,45:00"]),
        ("0  2\t* * 1-5", "0 2 * * 1,2,3,4,5", ["Mon,Tue,Wed,Thu,Fri *-*-* 2:0:00"]),
        ("30 1 1,15 * *", "30 1 1,15 * *", ["*-*-1,15 1:30:00"]),
        ("0 0 1 */3 *", "0 0 1 1,4,7,10 *", ["*-1,4,7,10-1 0:0:00"]),
        ("0 3 1 JAN *", "0 3 1 1 *", ["*-1-1 3:0:00"]),
        ("0 3 * * */2", "0 3 * * 0,2,4,6", ["Sun,Tue,Thu,Sat *-*-* 3:0:00"]),
        ("0 3 * * 1-5/2", "0 3 * * 1,3,5", ["Mon,Wed,Fri *-*-* 3:0:00"]),
        ("0 3 * * MON,wed", "0 3 * * 1,3", ["Mon,Wed *-*-* 3:0:00"]),
        ("0 3 * * 5-7", "0 3 * * 0,5,6", ["Sun,Fri,Sat *-*-* 3:0:00"]),
        ("0 3 29 2 *", "0 3 29 2 *", ["*-2-29 3:0:00"]),
        ("0 3 1 * MON", "0 3 1 * 1", ["*-*-1 3:0:00", "Mon *-*-* 3:0:00"]),
        ("0 3 1-31 * MON", "0 3 * * *", ["*-*-* 3:0:00"]),
    ],
)
def test_schedules_in_the_words_of_schedulers(schedule: str, crontab: str, calendars: list[str]) -> None:
    parsed = Schedule.parse(schedule)
    assert (parsed.crontab(), parsed.calendars()) == (crontab, calendars)
    if shutil.which("systemd-analyze"):
        subprocess.run(["systemd-analyze", "calendar", *calendars], check=True, capture_output=True)


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        ("0 3 * * 9", "day of week is '9'; expected 0 to 7 or SUN to SAT"),
        ("99 99 99 99 99", "minute is '99'; expected 0 to 59"),
        ("0 3 * FEBR *", "month 'FEBR' is not a number, range or step"),
        ("0 3 * MON *", "month is 'MON'; expected 1 to 12 or JAN to DEC"),
        ("/////", "expected five fields as in crontab, for example '0 3 * * *', found '/////'"),
        ("@daily", "expected five fields as in crontab"),
        ("", "expected five fields as in crontab"),
        ("0 3 * * * root", "expected five fields as in crontab"),
        ("0 3 *\n* *", "expected five fields as in crontab"),
        ("0 3 * * \n*", r"day of week '\n*' is not a number"),
        ("٣ 3 * * *", "minute '٣' is not a number"),
        ("0 3 ? * *", "day of month '?' is not a number"),
        ("0 3 , * *", "day of month '' is not a number"),
        ("*/0 * * * *", "has step 0; expected 1 to 59"),
        ("*/90 * * * *", "has step 90"),
        ("5/15 * * * *", "write 5-59/15"),
        ("0 22-2 * * *", "hour '22-2' runs backwards"),
        ("0 3 31 2,4 *", "never comes: month 2,4 has no day 31"),
        ("0 3 */2 * MON", "mean both to some schedulers and either to others"),
    ],
)
def test_what_is_no_schedule(schedule: str, words: str) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]+$") as caught:
        Schedule.parse(schedule)
    assert words in str(caught.value)

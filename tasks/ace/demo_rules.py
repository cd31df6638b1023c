"""The world of the demo task: thirty rules, twelve of which everybody knows.

The others are of units, a calendar and a tariff that do not exist, so that nobody can apply them who was not
told. A rule's lesson says all that it takes.
"""

import calendar
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from types import MappingProxyType

Operands = Mapping[str, str]

STRATEGIES = "STRATEGIES & INSIGHTS"
FORMULAS = "FORMULAS & CALCULATIONS"
MISTAKES = "COMMON MISTAKES TO AVOID"
HEURISTICS = "PROBLEM-SOLVING HEURISTICS"
CLUES = "CONTEXT CLUES & INDICATORS"


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Something that questions are asked about."""

    id: str
    section: str
    """Of a playbook, where its lesson belongs."""
    topic: str
    """The rule's name in words; follows "the rule on"."""
    lesson: str
    """One sentence that says all one needs to answer."""
    known: bool = False
    """Whether it is common knowledge."""
    question: str
    """With the operands' names in braces."""
    operands: Mapping[str, Sequence[str]]
    """{name: what it can be}."""
    solve: Callable[[Operands], Decimal | int | date | str]


def _numbers(first: int, last: int, *, decimals: int = 0) -> tuple[str, ...]:
    """Return the numbers from one to another, as those of the last decimal; with decimals, none is round."""
    texts = (str(Decimal(number).scaleb(-decimals)) for number in range(first, last + 1))
    return tuple(text for text in texts if not (decimals and text.endswith("0")))


def _days(first_year: int, last_year: int, *, step: int) -> tuple[str, ...]:
    first, last = date(first_year, 1, 3), date(last_year, 12, 31)
    return tuple(
        (first + timedelta(days=days)).isoformat() for days in range(0, (last - first).days + 1, step)
    )


def _months() -> tuple[str, ...]:
    return tuple(f"{year}-{month:02d}" for year in range(2019, 2029) for month in range(1, 13))


def _number(operands: Operands, name: str) -> Decimal:
    return Decimal(operands[name])


def _day(operands: Operands, name: str) -> date:
    return date.fromisoformat(operands[name])


def _weekday(day: date) -> str:
    return calendar.day_name[day.weekday()]


def _month_end(operands: Operands) -> date:
    year, month = map(int, operands["month"].split("-"))
    return date(year, month, calendar.monthrange(year, month)[1])


_COMMON = (
    Rule(
        id="kilometres",
        section=FORMULAS,
        topic="kilometres and metres",
        lesson="A kilometre is 1,000 metres, so multiply kilometres by 1,000 to get metres.",
        known=True,
        question="How many metres are {kilometres} kilometres?",
        operands={"kilometres": _numbers(21, 489, decimals=1)},
        solve=lambda given: _number(given, "kilometres") * 1000,
    ),
    Rule(
        id="hours",
        section=FORMULAS,
        topic="hours and minutes",
        lesson="An hour is 60 minutes, so multiply the hours by 60 and add the minutes.",
        known=True,
        question="How many minutes are {hours} hours and {minutes} minutes?",
        operands={"hours": _numbers(2, 30), "minutes": _numbers(1, 59)},
        solve=lambda given: _number(given, "hours") * 60 + _number(given, "minutes"),
    ),
    Rule(
        id="kilograms",
        section=FORMULAS,
        topic="kilograms and grams",
        lesson="A kilogram is 1,000 grams, so multiply kilograms by 1,000 to get grams.",
        known=True,
        question="How many grams are {kilograms} kilograms?",
        operands={"kilograms": _numbers(101, 2499, decimals=2)},
        solve=lambda given: _number(given, "kilograms") * 1000,
    ),
    Rule(
        id="millilitres",
        section=FORMULAS,
        topic="millilitres and litres",
        lesson="A litre is 1,000 millilitres, so divide millilitres by 1,000 to get litres.",
        known=True,
        question="How many litres are {millilitres} millilitres?",
        operands={"millilitres": _numbers(1001, 9999)},
        solve=lambda given: _number(given, "millilitres").scaleb(-3),
    ),
    Rule(
        id="fahrenheit",
        section=FORMULAS,
        topic="degrees Celsius and Fahrenheit",
        lesson="Multiply degrees Celsius by 1.8 and add 32 to get degrees Fahrenheit.",
        known=True,
        question="How many degrees Fahrenheit are {celsius} degrees Celsius?",
        operands={"celsius": _numbers(-25, 95)},
        solve=lambda given: _number(given, "celsius") * Decimal("1.8") + 32,
    ),
    Rule(
        id="feet",
        section=FORMULAS,
        topic="feet and inches",
        lesson="A foot is 12 inches, so multiply the feet by 12 and add the inches.",
        known=True,
        question="How many inches are {feet} feet and {inches} inches?",
        operands={"feet": _numbers(2, 40), "inches": _numbers(1, 11)},
        solve=lambda given: _number(given, "feet") * 12 + _number(given, "inches"),
    ),
    Rule(
        id="weekday",
        section=HEURISTICS,
        topic="the weekday of a date",
        lesson=(
            "To find the weekday of a date, count the days from one whose weekday you know and take them"
            " modulo 7."
        ),
        known=True,
        question="Which day of the week is {date}?",
        operands={"date": _days(2001, 2030, step=5)},
        solve=lambda given: _weekday(_day(given, "date")),
    ),
    Rule(
        id="days-between",
        section=MISTAKES,
        topic="days from one date to another",
        lesson="From one date to another, count the day of the second one but not that of the first.",
        known=True,
        question="How many days after {first} is {second}?",
        operands={"first": _days(2023, 2023, step=4), "second": _days(2024, 2024, step=5)},
        solve=lambda given: (_day(given, "second") - _day(given, "first")).days,
    ),
    Rule(
        id="leap-year",
        section=HEURISTICS,
        topic="leap years",
        lesson=(
            "February has 28 days, and one more in years that 4 divides, but of those that 100 divides only"
            " in those that 400 divides."
        ),
        known=True,
        question="How many days do January and February of the year {year} have together?",
        operands={"year": _numbers(1896, 2104)},
        solve=lambda given: 59 + calendar.isleap(int(given["year"])),
    ),
    Rule(
        id="days-later",
        section=HEURISTICS,
        topic="the date some days later",
        lesson="To find a date some days later, go on month by month with the days that each month has.",
        known=True,
        question="Which date is {days} days after {date}? Write it as YYYY-MM-DD.",
        operands={"days": _numbers(20, 300), "date": _days(2020, 2026, step=6)},
        solve=lambda given: _day(given, "date") + timedelta(days=int(given["days"])),
    ),
    Rule(
        id="month-end",
        section=CLUES,
        topic="the length of months",
        lesson=(
            "April, June, September and November have 30 days, February has 28, or 29 in leap years, and all"
            " other months have 31."
        ),
        known=True,
        question="Which date is the last day of the month {month}? Write it as YYYY-MM-DD.",
        operands={"month": _months()},
        solve=_month_end,
    ),
    Rule(
        id="day-of-year",
        section=CLUES,
        topic="the day of the year",
        lesson="The day of the year is the sum of the days of all months before, and the day of the month.",
        known=True,
        question="The first of January is day 1 of its year. Which day of its year is {date}?",
        operands={"date": _days(2016, 2028, step=3)},
        solve=lambda given: _day(given, "date").timetuple().tm_yday,
    ),
)

_UNITS = (
    Rule(
        id="pennals",
        section=FORMULAS,
        topic="brasks and pennals",
        lesson="A brask is 14 pennals, so multiply brasks by 14 to get pennals.",
        question=(
            "On the Selvane Isles lengths are measured in brasks and pennals. How many pennals are"
            " {brasks} brasks?"
        ),
        operands={"brasks": _numbers(3, 90)},
        solve=lambda given: _number(given, "brasks") * 14,
    ),
    Rule(
        id="quorls",
        section=FORMULAS,
        topic="quorls and litres",
        lesson="A quorl holds 3.5 litres, so multiply quorls by 3.5 to get litres.",
        question="The Selvane Isles measure oil in quorls. How many litres are {quorls} quorls?",
        operands={"quorls": _numbers(4, 99)},
        solve=lambda given: _number(given, "quorls") * Decimal("3.5"),
    ),
    Rule(
        id="verns",
        section=FORMULAS,
        topic="degrees Celsius and verns",
        lesson="Multiply degrees Celsius by 3 and add 11 to get verns.",
        question=(
            "The Selvane Isles measure temperature in verns. How many verns are {celsius} degrees Celsius?"
        ),
        operands={"celsius": _numbers(-12, 60)},
        solve=lambda given: _number(given, "celsius") * 3 + 11,
    ),
    Rule(
        id="dribs",
        section=FORMULAS,
        topic="tarns, hests and dribs",
        lesson=(
            "A tarn is 9 hests and a hest is 16 dribs, so multiply tarns by 144, hests by 16, and add"
            " them up."
        ),
        question=(
            "The Selvane Isles weigh spice in tarns, hests and dribs. How many dribs are {tarns} tarns"
            " and {hests} hests?"
        ),
        operands={"tarns": _numbers(2, 25), "hests": _numbers(1, 8)},
        solve=lambda given: _number(given, "tarns") * 144 + _number(given, "hests") * 16,
    ),
    Rule(
        id="fenns",
        section=MISTAKES,
        topic="metres and fenns",
        lesson=(
            "Multiply metres by 8 and then take away 5 to get fenns, for a depth is counted from the keel."
        ),
        question=(
            "Charts of the Selvane Isles give depths in fenns. How many fenns are {metres} metres of depth?"
        ),
        operands={"metres": _numbers(3, 80)},
        solve=lambda given: _number(given, "metres") * 8 - 5,
    ),
    Rule(
        id="skells",
        section=MISTAKES,
        topic="skells of rope, ells and knots",
        lesson="A skell of rope is 6 ells, and each knot in it takes 2 ells away.",
        question=(
            "Rope on the Selvane Isles is sold in skells. How many ells long is one of {skells} skells"
            " with {knots} knots in it?"
        ),
        operands={"skells": _numbers(7, 50), "knots": _numbers(2, 9)},
        solve=lambda given: _number(given, "skells") * 6 - _number(given, "knots") * 2,
    ),
)

_CALENDAR = (
    Rule(
        id="orsand-month",
        section=CLUES,
        topic="the months of the Orsand calendar",
        lesson="Every month of the Orsand calendar has 33 days.",
        question="How many days are {months} months and {days} days of the Orsand calendar?",
        operands={"months": _numbers(2, 30), "days": _numbers(1, 28)},
        solve=lambda given: _number(given, "months") * 33 + _number(given, "days"),
    ),
    Rule(
        id="orsand-week",
        section=CLUES,
        topic="the weeks of the Orsand calendar",
        lesson="Every week of the Orsand calendar has 9 days.",
        question="How many days are {weeks} weeks and {days} days of the Orsand calendar?",
        operands={"weeks": _numbers(3, 50), "days": _numbers(1, 6)},
        solve=lambda given: _number(given, "weeks") * 9 + _number(given, "days"),
    ),
    Rule(
        id="orsand-year",
        section=FORMULAS,
        topic="the years of the Orsand calendar",
        lesson="Take 816 away from a common year to get the Orsand year.",
        question="Which year of the Orsand calendar is the common year {year}?",
        operands={"year": _numbers(1700, 2100)},
        solve=lambda given: _number(given, "year") - 816,
    ),
    Rule(
        id="market-day",
        section=STRATEGIES,
        topic="the market days of Orsand",
        lesson="In every month of the Orsand calendar there is a market on each day whose number 6 divides.",
        question="Which day of the month is the first market day in Orsand after day {day} of the month?",
        operands={"day": _numbers(6, 29)},
        solve=lambda given: (int(given["day"]) // 6 + 1) * 6,
    ),
    Rule(
        id="lantern-feast",
        section=STRATEGIES,
        topic="the Lantern Feast of Orsand",
        lesson="The Lantern Feast is held 40 days after the harbour of Orsand opens.",
        question=(
            "The harbour of Orsand opens on {date}, by the common calendar. On which date is the"
            " Lantern Feast?"
            " Write it as YYYY-MM-DD."
        ),
        operands={"date": _days(2018, 2030, step=7)},
        solve=lambda given: _day(given, "date") + timedelta(days=40),
    ),
    Rule(
        id="rest-day",
        section=STRATEGIES,
        topic="the rest day of Orsand",
        lesson="The rest day of Orsand is 3 days after the moon feast.",
        question=(
            "The moon feast of Orsand is on {date}, by the common calendar. On which weekday is the"
            " rest day of"
            " Orsand that follows?"
        ),
        operands={"date": _days(2018, 2030, step=5)},
        solve=lambda given: _weekday(_day(given, "date") + timedelta(days=3)),
    ),
)

_TARIFF = (
    Rule(
        id="mooring",
        section=FORMULAS,
        topic="mooring at Velmouth",
        lesson="Mooring at Velmouth costs 12 crowns for each metre of the ship's length and each day.",
        question=(
            "How many crowns does mooring at Velmouth cost for a ship of {metres} metres that stays"
            " {days} days?"
        ),
        operands={"metres": _numbers(8, 60), "days": _numbers(2, 14)},
        solve=lambda given: _number(given, "metres") * _number(given, "days") * 12,
    ),
    Rule(
        id="crane",
        section=MISTAKES,
        topic="the crane at Velmouth",
        lesson="The crane at Velmouth costs 35 crowns for each lift but the first 2, which are free.",
        question="How many crowns does the crane at Velmouth cost for {lifts} lifts?",
        operands={"lifts": _numbers(4, 60)},
        solve=lambda given: (_number(given, "lifts") - 2) * 35,
    ),
    Rule(
        id="pilot",
        section=MISTAKES,
        topic="the pilot at Velmouth",
        lesson="The pilot at Velmouth costs 80 crowns, and 6 crowns more for each full 100 tons of the ship.",
        question="How many crowns does the pilot at Velmouth cost for a ship of {tons} tons?",
        operands={"tons": _numbers(130, 4999)},
        solve=lambda given: 80 + int(given["tons"]) // 100 * 6,
    ),
    Rule(
        id="night",
        section=CLUES,
        topic="arrivals at Velmouth by night",
        lesson=(
            "A ship that arrives at Velmouth between 21:00 and 05:00 pays half as much again as its"
            " harbour dues."
        ),
        question=(
            "A ship whose harbour dues are {dues} crowns arrives at Velmouth at {hour}:30. How many"
            " crowns does"
            " it pay?"
        ),
        operands={"dues": _numbers(60, 400), "hour": ("21", "22", "23", "00", "01", "02", "03", "04")},
        solve=lambda given: _number(given, "dues") * Decimal("1.5"),
    ),
    Rule(
        id="cargo",
        section=CLUES,
        topic="cargo dues at Velmouth",
        lesson="Cargo dues at Velmouth are 3 crowns a ton of grain, 4 of timber, 7 of salt and 9 of iron.",
        question="How many crowns are the cargo dues at Velmouth on {tons} tons of {cargo}?",
        operands={"tons": _numbers(4, 90), "cargo": ("grain", "timber", "salt", "iron")},
        solve=lambda given: (
            _number(given, "tons") * {"grain": 3, "timber": 4, "salt": 7, "iron": 9}[given["cargo"]]
        ),
    ),
    Rule(
        id="storage",
        section=MISTAKES,
        topic="storage at Velmouth",
        lesson=(
            "Storage at Velmouth is free for 5 days and costs 0.25 crowns for each sack and each day"
            " after them."
        ),
        question="How many crowns does it cost to store {sacks} sacks at Velmouth for {days} days?",
        operands={"sacks": _numbers(11, 99), "days": _numbers(7, 25)},
        solve=lambda given: _number(given, "sacks") * (_number(given, "days") - 5) * Decimal("0.25"),
    ),
)

RULES: Mapping[str, Rule] = MappingProxyType(
    {rule.id: rule for rule in (*_COMMON, *_UNITS, *_CALENDAR, *_TARIFF)}
)
"""{id: rule}; twelve are known."""

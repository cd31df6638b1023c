"""A playbook of made-up lessons, of which some say again what an older one says; it is known which.

The lessons are made from a hundred phrases, so many differ in nothing but a number, a name or one phrase:
that is what a playbook that grows for long looks like, and what must not be merged.
"""

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tasks.ace.playbook import DEFAULT_SECTIONS

TOPICS = (
    "net present value", "internal rate of return", "compound interest", "simple interest",
    "loan amortisation", "straight-line depreciation", "declining-balance depreciation",
    "working capital", "inventory turnover", "debt-to-equity ratio", "gross margin", "operating margin",
    "earnings per share", "dividend yield", "price-to-earnings ratio", "break-even quantity",
    "unit conversion", "calendar arithmetic", "leap years", "parcel tariffs", "customs duties",
    "value-added tax", "currency conversion", "time zones", "fuel surcharges", "insurance premiums",
    "bond coupons", "yield to maturity", "stock splits", "lease liabilities", "deferred revenue",
    "share-based payments", "goodwill impairment", "pension obligations", "tax credits",
)  # fmt: skip
MOMENTS = (
    "before applying the formula", "while reading the table", "when the period is not a full year",
    "when two inputs have different scales", "if a row of the table is missing",
    "once the inputs are listed", "when the question names a fiscal year",
    "if the result looks implausible", "after the units are clear", "when a footnote restates the figure",
    "when the wording mentions an average", "if a range is given",
    "when the context shows several companies", "if the currency changes halfway", "once per answer",
)  # fmt: skip
ACTIONS = (
    "write down the unit of each input", "convert the rate to a decimal fraction",
    "check the sign of the cash flow", "look for the scale in the header",
    "take the figure of the later filing", "keep the unrounded intermediate",
    "compare the magnitude with the inputs", "state the assumption in one line", "count both end dates",
    "use the closing figure", "use the average of the two balances", "read the footnote below the table",
    "prefer the restated number", "apply the surcharge to the net price",
    "divide by the number of periods", "multiply by the exchange rate of that day",
    "cap the discount at the listed maximum", "treat the deposit as an outflow",
    "drop the thousands separator", "repeat the calculation from the start",
)  # fmt: skip
REASONS = (
    "otherwise the answer is off by a factor", "the checker compares plain numbers",
    "the table is in thousands", "the tariff has a minimum charge",
    "a wrong sign turns the result around", "most failures came from this", "the rate is quoted per year",
    "the examples are solved this way", "the label names the instrument", "rounding early adds up",
    "the filing uses another convention", "the context repeats old figures",
)  # fmt: skip
NAMES = (
    "NPV",
    "IRR",
    "EBIT",
    "EBITDA",
    "WACC",
    "ROE",
    "ROA",
    "FIFO",
    "LIFO",
    "VAT",
    "CAGR",
    "DSCR",
    "EPS",
    "FCF",
)
UNITS = ("kg", "km", "days", "months", "percent", "hours", "litres", "miles")

Maker = Callable[[random.Random], str]


def _advice(draw: random.Random) -> str:
    topic, moment, action, reason = map(draw.choice, (TOPICS, MOMENTS, ACTIONS, REASONS))
    return f"For {topic}, {action} {moment}, because {reason}."


def _formula(draw: random.Random) -> str:
    name, first, second, topic = draw.choice(NAMES), *draw.sample(TOPICS, 2), draw.choice(TOPICS)
    return f"In questions on {topic}, {name} needs {first} divided by {second}; {draw.choice(ACTIONS)}."


def _number(draw: random.Random) -> str:
    unit, number, topic = draw.choice(UNITS), draw.randint(2, 400), draw.choice(TOPICS)
    return f"The limit for {topic} is {number} {unit}; above the limit, {draw.choice(ACTIONS)}."


def _mistake(draw: random.Random) -> str:
    topic, action, reason = map(draw.choice, (TOPICS, ACTIONS, REASONS))
    return f"Do not forget to {action} in questions about {topic}, since {reason}."


def _clue(draw: random.Random) -> str:
    topic, other, action = *draw.sample(TOPICS, 2), draw.choice(ACTIONS)
    return f"A question that speaks of {topic} and lists {other} wants you to {action}."


MAKERS: Mapping[str, Sequence[Maker]] = {
    "STRATEGIES & INSIGHTS": [_advice],
    "FORMULAS & CALCULATIONS": [_formula, _number],
    "CODE SNIPPETS & TEMPLATES": [_number],
    "COMMON MISTAKES TO AVOID": [_mistake],
    "PROBLEM-SOLVING HEURISTICS": [_advice, _clue],
    "CONTEXT CLUES & INDICATORS": [_clue],
    "OTHERS": [_advice, _number],
}


def _swapped(text: str) -> str:
    """Put the last clause first, where there is one that can stand there."""
    found = re.fullmatch(r"(.*), (because|since) (.*)\.", text)
    return (
        f"{found[2].capitalize()} {found[3]}: {found[1][0].lower()}{found[1][1:]}."
        if found
        else f"Always: {text}"
    )


def _slipped(text: str) -> str:
    """Exchange two letters in the middle of the first long word."""
    words = text.split(" ")
    place = next(at for at, word in enumerate(words) if len(word) > 6 and word.isalpha())  # noqa: PLR2004
    word = words[place]
    words[place] = word[:2] + word[3] + word[2] + word[4:]
    return " ".join(words)


AGAIN: Sequence[Callable[[str], str]] = (
    lambda text: text.upper().capitalize(),
    lambda text: text.replace("the ", "").replace(", ", " "),
    lambda text: f"Remember: {text}",
    lambda text: text.replace(";", ",").replace(".", "!"),
    lambda text: text.replace("question", "questions").replace(" needs ", " need "),
    lambda text: f"{text[:-1]}, always.",
    _swapped,
    _slipped,
)
"""Ways to say a lesson again."""


def _new_lesson(draw: random.Random, section: str, seen: set[str]) -> str:
    while (text := draw.choice(MAKERS[section])(draw)) in seen:
        pass
    return text


@dataclass(frozen=True, kw_only=True, slots=True)
class MadeUp:
    """A playbook as text, and what is known of it."""

    text: str
    twin_of: Mapping[str, str]
    """{id of a bullet that says something again: id of the older bullet}"""


def long_and_similar(bullets: int, *, characters: int = 600, seed: int = 0) -> str:
    """Make a playbook of one section whose long lessons differ in a few words: the hardest to compare."""
    draw = random.Random(seed)
    words: list[str] = []
    while len(" ".join(words)) < characters:
        words += _advice(draw).split()
    lines = ["## OTHERS"]
    for number in range(1, bullets + 1):
        text = list(words)
        for _ in range(draw.randint(1, 3)):
            text[draw.randrange(len(text))] = draw.choice(TOPICS).split()[0]
        lines.append(f"[misc-{number:05d}] helpful=0 harmful=0 :: {' '.join(text)}")
    return "\n".join(lines)


def made_up(bullets: int, *, again: float = 0.1, seed: int = 0) -> MadeUp:
    """Make a playbook.

    Args:
        bullets: In all, in the seven sections of an empty playbook.
        again: The share of those that say again what an older one says.
        seed: Of the draw.
    """
    draw = random.Random(seed)
    sections: dict[str, list[str]] = {section: [] for section in DEFAULT_SECTIONS}
    first: list[tuple[str, str, str]] = []  # (section, id, text) of lessons that may be said again
    seen: set[str] = set()
    twin_of: dict[str, str] = {}
    repeats = set(draw.sample(range(1, bullets), round(bullets * again)))
    for number in range(bullets):
        if number in repeats and first:
            section, older, text = first.pop(draw.randrange(len(first)))
            text = draw.choice(AGAIN)(text)
        else:
            section, older = draw.choice(list(DEFAULT_SECTIONS)), None
            text = _new_lesson(draw, section, seen)
        seen.add(text)
        bullet_id = f"{DEFAULT_SECTIONS[section]}-{number + 1:05d}"
        if older is None:
            first.append((section, bullet_id, text))
        else:
            twin_of[bullet_id] = older
        votes = f"helpful={draw.randint(0, 9)} harmful={draw.choice((0, 0, 0, 1, 2))}"
        sections[section].append(f"[{bullet_id}] {votes} :: {text}")
    lines = [line for section, listed in sections.items() for line in (f"## {section}", *listed, "")]
    return MadeUp(text="\n".join(lines), twin_of=twin_of)

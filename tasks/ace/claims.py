"""What a lesson stands or falls with: its numbers, units, operators, negations, names, opposites and order.

Two lessons may look alike in all but a digit or a "not" and say the contrary of each other, or have all words
in common and say who pays whom the other way round. Whatever measures their likeness, they are the same only
if they agree in these. Where in doubt they differ: a lesson kept twice costs a few tokens, one that is lost
costs answers. It knows English, and the commonest negations of some other languages.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import chain, pairwise
from typing import NamedTuple

from rapidfuzz.distance import LCSseq

from tasks.ace.claim_words import (
    FRONTED,
    NEGATIONS,
    NUMBER_WORDS,
    OPPOSITES,
    PREFIXES,
    STOP_WORDS,
    UNIT_SYMBOLS,
    UNITS,
)

TOKEN = re.compile(
    r"(?P<number>(?<![^\W_])\d+(?:[.,]\d+)*)"
    r"|(?P<cjk>[\u3040-\u30ff\u3400-\u9fff])"  # no blanks stand between words: each sign is one
    r"|(?P<word>[^\W\d_](?:[^\W_\u3040-\u30ff\u3400-\u9fff]|['\u2019_](?=[^\W_]))*)"
    r"|(?P<unit>[%\u2030\u00b0\u20ac$\u00a3\u00a5])"
    # A hyphen is a minus between blanks, before a word, as in -x, and between letters, as in a-b or n-1.
    r"|(?P<operator>[+*/^<>=~|&\u00d7\u00b7\u00f7\u2212\u2190\u2192\u2248\u2260\u2264\u2265]+"
    r"|!=+|!(?=\w)|->|(?<=\s)-(?=\s)|(?<![\w-])-(?=[^\W\d_])"
    r"|(?<=\b[^\W\d_])-(?=[^\W_]\b)|(?<=\b[^\W_])-(?=[^\W\d_]\b))"
)
OPERATORS = {
    "\u00d7": "*", "\u00b7": "*", "**": "^", "\u00f7": "/", "\u2212": "-", "\u2190": "<-", "\u2192": "->",
    "\u2260": "!=", "\u2264": "<=", "\u2265": ">=",
}  # fmt: skip
"""{operator: another way of writing it}"""
THOUSANDS = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?\Z")
SIGN = re.compile(r"(?:^|[\s(=])[-\u2212]\Z")
"""Ends what stands before a negative number; in "5-10" and "2024-01" there is none."""

SENTENCE_END, CLAUSE_END = re.compile(r"[.:;!?]"), re.compile(r"[,:]")

ENDINGS = ("ations", "ation", "ings", "ing", "ied", "ies", "ed", "es", "ly", "s", "e", "y")
LEAST_STEM = 3
MOST_ENDINGS = 3
"""Of one word; a word without end would lose them one by one for ever."""
REMEMBERED = 3_000
"""Texts; a playbook is refined again and again while few of its lessons change."""


class Token(NamedTuple):
    """A number, a word, a unit's symbol or an operator, folded."""

    kind: str
    text: str
    written: str
    is_first: bool = False
    """Of a sentence."""
    negates: bool = False
    is_content: bool = False
    """Whether it is a word that says something by itself."""
    begins_clause: bool = False
    """Whether a comma or a colon stands before it."""


@dataclass(frozen=True)
class Claims:
    """What two texts have to agree in. The four first have to be equal, so texts can be sorted by them."""

    numbers: tuple[str, ...]
    """In the order in which they are first mentioned: 2 of 3 is not 3 of 2."""
    operators: tuple[str, ...]
    """As they come."""
    units: frozenset[str]
    negated: frozenset[str]
    """Stems of the words behind a "not"."""
    names: frozenset[str]
    """Words written like names or identifiers (NPV, DebtFaceAmount, tax_rate, Q3), folded."""
    words: frozenset[str]
    """All words, folded."""
    content: tuple[str, ...]
    """The stems of those that say something, as often as they come; without numbers and units."""
    folded: tuple[str, ...]
    """The text without anything but its words and numbers, folded."""
    orders: tuple[tuple[str, ...], tuple[str, ...]]
    """Numbers, names, and stems of words that say something or say how others belong together, as they come.

    The second time clauses in front come last: "To get A, divide B" as "Divide B to get A". A genitive comes
    behind its noun in both: "the result's sign" as "the sign of the result".
    """
    qualified: frozenset[tuple[str, str]]
    """Stems of content words of which the second follows at once: (prefer, dividend)."""

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for texts that can be the same at all."""
        return self.numbers, self.operators, self.units, self.negated

    @cached_property
    def stems(self) -> frozenset[str]:
        """The stems of all words."""
        return frozenset(map(stem, self.words))

    def agree(self, other: "Claims") -> bool:
        """Say whether two texts can be the same lesson.

        Examples:
            >>> claims_of("Round to 2 decimals.").agree(claims_of("Round to two decimals"))
            True
            >>> claims_of("Divide cost by revenue.").agree(claims_of("Divide revenue by cost."))
            False
            >>> claims_of("Before answering, check it.").agree(claims_of("Check it before answering."))
            True
        """
        return (
            self.key == other.key
            and self.names <= other.words
            and other.names <= self.words
            and not _opposed(self.stems - other.stems, other.stems - self.stems)
            and any(map(_is_in_order, self.orders, other.orders))
            and not _is_narrower(self, other)
            and not _is_narrower(other, self)
        )


@lru_cache(maxsize=REMEMBERED)
def claims_of(text: str) -> Claims:
    """Read the claims of a text; any text has some, if only empty ones."""
    tokens = list(tokens_of(text))
    words = frozenset(token.text for token in tokens if token.kind in {"word", "cjk"})
    has_lower_case = any(one.islower() for one in text)
    return Claims(
        numbers=tuple(dict.fromkeys(_numbers(tokens))),
        operators=tuple(token.text for token in tokens if token.kind == "operator"),
        units=frozenset(_units(tokens)),
        negated=frozenset(_negated(tokens)),
        names=frozenset(token.text for token in tokens if has_lower_case and _is_name(token)),
        words=words,
        content=tuple(
            stem(token.text)
            for token in tokens
            if token.is_content and token.text not in UNITS and token.text not in NUMBER_WORDS
        ),
        folded=tuple(token.text for token in tokens if token.kind not in {"unit", "operator"}),
        orders=(tuple(_said(tokens)), tuple(_said(list(_with_clauses_last(tokens))))),
        qualified=frozenset(_qualified(tokens)),
    )


def tokens_of(text: str) -> Iterator[Token]:
    """Yield the tokens of a text."""
    text = unicodedata.normalize("NFKC", text).strip()
    end = 0
    for found in TOKEN.finditer(text):
        kind, written = str(found.lastgroup), found[0]
        is_first = not end or SENTENCE_END.search(text, end, found.start()) is not None
        begins_clause = CLAUSE_END.search(text, end, found.start()) is not None
        end = found.end()
        if kind == "number":
            sign = "-" if SIGN.search(text, max(0, found.start() - 2), found.start()) else ""
            yield Token(kind, sign + plain_number(written), written, is_first, begins_clause=begins_clause)
        elif kind == "operator":
            yield Token(kind, OPERATORS.get(written, written), written, is_first)
        else:
            folded = written.casefold().replace("\u2019", "'").removesuffix("'s")
            negates = folded in NEGATIONS or folded.endswith("n't")
            is_content = kind != "unit" and not negates and folded not in STOP_WORDS
            yield Token(kind, folded, written, is_first, negates, is_content, begins_clause)


def plain_number(written: str) -> str:
    """Return one way of writing a number.

    >>> plain_number("1,000.50"), plain_number("0,5"), plain_number("007")
    ('1000.5', '0.5', '7')
    """
    plain = written.replace(",", "" if THOUSANDS.match(written) else ".")
    whole, point, rest = plain.partition(".")
    if point and "." not in rest:
        rest = rest.rstrip("0")
    return (whole.lstrip("0") or "0") + (f".{rest}" if rest else "")


@lru_cache(maxsize=20_000)
def stem(word: str) -> str:
    """Return a word without its endings, by rule of thumb: "multiplying" and "multiplies" are one."""
    for _ in range(MOST_ENDINGS):
        fitting = (one for one in ENDINGS if word.endswith(one) and len(word) - len(one) >= LEAST_STEM)
        ending = next(fitting, "")
        if ending == "ly" and word.endswith("ply"):
            ending = "y"  # "multiply" is no adverb
        word = word.removesuffix(ending)
    return word


def _opposites() -> dict[str, frozenset[str]]:
    pairs = [tuple(map(stem, line.split())) for line in OPPOSITES.strip().splitlines()]
    both = [*pairs, *(pair[::-1] for pair in pairs)]
    return {word: frozenset(other for one, other in both if one == word) for word, _ in both}


OPPOSED = _opposites()
"""{stem: those of its opposites}."""


def _numbers(tokens: Iterable[Token]) -> Iterator[str]:
    for token in tokens:
        if token.kind == "number":
            yield token.text
        elif token.text in NUMBER_WORDS:
            yield NUMBER_WORDS[token.text]


def _units(tokens: Sequence[Token]) -> Iterator[str]:
    for place, token in enumerate(tokens):
        if token.kind != "number" and (unit := UNITS.get(token.text)):
            yield unit
        elif token.kind == "word" and place and tokens[place - 1].kind == "number":
            # "5 m" and "5 M" are not the same, and "m" alone says nothing.
            symbol = token.written.rstrip(".")
            if symbol.casefold() in UNIT_SYMBOLS:
                yield symbol


def _negated(tokens: Sequence[Token]) -> Iterator[str]:
    behind = ""
    for token in reversed(tokens):
        if token.negates:
            yield behind
        elif token.is_content:
            behind = stem(token.text)


def _is_name(token: Token) -> bool:
    if token.kind != "word":
        return False
    if len(token.written) == 1:  # zone B, but not the "A" that begins a sentence, nor "I"
        return token.written.isupper() and token.written != "I" and not token.is_first
    inner = token.written[1:]
    return inner != inner.lower() or not inner.replace("'", "").replace("\u2019", "").isalpha()


def _with_clauses_last(tokens: Sequence[Token]) -> Iterator[Token]:
    sentences = _parts(tokens, [token.is_first and not token.begins_clause for token in tokens])
    for sentence in sentences:
        clauses = _parts(sentence, [token.begins_clause for token in sentence])
        main = next((n for n, clause in enumerate(clauses) if clause[0].text not in FRONTED), 0)
        yield from chain.from_iterable(clauses[main:] + clauses[:main])


def _parts(tokens: Sequence[Token], starts: Sequence[bool]) -> list[Sequence[Token]]:
    """Cut tokens before each that starts a part."""
    cuts = [place for place, begins in enumerate(starts) if begins and place]
    return [tokens[start:end] for start, end in pairwise([0, *cuts, len(tokens)]) if start < end]


def _said(tokens: Sequence[Token]) -> Iterator[str]:
    said = [token for place, token in enumerate(tokens) if _is_said(tokens, place)]
    for place in reversed(range(len(said) - 1)):
        if said[place].written[-2:] in {"'s", "\u2019s"}:
            said[place : place + 2] = said[place + 1], said[place]
    return (_plain(token) for token in said)


def _is_said(tokens: Sequence[Token], place: int) -> bool:
    token = tokens[place]
    if token.kind in {"unit", "operator"}:
        return False
    beside = tokens[max(0, place - 1) : place + 2]
    return (
        token.is_content
        or token.kind == "number"
        or token.text in FRONTED
        or _is_name(token)
        or any(one.kind == "operator" for one in beside)  # one letter may be a term, as in a - b
    )


def _plain(token: Token) -> str:
    return NUMBER_WORDS.get(token.text) or UNITS.get(token.text) or stem(token.text)


def _is_in_order(one: Sequence[str], other: Sequence[str]) -> bool:
    """Say whether what two texts have in common comes in the same order in both."""
    shared = Counter(one) & Counter(other)
    return LCSseq.similarity(one, other) == shared.total()


def _qualified(tokens: Sequence[Token]) -> Iterator[tuple[str, str]]:
    for one, other in pairwise(tokens):
        if one.is_content and other.is_content and not other.is_first:
            yield stem(one.text), stem(other.text)


def _is_narrower(one: Claims, other: Claims) -> bool:
    """Say whether a text has all words of another and one more, right before a word that both have."""
    mine, others = frozenset(one.content), frozenset(other.content)
    return others < mine and any(first not in others and second in others for first, second in one.qualified)


def _opposed(mine: frozenset[str], others: frozenset[str]) -> bool:
    """Say whether what only one says is the opposite of what only the other says."""
    if any(OPPOSED.get(word, frozenset()) & others for word in mine):
        return True
    return any(
        prefix + word in there
        for here, there in ((mine, others), (others, mine))
        for word in here
        for prefix in PREFIXES
    )

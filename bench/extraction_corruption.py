"""What a model does to the words of a text when it repeats them, and what it makes up.

Every function takes the dice that it throws, so the same dice give the same words. Nothing here knows how
words are found again.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from random import Random

import numpy as np

SHORTEST_WITH_TYPOS = 5
"""Characters; an edit makes another word of a shorter one."""
MOST_EDITS = 2
"""In one text."""
FARTHEST_TYPO = 2 * MOST_EDITS
"""Characters replaced, left out or put in: two letters swapped, or misread as one, count as two of these."""

STRAIGHT = {
    ord(curved): plain
    for plain, every in (
        ('"', "\u201c\u201d\u201e\xab\xbb"),
        ("'", "\u2018\u2019\u201a"),
        ("-", "\u2010\u2011\u2012\u2013\u2014\u2015\u2212"),
    )
    for curved in every
}
"""{curved quote or dash: what a keyboard has for it}"""

LOOKALIKES = (
    ("rn", "m"), ("m", "rn"), ("cl", "d"), ("d", "cl"), ("vv", "w"), ("0", "O"), ("O", "0"), ("l", "1"),
    ("1", "l"), ("I", "l"), ("5", "S"), ("S", "5"), ("8", "B"), ("B", "8"), ("e", "c"), ("é", "e"),
    ("ç", "c"),
)  # fmt: skip
"""(what stands there, what is read): mistakes of a scanner that count as one edit."""

SHARE_PUT_TOGETHER = 0.8
"""Of what is made up, as far as enough of it stands nowhere; the rest are names."""
FIRST_NAMES = ("Ottokar", "Wilhelmine", "Thaddeus", "Ysolde", "Balthazar", "Gwendolyn", "Zebulon", "Hjördis")
LAST_NAMES = ("Quillfeather", "Wexby-Krohn", "Fjellström", "Whitlock", "Zdanowicz", "Hawkesworth", "Vykovsky")


def normalize(text: str, dice: Random, *, other_case: float = 0.1) -> str:
    """Write a text as it is said: one line, words whole again, quotes and dashes plain.

    Args:
        text: As it stands in a document.
        dice: Decide on the case.
        other_case: The share of texts that are written in another case.
    """
    said = re.sub(r"(?<=\w)-\n(?=[^\W\d_A-Z])", "", text)
    said = " ".join(said.split()).translate(STRAIGHT)
    if dice.random() >= other_case:
        return said
    return dice.choice((said.upper(), said.lower(), said.title()))


def misspell(text: str, dice: Random, *, numbers: bool = True, tries: int = 20) -> str:
    """Make one or two edits: a character replaced, left out, put in, swapped with the next, or misread.

    A text under five characters is left as it is.

    Args:
        text: What was meant.
        dice: Decide how many edits, which, and where.
        numbers: Whether its digits may become others; else a text that chance leaves no other edit stays.
        tries: How often to throw the dice for edits that leave the digits alone.
    """
    if len(text) < SHORTEST_WITH_TYPOS:
        return text
    edited = (_misspelt(text, dice) for _ in range(tries))
    return next((each for each in edited if numbers or digits(each) == digits(text)), text)


def digits(text: str) -> str:
    """Return the digits of a text."""
    return "".join(filter(str.isdigit, text))


def _misspelt(text: str, dice: Random) -> str:
    misspelt = text
    for _ in range(dice.randint(1, MOST_EDITS)):
        misspelt = _edited(misspelt, dice)
    return misspelt if misspelt != text else _substituted(text, dice)


def _edited(text: str, dice: Random) -> str:
    place = dice.randrange(len(text) - 1)
    match dice.choice(("substitute", "delete", "insert", "swap", "misread")):
        case "delete":
            return text[:place] + text[place + 1 :]
        case "insert":
            return text[:place] + _like(text[place], dice) + text[place:]
        case "swap" if text[place] != text[place + 1]:
            return text[:place] + text[place + 1] + text[place] + text[place + 2 :]
        case "misread" if found := [pair for pair in LOOKALIKES if pair[0] in text]:
            there, read = dice.choice(found)
            return text.replace(there, read, 1)
        case _:
            return _substituted(text, dice)


def _substituted(text: str, dice: Random) -> str:
    place = dice.randrange(len(text))
    return text[:place] + _like(text[place], dice) + text[place + 1 :]


def _like(character: str, dice: Random) -> str:
    """Choose a digit for a digit and a letter for the rest, always another one."""
    choices = "0123456789" if character.isdigit() else "abcdefghijklmnopqrstuvwxyz"
    other = dice.choice(choices.replace(character.lower(), ""))
    return other.upper() if character.isupper() else other


def invent(known: Sequence[str], dice: Random, tries: int = 20) -> Iterator[str]:
    """Suggest texts that sound right: words of two known texts put together, or else made-up names.

    Args:
        known: Texts of the wanted label, of other documents; may be empty.
        dice: Choose.
        tries: How many to suggest of either.
    """
    if known and dice.random() < SHARE_PUT_TOGETHER:
        for _ in range(tries):
            first, second = dice.choice(known).split(), dice.choice(known).split()
            yield " ".join([*first[: (len(first) + 1) // 2], *second[len(second) // 2 :]])
    for _ in range(tries):
        yield f"{dice.choice(FIRST_NAMES)} {dice.choice(LAST_NAMES)}"


def core(text: str) -> str:
    """Keep of a text only its letters and digits, without case and accents."""
    apart = unicodedata.normalize("NFKD", text).casefold()
    return "".join(character for character in apart if character.isalnum())


def edits_to_nearest(pattern: str, text: str) -> int:
    """Count the fewest substitutions, deletions and insertions that make a pattern stand in a text (Sellers).

    Examples:
        >>> edits_to_nearest("Lei 8.112", "nos termos da Lei 8.212 e da Lei 9.112")
        1
    """
    codes = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)
    places = np.arange(len(codes) + 1, dtype=np.int32)
    costs = np.zeros(len(codes) + 1, dtype=np.int32)  # (place in the text where the match ends,)
    for row, character in enumerate(pattern, start=1):
        straight = costs[:-1] + (codes != ord(character))
        costs[0] = row
        costs[1:] = np.minimum(straight, costs[1:] + 1)
        costs = np.minimum.accumulate(costs - places) + places
    return int(costs.min())


def is_far_from(text: str, document_core: str, edits: int = FARTHEST_TYPO) -> bool:
    """Say whether a text stands nowhere in a document, not even with so many edits.

    Args:
        text: What a model might make up.
        document_core: The `core` of the whole document.
        edits: Whatever is no farther than `FARTHEST_TYPO` might as well be a typo, and nobody could tell.
    """
    wanted = core(text)
    if len(wanted) < SHORTEST_WITH_TYPOS:
        return bool(wanted) and wanted not in document_core
    return edits_to_nearest(wanted, document_core) > edits


def shift(text: str, span: tuple[int, int], within: tuple[int, int], dice: Random) -> tuple[int, int]:
    """Move one end of a span by a word, inwards or outwards; a span that cannot move stays.

    Args:
        text: The document.
        span: Start and end of an entity.
        within: Start and end of what the model was shown.
        dice: Choose which end, and where to.
    """
    start, end = span
    words = list(re.finditer(r"\S+", text[start:end]))
    moves: list[tuple[int, int]] = []
    if len(words) > 1:
        moves += [(start + words[1].start(), end), (start, start + words[-2].end())]
    if before := re.search(r"\S+\s+$", text[within[0] : start]):
        moves.append((within[0] + before.start(), end))
    if after := re.match(r"\s+\S+", text[end : within[1]]):
        moves.append((start, end + after.end()))
    return dice.choice(moves) if moves else span


def some_words(text: str, within: tuple[int, int], dice: Random) -> tuple[int, int] | None:
    """Choose one to four words in a row of a part of a text; None where it has no words."""
    start, end = within
    words = list(re.finditer(r"\w+", text[start:end]))
    if not words:
        return None
    first = dice.randrange(len(words))
    last = min(first + dice.randrange(4), len(words) - 1)
    return start + words[first].start(), start + words[last].end()


def share_of_added(share_of_all: float) -> float:
    """Turn a share of all items into how many to add for each that is there."""
    return share_of_all / (1.0 - share_of_all)


def by_label(texts: Sequence[tuple[str, str]]) -> Mapping[str, Sequence[str]]:
    """Gather (label, text) pairs as {label: texts}."""
    found: dict[str, list[str]] = {}
    for label, text in texts:
        found.setdefault(label, []).append(text)
    return found

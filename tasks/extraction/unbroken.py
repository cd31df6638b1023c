"""Finds what a chunk must not be cut inside: citations, sections, names with abbreviations, dates, amounts.

It is no parser of citations: it says of two neighbouring words whether they belong together. Too often is
cheap, as another place to cut is never far.
"""

import re
from collections.abc import Iterator, Sequence

MAX_WORDS = 40
"""Of what is kept together; a column of numbers could otherwise be a whole document."""
MAX_NAME_WORDS = 12
"""Of a party before or behind "v."."""
MAX_YEAR_WORDS = 6
"""Within which a bracket behind a page closes with the year: (S.D.N.Y. Mar. 3, 1999)."""

# ruff: noqa: SIM905 - a list would have a line for each word
ABBREVIATIONS = frozenset(
    # names and titles
    "mr mrs ms dr prof hon st messrs jr sr sra dra exmo exma des min rel inc corp co ltd bros assn ass'n "
    "dep't dept gov't int'l nat'l comm'n comm educ bd univ rel'n indus mfg ins elec fed sys "
    # places in a text
    "no nos nr n nº art arts sec secs ch chs cl para paras pt pp p vol ed eds fig ex exh id ibid cf cfr fls "
    "fl al abs rn rdnr ziff tít cap "
    # law
    "v vs ct dist cir app supp rev stat const amend crim civ proc evid r reg cong sess cal mass tex fla ill "
    "pa va wash mich minn ga ala ariz ark colo conn del idaho ind kan ky la md me mo mont neb nev okla or "
    "tenn vt wis wyo n.y n.j "
    # months, and words with a dot that end no sentence
    "jan feb mar apr jun jul aug sept sep oct nov dec e.g i.e viz approx etc see".split()
)
KEYWORDS = frozenset(
    "section sections article articles rule rules chapter title exhibit appendix paragraph clause part "
    "amendment at lei art artigo número nº n.º decreto portaria súmula resolução § §§ ¶ ¶¶ "
    "no $ r$ us$ € £ ¥ eur usd brl".split()
)
"""What a number behind it belongs to."""
UNITS = frozenset(
    "million billion trillion thousand mil milhões milhão bilhões dollars euros reais percent".split()
)
"""What belongs to the number before it."""
MONTHS = frozenset(
    "january february march april may june july august september october november december "
    "janeiro fevereiro março abril maio junho julho agosto setembro outubro novembro dezembro "
    "januar februar märz mai juni juli oktober dezember".split()
)
CONNECTORS = frozenset("of the and & for de da do dos das e del la van von der rel. ex et y in on to".split())
"""Small words within the name of a party."""
NAME_ENDS = frozenset("Inc. Corp. Co. Ltd. LLC L.L.C. L.P. LLP L.L.P. Jr. Sr. S.A. N.A. GmbH AG".split())
"""What belongs to the name before it."""
_SPECIAL = KEYWORDS | MONTHS | UNITS | {"de", "f", "us", "wl", "lexis", "llc", "llp", "gmbh", "ag"}
"""Words of letters alone that some rule looks for."""

_WORD = re.compile(r"\S+")
_BLANK_LINE = re.compile(r"\n\s*\n")
_OPENING = "([{\"'\u201c\u2018\xab"
_CLOSING = ",;:)]}\"'\u201d\u2019\xbb"
_SENTENCE_END = ".?!"
_SIGNS = "§¶$€£"
_DOTTED = re.compile(r"(?:[A-Z]\.)+(?:[A-Za-z0-9]{0,4}\.?)*", re.ASCII)
_REPORTER = re.compile(r"[A-Z][A-Za-z.']*\.[A-Za-z0-9.]*|F|US|WL|LEXIS|C\.?F\.?R", re.ASCII)
_ORDINAL = re.compile(r"[2-9]d|\d+th|3rd")
_NUMBER = re.compile(r"[$€£]?\d[\d.,:/()a-z*–-]*")  # noqa: RUF001 - ranges of pages are written so
_YEAR = re.compile(r"(?:1[6-9]|20)\d\d")
_CLOSED_YEAR = re.compile(r"(?:1[6-9]|20)\d\d\)")


def kept_together(text: str) -> list[tuple[int, int]]:
    """Return the spans (start, end) that a cut should not be inside of, in order, none in another."""
    words = [match.span() for match in _WORD.finditer(text)]
    glued = _glued(text, words)
    spans = list[tuple[int, int]]()
    first = 0
    for last in range(len(words)):
        if last + 1 < len(words) and glued[last] and last + 1 - first < MAX_WORDS:
            continue
        if last > first:
            spans.append((words[first][0], words[last][1]))
        first = last + 1
    return spans


def masked(text: str, spans: Sequence[tuple[int, int]]) -> str:
    """Return a text of the same length in which each span looks like one word, and a wrapped line like one.

    The end of a sentence that is the end of a span can still be seen.
    """
    parts = list[str]()
    done = 0
    for start, end in spans:
        inner = len(text[start:end].rstrip(_SENTENCE_END + _CLOSING))
        parts += [text[done:start], "x" * inner, text[start + inner : end]]
        done = end
    return _LONG_LINE.sub(r"\1 ", _WRAPPED.sub(" ", "".join([*parts, text[done:]])))


_WRAPPED = re.compile(r"(?<=[^\s.?!:;])\n(?=[a-zà-öø-ÿ])")
# As long as a line of prose, ends no sentence, and what follows begins no list.
_LONG_LINE = re.compile(r"(?<![^\n])([^\n]{40,200}[^\s.?!:;][^\S\n]?)\n(?![\s*•–-]|\d{1,3}[.)]\s)")  # noqa: RUF001


def _glued(text: str, words: Sequence[tuple[int, int]]) -> bytearray:
    """Say of each word whether the next belongs to it."""
    glued = bytearray(len(words))
    bare = [text[start:end].strip(_OPENING + _CLOSING) for start, end in words]
    plain = bytearray(word.isalpha() and word.lower() not in _SPECIAL for word in bare)
    for place in range(len(words) - 1):
        if plain[place] and plain[place + 1]:
            continue
        if _belong(bare[place], bare[place + 1], text, words[place], words[place + 1]):
            glued[place] = 1
        if bare[place] in {"v.", "vs."}:
            _glue_parties(text, words, bare, place, glued)
        if text[words[place + 1][0]] == "(" and bare[place][-1:].isdigit():
            for year in _year_behind(text, words, place + 1):
                glued[place:year] = b"\1" * (year - place)
    for place in range(len(words) - 1):
        if glued[place] and "\n" in (gap := text[words[place][1] : words[place + 1][0]]):
            glued[place] = _BLANK_LINE.search(gap) is None
    return glued


def _belong(left: str, right: str, text: str, at: tuple[int, int], then: tuple[int, int]) -> bool:
    """Say whether two words, without the brackets and commas around them, are one thing."""
    if not left or not right:
        return False
    if left[-1] == "." and (left[:-1].lower() in ABBREVIATIONS or _DOTTED.fullmatch(left)):
        return True
    if right[0].isdigit() or right[0] in _SIGNS:
        return _takes_number(left, right, text[at[0] : at[1]])
    if left[-1].isdigit() and text[at[1] - 1] == left[-1]:
        return _follows_number(left, right)
    # a word that is hyphenated at the end of its line
    hyphenated = left[-1] == "-" and right[0].islower() and "\n" in text[at[1] : then[0]]
    return hyphenated or _follows_word(left, right)


def _takes_number(left: str, right: str, written: str) -> bool:
    """Say whether a number or sign belongs to what is before it: § 5, May 3, F. Supp. 2d 45, 483, 495."""
    low = left.lower()
    if low in KEYWORDS or low in MONTHS or left[-1] in _SIGNS or _REPORTER.fullmatch(left):
        return True
    if _ORDINAL.fullmatch(left) or (_ORDINAL.fullmatch(right) and left[-1] == "."):
        return True
    if low == "de" and _YEAR.fullmatch(right):
        return True
    return left[0].isdigit() and written.endswith(left + ",")


def _follows_number(left: str, right: str) -> bool:
    """Say whether a word belongs to the number before it: 5 May, 5 million, 42 U.S.C., 347 U.S."""
    low = right.lower()
    if low in MONTHS or low in UNITS or low == "de":
        return True
    return bool(_NUMBER.fullmatch(left) and _REPORTER.fullmatch(right))


def _follows_word(left: str, right: str) -> bool:
    """Say so of two words: Acme, Inc.; de junho; junho de; Lei nº."""
    low, then = left.lower(), right.lower()
    if right in NAME_ENDS:
        return left[0].isupper()
    if low in MONTHS or then in MONTHS:
        return "de" in {low, then}
    return low in KEYWORDS and then in KEYWORDS


def _glue_parties(
    text: str, words: Sequence[tuple[int, int]], bare: Sequence[str], place: int, glued: bytearray
) -> None:
    """Keep the names around a "v." together with it."""
    glued[place - 1 if place else 0 : place + 1] = b"\1" * (2 if place else 1)
    left = place - 1
    while left > 0 and place - left < MAX_NAME_WORDS and _is_of_name(bare[left]):
        before = text[words[left - 1][0] : words[left - 1][1]]
        if before[-1] in ";:" or _ends_sentence(before) or not _is_of_name(bare[left - 1]):
            break
        left -= 1
        glued[left] = 1
    right = place + 1
    while right + 1 < len(words) and right - place < MAX_NAME_WORDS and _is_of_name(bare[right]):
        word = text[words[right][0] : words[right][1]]
        follows = bare[right + 1]
        if word[-1] in ";:" or _ends_sentence(word) or not (_is_of_name(follows) or follows[:1].isdigit()):
            break
        glued[right] = 1
        right += 1


def _is_of_name(word: str) -> bool:
    return bool(word) and (word[0].isupper() or word.lower() in CONNECTORS)


def _ends_sentence(word: str) -> bool:
    low = word.strip(_OPENING + _CLOSING).lower()
    is_short = low[:-1] in ABBREVIATIONS or _DOTTED.fullmatch(low.upper()) is not None
    return word.rstrip(_CLOSING)[-1:] in _SENTENCE_END and not is_short


def _year_behind(text: str, words: Sequence[tuple[int, int]], place: int) -> Iterator[int]:
    """Yield the word that closes a bracket with a year, if one does."""
    for word in range(place, min(place + MAX_YEAR_WORDS, len(words))):
        written = text[words[word][0] : words[word][1]]
        if ")" in written:
            if _CLOSED_YEAR.search(written):
                yield word
            return

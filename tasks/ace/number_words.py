"""Words beside a number, or a date, that make another one of it: `half of 5`, `5 million`, `not 5`.

There are few of them, and any other word leaves a number as it is: `The total is 12 kg`.
"""

import re

_SCALES = {
    **dict.fromkeys(("hundred", "hundreds"), 2),
    **dict.fromkeys(("thousand", "thousands", "k"), 3),
    **dict.fromkeys(("lakh", "lakhs"), 5),
    **dict.fromkeys(("million", "millions", "mn", "mln", "mio"), 6),
    **dict.fromkeys(("crore", "crores"), 7),
    **dict.fromkeys(("billion", "billions", "bn", "bln"), 9),
    **dict.fromkeys(("trillion", "trillions", "tn", "trn"), 12),
}
_CLOSE = {"K": 3, "B": 9}
"""Letters that are units, of kelvin and of bytes, where they neither touch the number nor count money."""
_OF_MONEY = {"m": 6, "mm": 6, "b": 9, "t": 12}

_NUMBERS = (
    r"(?:zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|twenty|thirty|forty|fifty|sixty"
    r"|seventy|eighty|ninety|(?:thir|four|fif|six|seven|eigh|nine)teen|hundred|thousand|million|[bt]rillion"
    r"|dozen)"
)
_PARTS = r"(?:half|halves|thirds?|quarters?|fourths?|(?:fif|six|seven|eigh|nin|ten|hundred|thousand)ths?)"
_NOT = r"(?:not|never|neither|nor|cannot|\w+n['\u2019]t)"
_FILLERS = r"(?:\s+(?:of|the|a|an|and|about|approximately|roughly|around|exactly|by|to|or|equal))*"
_WRONG = r"\b(?:is|are|was|be)\s+(?:not|wrong|incorrect|false)\b|\b(?:is|are|was)n['\u2019]t\b"

_CHANGED_BEFORE = re.compile(
    rf"""
    \b (?:
        {_NOT}\b [^.!?;\n]*
      | (?: minus | negative | plus | times | over | under | above | below | beyond | exceed(?:s|ing)?
          | than | at\s+least | at\s+most | up\s+to | (?:mini|maxi)mum\s+of
          | {_PARTS} | {_NUMBERS} | point | double | twice | triple | thrice
          | log | logarithm | ln | lg | exp | sqrt | root | squared? | cubed? | factorial | power
          | reciprocal | inverse | (?:arc)?(?:sin|cos|tan) | divided | multiplied
        )\b {_FILLERS} \s*
    ) \Z
    """,
    re.VERBOSE | re.IGNORECASE,
)
_MINUS = re.compile(r"\b(?:minus|negative)\s+\Z", re.IGNORECASE)
_CHANGED_AFTER = re.compile(
    rf"""
    \A (?: [!-](?![^\W\d_]{{2}}) | \s+- )
  | \A \s* (?:and\s+)? (?:an?\s+)? (?: {_PARTS} | {_NUMBERS} | score ) \b
  | \A \s* (?: factorial | squared | cubed | plus | minus | times | over | point | divided | multiplied
        | below | under | less | fewer | more | minimum | maximum | to\s+the | mod | choose | dozens? ) \b
  | \b (?: below | under ) \s+ zero \b
  | \b or \s+ (?: more | less | fewer | greater | higher | lower | above | below | over | under ) \b
  | \b at \s+ (?: least | most ) \b
  | \b (?: and | or | to | plus | minus | times | by ) [\s-]+ {_NUMBERS} \b
  | {_WRONG}
    """,
    re.VERBOSE | re.IGNORECASE,
)
_DATE_BEFORE = re.compile(
    rf"\b(?:{_NOT}\b[^.!?;\n]*|(?:before|after|until|till|since|from|than|except)(?:\s+the)?\s+)\Z",
    re.IGNORECASE,
)
_DATE_AFTER = re.compile(
    rf"\A\s*(?:[-+]|(?:plus|minus)\b|or\s+(?:later|earlier|before|after)\b)|{_WRONG}", re.IGNORECASE
)
_FIRST_WORD = re.compile(r"(\s*)([^\W\d_]+)(?![\w^])")


def without_minus(before: str) -> tuple[str, bool]:
    """Take `minus` or `negative` off the end of what stands before a number; say whether it was there."""
    kept = _MINUS.sub("", before)
    return kept, kept != before


def is_number_changed(before: str, after: str) -> bool:
    """Say whether words around a number change it in a way that is not worked out here."""
    return bool(_CHANGED_BEFORE.search(before) or _CHANGED_AFTER.search(after))


def is_date_changed(before: str, after: str) -> bool:
    """Say whether words around a date refuse it, or name another day."""
    return bool(_DATE_BEFORE.search(before) or _DATE_AFTER.search(after))


def scale(after: str, *, is_money: bool) -> tuple[int, str]:
    """Read `million`, `k` and the like behind a number.

    Returns:
        The power of ten, and what is behind them.
    """
    power, is_close = 0, True
    while found := _FIRST_WORD.match(after):
        blanks, word = found.groups()
        read = 6 if word == "M" else 0 if word in _CLOSE else _SCALES.get(word.casefold(), 0)
        if is_money or (is_close and not blanks):
            read = read or _CLOSE.get(word, 0)
        if is_money:
            read = read or _OF_MONEY.get(word.casefold(), 0)
        if not read:
            break
        power, after, is_close = power + read, after[found.end() :], False
    return power, after

"""Ways in which a model's JSON goes wrong: each makes of a good answer one that cannot be read as it is."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Literal, TypeAlias, cast, get_args

Row: TypeAlias = dict[str, Any]
SpoilKind: TypeAlias = Literal[
    "truncated", "whitespace", "preamble", "null_item", "two_fences", "single_quotes"
]
"""truncated: in the middle it repeats a word until no token is left; whitespace: likewise with blanks;
preamble: it says something first; null_item: one item has no text; two_fences: half of the items in a block
of code of their own; single_quotes: as Python writes it."""
KINDS: tuple[SpoilKind, ...] = get_args(SpoilKind)

BYTES_OF_A_TOKEN = 3
"""Of white space, in `tests.fake_vllm`; other texts have a token for each word at least."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Spoiling:
    """Which answers are spoilt, and how; decided by hashing."""

    share: float = 0.0
    kinds: tuple[SpoilKind, ...] = KINDS
    """Each as often as the others."""
    always: bool = False
    """Whether an answer is spoilt again when the question is put again with the answer in it."""
    seed: int = 0

    def kind_for(self, asked: Sequence[str], *, again: bool = False) -> SpoilKind | None:
        """Return how the answer to a question is spoilt; None: it is not.

        Args:
            asked: Whatever names the question.
            again: Whether it was answered before.
        """
        dice = Random("\x1f".join((str(self.seed), "spoiling", *asked)))
        if dice.random() >= self.share or (again and not self.always):
            return None
        return dice.choice(self.kinds)


def spoil(text: str, kind: SpoilKind, *, limit: int = 4096) -> str:
    """Spoil an answer.

    Args:
        text: A JSON object whose `entities` are a list of objects with a `text`.
        kind: How.
        limit: Tokens that may be generated. What runs on without an end runs past it, so that a server that
            cuts there reports `length`.

    Raises:
        ValueError: The answer is not of that form.

    Examples:
        >>> spoil('{"entities": [{"text": "a"}]}', "single_quotes")
        "{'entities': [{'text': 'a'}]}"
        >>> spoil('{"entities": [{"text": "a"}]}', "truncated", limit=3)
        '{"entities": [{"text": "a and so on and so on and so on'
    """
    answer = cast("Row", json.loads(text))
    rows = cast("list[Row]", answer["entities"])
    middle = len(rows) // 2
    match kind:
        case "truncated":
            return _begun(rows, middle) + " and so on" * limit
        case "whitespace":
            return _begun(rows, middle) + '"' + "\n" * (limit + 1) * BYTES_OF_A_TOKEN
        case "preamble":
            return f"Here are the entities that I found in the text:\n\n{text}"
        case "null_item":
            return _json({"entities": [*rows[:middle], {"label": "", "text": None}, *rows[middle:]]})
        case "two_fences":
            halves = [_json({"entities": half}) for half in (rows[:middle], rows[middle:])]
            return "\nAnd some more:\n".join(f"```json\n{half}\n```" for half in halves)
        case "single_quotes":
            return repr(answer)


def _begun(rows: Sequence[Row], middle: int) -> str:
    """Write the items before the middle, and the beginning of the next one up to its last word."""
    before = "".join(f"{_json(row)}, " for row in rows[:middle])
    words = str(rows[middle]["text"]) if rows else ""
    label = {name: value for name, value in rows[middle].items() if name == "label"} if rows else {}
    opened = _json({**label, "text": words})
    return f'{{"entities": [{before}{opened[:-2]}'


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)

"""An oracle for extraction: it knows the gold entities of some documents and answers as a noisy model would.

What it does to an answer is known: each item has, beside the words that the model says, the place in the
document that they were taken from, or none where they were made up. Everything is decided by hashing the
seed, the document, the part that was asked about and the sample, so a question asked again, from whatever
process, has the same answer. It was written without a look at how items are aligned.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Any, Literal, cast

from bench import extraction_corruption as corruption
from bench.extraction_spoiling import Spoiling, spoil
from tasks.extraction.values import Item

LENER_BR = Path(__file__).parents[2] / "shared" / "data" / "legal" / "lener_br" / "dev.jsonl"
"""Seven Brazilian court documents with gold entities (MIT), which are not part of the project."""
FINISH = 4096
"""Tokens that a request without a limit of its own may have, for answers that run to it."""

_OPENED = re.compile(r"\s*</\w+>\s*$")
_CLOSED = re.compile(r"^\s*<\w+>\s*")

Kind = Literal["verbatim", "normalized", "grouped", "typos", "mixed"]
Origin = Literal["gold", "cut", "boundary", "spurious", "hallucinated"]
"""gold: an entity, whatever its spelling; cut: the part of one that the chunk shows; boundary: an entity with
one end a word off; spurious: words of the chunk that are no entity; hallucinated: they stand nowhere."""


class GoldError(ValueError):
    """A file of gold documents cannot be used; the message says where and why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Gold:
    """One entity of a document: `text[start:end]` of it."""

    label: str
    start: int
    end: int


@dataclass(frozen=True, kw_only=True)
class GoldDocument:
    """A document whose entities are known."""

    id: str
    text: str
    entities: tuple[Gold, ...]
    """By start; they may overlap."""

    @cached_property
    def core(self) -> str:
        """Its letters and digits, for asking what does not stand in it."""
        return corruption.core(self.text)


@dataclass(frozen=True, kw_only=True, slots=True)
class Noise:
    """How the oracle differs from one who repeats the gold entities in order."""

    kind: Kind = "verbatim"
    """verbatim: as it stands there, in order; normalized: as people write it again, in order; grouped: all of
    one label first; typos: one or two edits in half of the items; mixed: the last three at once."""
    hallucinated: float = 0.1
    """Share of all items that are made up."""
    typos_in_numbers: bool = True
    """Whether a typo may make another number, which is another law or another day: some would rather that it
    is not found."""
    made_up_edits: int = corruption.FARTHEST_TYPO
    """How many edits never suffice to find what is made up in the document; less than that of typos allows
    for wrong numbers and the like, which an aligner cannot know from typos."""
    recall: float = 1.0
    """Share of the entities that are found, in each call anew."""
    boundary_noise: float = 0.0
    """Share of the entities found whose one end is a word off."""
    spurious: float = 0.0
    """Words that are no entity, for each entity of the chunk."""
    cut: float = 0.0
    """Share of the entities across an edge of the chunk whose visible part is given for the whole."""
    seed: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class OracleItem:
    """What the oracle says, and the truth about it."""

    label: str
    text: str
    start: int | None
    """Where the words were taken from, in characters of the document; None: nowhere."""
    end: int | None
    origin: Origin


@dataclass(frozen=True, slots=True)
class Asked:
    """A part of a document that a prompt asks about."""

    document: str
    start: int
    end: int


def load_gold(path: Path = LENER_BR) -> list[GoldDocument]:
    """Read gold documents: JSON lines of id, text and entities, each with start, end and label.

    Raises:
        FileNotFoundError: There is no such file.
        GoldError: A line is not of that form, or an entity's text is not where it says.
    """
    lines = path.read_text(encoding="utf-8").splitlines()
    return [_read_gold(line, f"{path}:{number}") for number, line in enumerate(lines, start=1) if line]


def _read_gold(line: str, place: str) -> GoldDocument:
    try:
        row = cast("Mapping[str, Any]", json.loads(line))
        text = str(row["text"])
        rows = cast("Sequence[Mapping[str, Any]]", row["entities"])
        entities = [Gold(label=each["label"], start=each["start"], end=each["end"]) for each in rows]
        off = [each for each in rows if text[each["start"] : each["end"]] != each.get("text")]
        name = str(row["id"])
    except (ValueError, KeyError, TypeError) as error:
        raise GoldError(f"{place}: not a gold document ({error!r}); see bench/extraction_oracle.py") from None
    if off:
        raise GoldError(f"{place}: {off[0].get('text')!r} does not stand at {off[0]['start']} of {name}")
    ordered = sorted(entities, key=lambda each: (each.start, each.end, each.label))
    return GoldDocument(id=name, text=text, entities=tuple(ordered))


class Oracle:
    r"""Answers about the documents that it knows; as a writer of `tests.fake_vllm`, too.

    Args:
        documents: What it knows.
        noise: What it does to its answers.
        spoiling: Which answers cannot be read as they are; None for none.
        opening: The line before the chunk in a prompt.
        closing: The line after it.

    Examples:
        >>> text = "Ana Lima sued Acme in Lisbon."
        >>> gold = (Gold(label="PERSON", start=0, end=8), Gold(label="ORG", start=14, end=18))
        >>> oracle = Oracle([GoldDocument(id="a", text=text, entities=gold)], Noise(hallucinated=0.0))
        >>> [item.text for item in oracle.answer("a", 0, 29)]
        ['Ana Lima', 'Acme']
        >>> oracle.find("<text>\nAcme in Lisbon.\n</text>")
        Asked(document='a', start=14, end=29)
    """

    def __init__(
        self,
        documents: Sequence[GoldDocument],
        noise: Noise,
        *,
        spoiling: Spoiling | None = None,
        opening: str = "<text>",
        closing: str = "</text>",
    ) -> None:
        self.documents = {each.id: each for each in documents}
        self.noise = noise
        self.spoiling = spoiling
        between = rf"^{re.escape(opening)}\n(.*?)\n{re.escape(closing)}(?=$|<\|im_end\|>)"
        self._chunk = re.compile(between, re.DOTALL | re.MULTILINE)
        self._texts = {
            each.id: corruption.by_label(
                [(one.label, each.text[one.start : one.end]) for one in each.entities]
            )
            for each in documents
        }

    # --- As a function of what is asked ---------------------------------------------------------------

    def answer(self, document: str, start: int, end: int, sample: str = "") -> list[OracleItem]:
        """Say what the model finds in `text[start:end]` of a document, in its order.

        Args:
            document: Its id.
            start: In characters.
            end: Likewise.
            sample: Tells calls about the same part from one another; see `sample_of`.

        Raises:
            KeyError: The oracle does not know the document.
        """
        known, asked = self.documents[document], Asked(document, start, end)
        items: list[OracleItem] = []
        for entity in known.entities:
            items += self._of_entity(known, entity, asked, sample)
        items = self._arranged(items, asked, sample)
        return self._with_hallucinations(items, known, asked, sample)

    def _of_entity(
        self, known: GoldDocument, entity: Gold, asked: Asked, sample: str
    ) -> Iterator[OracleItem]:
        """Give what a call says because of an entity: itself, a part of it, words beside it, or nothing."""
        noise, within = self.noise, (asked.start, asked.end)
        visible = max(entity.start, asked.start), min(entity.end, asked.end)
        whole = (entity.start, entity.end)
        if visible[0] >= visible[1]:
            return
        dice = self._dice(asked, sample, "entity", *map(str, whole), entity.label)
        found, moved, cut, extra = (dice.random() for _ in range(4))
        if visible != whole:
            part = _stripped(known.text, visible)
            if found < noise.recall and cut < noise.cut and part[0] < part[1]:
                yield self._said(known.text, entity.label, part, "cut", dice)
            return
        if found < noise.recall:
            off = corruption.shift(known.text, whole, within, dice) if moved < noise.boundary_noise else whole
            yield self._said(known.text, entity.label, off, "gold" if off == whole else "boundary", dice)
        if extra < noise.spurious and (span := corruption.some_words(known.text, within, dice)):
            label = dice.choice(sorted(self._labels))
            gold = Gold(label=label, start=span[0], end=span[1]) in known.entities
            yield self._said(known.text, label, span, "gold" if gold else "spurious", dice)

    def _said(self, text: str, label: str, span: tuple[int, int], origin: Origin, dice: Random) -> OracleItem:
        """Write the words of a span as the model does."""
        said = self._respelt(text[slice(*span)], dice)
        return OracleItem(label=label, text=said, start=span[0], end=span[1], origin=origin)

    def _respelt(self, words: str, dice: Random) -> str:
        if self.noise.kind in {"normalized", "mixed"}:
            words = corruption.normalize(words, dice)
        if self.noise.kind in {"typos", "mixed"} and dice.random() < 0.5:  # noqa: PLR2004 - half of them
            words = corruption.misspell(words, dice, numbers=self.noise.typos_in_numbers)
        return words

    def _arranged(self, items: Sequence[OracleItem], asked: Asked, sample: str) -> list[OracleItem]:
        """Bring items in the order of the text, and then those of each label together."""
        ordered = sorted(items, key=lambda item: (item.start or 0, item.end or 0))
        if self.noise.kind not in {"grouped", "mixed"}:
            return ordered
        labels = sorted(self._labels)
        self._dice(asked, sample, "order").shuffle(labels)
        return sorted(ordered, key=lambda item: labels.index(item.label))

    def _with_hallucinations(
        self, items: Sequence[OracleItem], known: GoldDocument, asked: Asked, sample: str
    ) -> list[OracleItem]:
        """Put what is made up before items of the same label, so that grouped answers stay grouped."""
        added = corruption.share_of_added(self.noise.hallucinated)
        result: list[OracleItem] = []
        for index, item in enumerate(items):
            dice = self._dice(asked, sample, "hallucination", str(index))
            if dice.random() < added and (text := self._made_up(known, item.label, dice)):
                origin: Origin = "hallucinated"
                result.append(OracleItem(label=item.label, text=text, start=None, end=None, origin=origin))
            result.append(item)
        return result

    def _made_up(self, known: GoldDocument, label: str, dice: Random) -> str | None:
        """Find words for a label that stand nowhere in a document; None if there are none to be had."""
        others = [texts.get(label, ()) for name, texts in self._texts.items() if name != known.id]
        far = self.noise.made_up_edits
        ideas = corruption.invent([text for texts in others for text in texts], dice)
        return next((idea for idea in ideas if corruption.is_far_from(idea, known.core, far)), None)

    @cached_property
    def _labels(self) -> frozenset[str]:
        return frozenset(label for texts in self._texts.values() for label in texts)

    def _dice(self, asked: Asked, sample: str, *what: str) -> Random:
        parts = (str(self.noise.seed), asked.document, str(asked.start), str(asked.end), sample, *what)
        return Random("\x1f".join(parts))

    # --- As a model behind a server -------------------------------------------------------------------

    def __call__(self, prompt: str, body: Mapping[str, Any], draw: int) -> str:
        """Write the answer to a prompt, spoilt where it is to be.

        A prompt without a known chunk is told that there are no entities.
        """
        asked = self.find(prompt)
        if asked is None:
            return to_json([])
        sample = sample_of(body, draw)
        text = to_json(self.answer(asked.document, asked.start, asked.end, sample))
        if self.spoiling is None:
            return text
        again = is_asked_again(prompt, self.documents[asked.document].text[asked.start : asked.end])
        kind = self.spoiling.kind_for((asked.document, str(asked.start), str(asked.end), sample), again=again)
        return text if kind is None else spoil(text, kind, limit=_limit(body))

    def find(self, prompt: str) -> Asked | None:
        """Find the chunk that a prompt asks about: what stands between the last markers that hold known text.

        Of several places the one whose surroundings are in the prompt, too, else the first.
        """
        for found in reversed(list(self._chunk.finditer(prompt))):
            chunk = found[1]
            shown = _OPENED.sub("", prompt[: found.start()])[::-1], _CLOSED.sub("", prompt[found.end() :])
            for words in dict.fromkeys((chunk, chunk.strip())):
                places = [each for known in self.documents.values() for each in _places(words, known)]
                if places:
                    return max(places, key=lambda place: self._seen(place, *shown))
        return None

    def _seen(self, place: Asked, before: str, behind: str) -> int:
        """Count the characters around a place that stand around a chunk as well; `before` is backwards."""
        text = self.documents[place.document].text
        around = (before, text[: place.start].rstrip()[::-1]), (behind, text[place.end :].lstrip())
        return sum(_common(*pair) for pair in around)


def _common(one: str, other: str) -> int:
    """Count the characters with which both begin."""
    pairs = zip(one, other, strict=False)
    return next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def _places(words: str, known: GoldDocument) -> Iterator[Asked]:
    start = known.text.find(words) if words else -1
    while start >= 0:
        yield Asked(known.id, start, start + len(words))
        start = known.text.find(words, start + 1)


def to_json(items: Sequence[OracleItem]) -> str:
    """Write an answer: `{"entities": [{"label": ..., "text": ..., "attributes": {}}]}`."""
    rows = [asdict(Item(label=item.label, text=item.text)) for item in items]
    return json.dumps({"entities": rows}, ensure_ascii=False)


def sample_of(body: Mapping[str, Any], draw: int = 0) -> str:
    """Name what tells requests of the same prompt apart; nothing does so at temperature 0."""
    return f"{body.get('seed')}/{draw}" if body.get("temperature") else ""


def is_asked_again(prompt: str, chunk: str) -> bool:
    """Say whether an answer about the chunk stands in the prompt already, as in a question about an error."""
    _, _, after = prompt.partition(chunk)
    return after.count("<|im_start|>assistant") > 1


def _limit(body: Mapping[str, Any]) -> int:
    """Return how many tokens a request allows."""
    return int(body.get("max_completion_tokens") or body.get("max_tokens") or FINISH)


def _stripped(text: str, span: tuple[int, int]) -> tuple[int, int]:
    words = text[slice(*span)]
    start = span[0] + len(words) - len(words.lstrip())
    return start, start + len(words.strip())

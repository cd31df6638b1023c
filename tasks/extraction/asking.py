"""Asks about every window of a document, and asks again where an answer was of no use."""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace

from backends.base import Outcome
from backends.errors import BackendError, ContextOverflowError
from backends.messages import Message, Request, SamplingParams
from tasks.ask import AskEach, nobody_answers
from tasks.extraction.parsing import WHAT_IS_WRONG, Parsed, parse
from tasks.extraction.prompting import Prompting
from tasks.extraction.spec import ExtractionSpec
from tasks.extraction.values import Document, Item, Window
from tasks.extraction.windows import halves

LEAST_CHARACTERS = 200
"""A window is not cut into smaller ones: an entity has to fit, with something around it."""

REASON_CHARACTERS = 300
"""Of why a window failed: servers' own words may be long."""

REPEATED_CHARACTERS = 2000
"""Of an answer that was of no use, as it is shown to the model again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """How documents are asked about; what is the same for all of them."""

    spec: ExtractionSpec
    model: str
    revision: str | None
    sampling: SamplingParams
    """Of the first pass; its `max_tokens` is what an answer may have at most."""
    json_schema: str | None
    """What answers have to follow; None where the server cannot make them."""
    max_items: int | None = None
    """What the schema lets an answer have."""
    passes: int = 1
    pass_temperature: float = 0.7
    """Of the passes after the first, which would otherwise repeat it."""
    overlap_characters: int = 200
    """Between the halves of a window."""
    max_halvings: int = 2
    """Of a window whose answers run on, or have all the items that they may: of a model that never ends every
    sentence would be asked about. What does not fit is cut as often as it must be: it was never sent."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FailedWindow:
    """A part of a document about which there is no whole answer."""

    start: int
    end: int
    pass_number: int
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class _Question:
    window: Window
    pass_number: int
    chunk: int
    halvings: int = 0
    """How often a window was cut in two for it."""
    broken: tuple[str, str] | None = None
    """An answer of before that was of no use, and why."""
    saved: Parsed | None = None
    """What was complete in that answer."""


@dataclass(kw_only=True, slots=True)
class Answers:
    """What there is of a document, while it is asked about and at the end."""

    windows: dict[tuple[int, int], Window] = field(default_factory=dict[tuple[int, int], Window])
    """{(pass, chunk): window} of all from which there are items."""
    answered: list[Window] = field(default_factory=list[Window])
    """Those whose answers are whole."""
    items: dict[tuple[int, int], tuple[Item, ...]] = field(
        default_factory=dict[tuple[int, int], tuple[Item, ...]]
    )
    """{(pass, chunk): what the model says it found there}"""
    partial: set[tuple[int, int]] = field(default_factory=set[tuple[int, int]])
    """{(pass, chunk)} of those whose answers are not whole: behind their last item nothing was looked for."""
    failed: list[FailedWindow] = field(default_factory=list[FailedWindow])
    numbers: Counter[int] = field(default_factory=Counter[int])
    """{pass: chunks so far}"""
    chunks: int = 0
    """Questions of all passes, retries left out."""
    asked: int = 0
    """Questions, retries included."""
    invalid: int = 0
    """Items that had no text or no known label."""
    full: int = 0
    """Answers with as many items as one may have, about windows that were not cut: there may be more."""

    def number(self, pass_number: int, window: Window, *, halvings: int = 0) -> _Question:
        """Make a question of a window, with a number of its own in its pass."""
        self.numbers[pass_number] += 1
        chunk = self.numbers[pass_number] - 1
        return _Question(window=window, pass_number=pass_number, chunk=chunk, halvings=halvings)

    def keep(self, question: _Question, parsed: Parsed) -> None:
        """Take over the items of an answer."""
        place = (question.pass_number, question.chunk)
        self.windows[place], self.items[place] = question.window, parsed.items
        self.invalid += parsed.invalid

    def salvage(self, question: _Question, parsed: Parsed) -> None:
        """Take over the complete items of an answer that is not whole, if there are some."""
        if parsed.items:
            self.keep(question, parsed)
            self.partial.add((question.pass_number, question.chunk))

    def fail(self, question: _Question, reason: str) -> None:
        """Write down that there is no whole answer."""
        window = question.window
        self.failed.append(
            FailedWindow(start=window.start, end=window.end, pass_number=question.pass_number, reason=reason)
        )


@dataclass(kw_only=True)
class Asker:
    """Asks about documents, all in the same way.

    Args:
        settings: What is asked, and of whom.
        ask: Answers.
        windows: Cuts a text for a pass.
        max_tokens: Says how long the answer to a conversation may be.
    """

    settings: Settings
    ask: AskEach
    windows: Callable[[str, int], Awaitable[Sequence[Window]]]
    max_tokens: Callable[[Sequence[Message]], Awaitable[int]]
    retries: bool = True
    """False in an estimate, whose answers say nothing."""
    overflowed: Callable[[], None] = lambda: None
    """Called when a prompt is not sent, since it does not fit."""

    def __post_init__(self) -> None:
        """Write what all conversations begin with."""
        self._prompting = Prompting(self.settings.spec)

    async def answers(self, document: Document) -> Answers:
        """Return what the model found in a document, and what failed: no window is left out silently.

        Raises:
            BackendError: Nobody answers any more; what was answered is stored, and asking again goes on.
        """
        work = Answers()
        try:
            questions = [
                work.number(number, window)
                for number in range(self.settings.passes)
                for window in await self.windows(document.text, number)
            ]
        except BackendError as error:
            if nobody_answers(error):
                raise
            end = len(document.text)  # it could not be cut, since its tokens could not be counted
            whole = Window(start=0, end=end, context_start=0, context_end=end)
            _failed(work, work.number(0, whole), _told(error))
            return work
        work.chunks = len(questions)
        rounds = 0
        while questions:
            questions = await self._round(document, work, questions, rounds)
            rounds += 1
        return work

    async def _round(
        self, document: Document, work: Answers, questions: Sequence[_Question], number: int
    ) -> list[_Question]:
        """Put questions; return those that follow from answers that were of no use."""
        requests: list[Request] = []
        put: list[_Question] = []
        follow: list[_Question] = []
        for question in questions:
            try:
                requests.append(await self._request(document, question))
                put.append(question)
            except ContextOverflowError as error:
                self.overflowed()
                follow += self._cut(document, work, question) or _failed(work, question, str(error))
            except BackendError as error:
                if nobody_answers(error):
                    raise
                _failed(work, question, _told(error))
        if not requests:
            return follow
        kind = "again" if number else "chunks"
        outcomes = await self.ask(requests, purpose=f"{document.id}: {len(put)} {kind}")
        work.asked += len(put)
        for outcome in outcomes:
            if nobody_answers(outcome):
                raise outcome
        for question, outcome in zip(put, outcomes, strict=True):
            follow += self._take(document, work, question, outcome)
        return follow

    async def _request(self, document: Document, question: _Question) -> Request:
        settings, number = self.settings, question.pass_number
        if question.broken:
            messages = self._prompting.again(document.text, question.window, *question.broken)
        else:
            messages = self._prompting.messages(document.text, question.window)
        first = settings.sampling
        return Request(
            model=settings.model,
            revision=settings.revision,
            messages=messages,
            sampling=replace(
                first,
                max_tokens=await self.max_tokens(messages),
                temperature=settings.pass_temperature if number else first.temperature,
                seed=first.seed + number,
            ),
            json_schema=settings.json_schema,
            # They all begin alike, and are to be spread over servers nevertheless.
            group=f"{document.id}#{number}.{question.chunk}",
        )

    def _take(
        self, document: Document, work: Answers, question: _Question, outcome: Outcome
    ) -> list[_Question]:
        """Take over an answer; return what to ask in its place."""
        if isinstance(outcome, BackendError):
            if outcome.overflows and (smaller := self._cut(document, work, question)):
                return smaller
            return _failed(work, question, _told(outcome))
        parsed = parse(outcome.text, outcome.finish_reason, self.settings.spec.label_names)
        is_full = len(parsed.items) + parsed.invalid == self.settings.max_items
        is_cut = is_full and _most_stand_in(
            document.text[question.window.start : question.window.end], parsed
        )
        runs_on = is_cut or parsed.problem in {"cut off", "whitespace loop"}
        may_cut = runs_on and self.retries and question.halvings < self.settings.max_halvings
        if may_cut and (smaller := self._cut(document, work, question)):
            return smaller
        if parsed.problem is None or not self.retries:
            work.keep(question, parsed)
            work.answered.append(question.window)
            work.full += is_full
            return []
        why = WHAT_IS_WRONG[parsed.problem]
        if question.broken is None:
            shown = outcome.text.rstrip()[:REPEATED_CHARACTERS]
            return [replace(question, broken=(shown, why), saved=parsed)]
        work.salvage(question, max(question.saved or parsed, parsed, key=lambda one: len(one.items)))
        return _failed(work, question, why)

    def _cut(self, document: Document, work: Answers, question: _Question) -> list[_Question]:
        """Ask about the halves of a window instead; nothing if it is too small."""
        overlap = self.settings.overlap_characters
        cut = halves(document.text, question.window, overlap=overlap, least=LEAST_CHARACTERS)
        return [work.number(question.pass_number, half, halvings=question.halvings + 1) for half in cut]


def _most_stand_in(text: str, parsed: Parsed) -> bool:
    """Say whether an answer lists what stands in a text, rather than going on and on about other things."""
    said = Counter(item.text.casefold() for item in parsed.items)
    text = text.casefold()
    return 2 * sum(min(times, text.count(one)) for one, times in said.items()) >= len(parsed.items)


def _failed(work: Answers, question: _Question, reason: str) -> list[_Question]:
    work.fail(question, reason)
    return []


def _told(error: BackendError) -> str:
    return f"{type(error).__name__}: {error}"[:REASON_CHARACTERS]

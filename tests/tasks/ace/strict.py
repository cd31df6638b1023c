"""The published loop, one question and one call at a time, written without the engine: what it must equal."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from backends.messages import Message, Request, Response, SamplingParams
from tasks.ace.answers import Generated, Reflected, read_generated, read_operations, read_reflected
from tasks.ace.deltas import apply
from tasks.ace.playbook import Playbook
from tasks.ace.prompts import curator_messages, generator_messages, reflector_messages
from tasks.ace.schemas import curator_schema, generator_schema, reflector_schema
from tasks.ace.values import AceTask, Feedback, Row


@dataclass(kw_only=True)
class Strict:
    """Learns row by row, and remembers every call."""

    task: AceTask
    call: Callable[[Request], Response]
    rounds: int = 3
    post: bool = False
    playbook: Playbook = field(default_factory=Playbook)
    calls: list[Request] = field(default_factory=list[Request])

    def learn(self, rows: Sequence[Row]) -> Playbook:
        for step, row in enumerate(rows, start=1):
            self._learn_one(row, step)
            if self.post:
                self._generate(row, None)
        return self.playbook

    def _learn_one(self, row: Row, step: int) -> None:
        generated, review = self._generate(row, None), None
        votes: list[tuple[str, str]] = []
        for _ in range(self.rounds):
            is_right = generated.final_answer == row.target
            reflected = self._reflect(row, generated, is_right=is_right)
            votes += reflected.votes if reflected else ()
            review = reflected or review
            if is_right:
                break
            generated = self._generate(row, review)
            if generated.final_answer == row.target:
                break
        self.playbook = self.playbook.tagged(votes, step=step)
        if review is None:
            return
        sections = [section.name for section in self.playbook.sections]
        text = self._ask(
            curator_messages(self.task, self._shown(), self.playbook, [(row.question, review)]),
            curator_schema(self._live(), sections, 100, max_operations=16),
        )
        self.playbook, _ = apply(self.playbook, read_operations(text) or [], step=step)

    def _generate(self, row: Row, review: Reflected | None) -> Generated:
        text = self._ask(
            generator_messages(self.task, self._shown(), row.question, review=review),
            generator_schema(self._live(), 100),
        )
        return read_generated(text, self._live())

    def _reflect(self, row: Row, generated: Generated, *, is_right: bool) -> Reflected | None:
        cited = list(generated.bullet_ids)
        begins = "The answer is right" if is_right else "The answer is wrong. The right answer is"
        feedback = Feedback(is_ok=is_right, text=f"{begins}: {row.target}")
        excerpt = "\n".join(line for name, line in self._lines().items() if name in cited)
        messages = reflector_messages(self.task, excerpt, row.question, generated, feedback)
        said = self._ask(messages, reflector_schema(cited, 100))
        return read_reflected(said, cited, needs_lesson=not is_right)

    def _lines(self) -> dict[str, str]:
        return {bullet.id: f"[{bullet.id}] {bullet.text}" for bullet in self.playbook.by_age}

    def _live(self) -> list[str]:
        return list(self._lines())

    def _shown(self) -> str:
        return "<playbook>\n" + ("\n".join(self._lines().values()) or "(empty)") + "\n</playbook>"

    def _ask(self, messages: tuple[Message, ...], schema: str) -> str:
        sampling = SamplingParams(max_tokens=100)
        self.calls.append(Request(model="m", messages=messages, sampling=sampling, json_schema=schema))
        return self.call(self.calls[-1]).text

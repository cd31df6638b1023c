"""A small world for tests of learning: topics with a rule each, some of which the made-up model knows."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from backends.base import Outcome
from backends.errors import ContextOverflowError
from backends.messages import Request, Response, SamplingParams, prompt_text
from bench.ace_model import MadeUpLearner, Rule
from bench.ace_worlds import TASK
from tasks.ace.attempts import EARLY
from tasks.ace.curating import Curation
from tasks.ace.judging import Judge, LabelJudge
from tasks.ace.learning import Learner
from tasks.ace.roles import Role, Tier
from tasks.ace.values import Question, Row

Script = Callable[[Request], Outcome]


def rows(count: int, *, topics: int = 10, first: int = 0) -> list[Row]:
    """Return questions about topics in turn."""
    return [
        Row(
            question=Question(id=f"r{n}", text=f"What is case {n} of topic {n % topics}?"),
            target=f"answer {n}",
        )
        for n in range(first, first + count)
    ]


def model(every: Sequence[Row], *, topics: int = 10, known: int = 4, poison: int = 0) -> MadeUpLearner:
    """Return the model that knows the first topics."""
    rules = {
        f"topic {n}": Rule(lesson=f"Topic {n} takes the number of the case.", known=n < known)
        for n in range(topics)
    }
    questions = {
        row.question.text: (row.question.text[:-1].split(" of ")[1], row.target or "") for row in every
    }
    return MadeUpLearner(rules=rules, questions=questions, poison=poison)


@dataclass(kw_only=True)
class Asker:
    """Satisfies AskEach, and remembers every list."""

    script: Script
    asked: list[tuple[str, list[Request]]] = field(default_factory=list[tuple[str, list[Request]]])

    async def __call__(self, requests: Sequence[Request], *, purpose: str) -> list[Outcome]:
        self.asked.append((purpose, list(requests)))
        return [self.script(request) for request in requests]

    @property
    def requests(self) -> list[Request]:
        """Every question, in the order in which they were put."""
        return [request for _, requests in self.asked for request in requests]

    @property
    def waves(self) -> list[tuple[str, int]]:
        """(role, how many were asked at once), list by list."""
        return [(purpose.split(":")[0], len(requests)) for purpose, requests in self.asked]

    def count(self, role: str) -> int:
        """Return how many questions a role was put."""
        return sum(count for name, count in self.waves if name == role)


@dataclass(kw_only=True)
class Narrow:
    """A script whose context holds so many of what a pattern finds; `seen` says how many each prompt had."""

    most: int
    pattern: str
    answer: Callable[[str, Sequence[str]], object]
    """(prompt, what was found in it) -> what is said, as JSON."""
    seen: list[int] = field(default_factory=list[int])

    def __call__(self, request: Request) -> Outcome:
        prompt = prompt_text(request)
        found: list[str] = re.findall(self.pattern, prompt)
        self.seen.append(len(found))
        if len(found) > self.most:
            return ContextOverflowError("too long")
        return Response(text=json.dumps(self.answer(prompt, found)), finish_reason="stop")


def tier(ask: Asker, name: str = "m", **changes: Any) -> Tier:  # noqa: ANN401 - any field
    return replace(Tier(ask=ask, model=name, sampling=SamplingParams(max_tokens=100)), **changes)


def learner(ask: Asker, every: Sequence[Row], judge: Judge | None = None, **changes: Any) -> Learner:  # noqa: ANN401
    """Return a learner whose roles are all answered by one model."""
    labels = LabelJudge(checker=TASK.checker, targets={row.question.id: row.target for row in every})
    made = Learner(
        task=TASK,
        generator=Role(name="generator", tiers=(tier(ask),)),
        reflector=Role(name="reflector", tiers=(tier(ask),)),
        curation=Curation(task=TASK, curator=Role(name="curator", tiers=(tier(ask),))),
        judge=judge or labels,
        stops=frozenset(EARLY),
    )
    return replace(made, **changes)

"""What the tests of ICM share: made-up claims, a scorer without a model, a store in memory, searches."""

import asyncio
import hashlib
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from backends.base import Outcome
from backends.errors import BackendError
from backends.messages import Label, Request, Response
from backends.scripted import Script, Scripted
from cache.keys import Key
from cache.lookup import Lookup
from cache.store import Found
from tasks.ask import Ask
from tasks.generate import Generator
from tasks.icm.claims import Claim, Draw, draw, load_claims
from tasks.icm.consistency import Consistency, consistency_keys
from tasks.icm.orders import ContextOrder, ReferenceOrder
from tasks.icm.prompts import Prompter
from tasks.icm.search import Search, Step
from tasks.icm.search_settings import SearchSettings

PROJECT = Path(__file__).parents[3]
TRUTHFULQA = PROJECT.parent / "shared" / "data" / "truthfulqa"

LogOdds = Callable[[str], float]
"""From a prompt to the model's log-odds of True."""

LABELS = (Label(text="False", token_ids=(0,)), Label(text="True", token_ids=(1,)))
ANSWERS = (("red", "blue", "red", "green"), ("one", "one", "two", "two"), ("x", "y", "z", "x"))


def truthfulqa(split: str) -> Path:
    """Return the real file, or skip the test that wants it."""
    path = TRUTHFULQA / f"{split}.json"
    if not path.exists():
        pytest.skip(f"needs {path}, the real TruthfulQA in ICM's format, which is not part of the product")
    return path


@cache
def truthfulqa_train() -> tuple[Claim, ...]:
    """Read the real training claims, once."""
    return tuple(load_claims(truthfulqa("train")))


# --- claims ---------------------------------------------------------------------------------------------


def unit(*parts: object) -> float:
    """Return a number in [0, 1) that depends on the parts alone."""
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def made_claims(groups: int, group_size: int = 4) -> list[Claim]:
    """Make claims whose gold labels fit their answers: in every group the first answer is the right one."""
    return [
        Claim(
            id=group * group_size + place,
            question=f"Question {group}?",
            choice=f"Claim {group}.{place}.",
            group=group,
            gold=int(answer == ANSWERS[group % len(ANSWERS)][0]),
            answer=answer,
        )
        for group in range(groups)
        for place, answer in enumerate(ANSWERS[group % len(ANSWERS)][:group_size])
    ]


def made_draw(*, groups: int = 6, num_seeds: int = 8, seed: int = 0) -> Draw:
    claims = made_claims(groups)
    return draw(claims, size=len(claims), num_seeds=num_seeds, group_size=4, seed=seed)


def one_group(answers: Sequence[str], seed_labels: Mapping[int, int]) -> Draw:
    """Make a draw of one group, with these answers and these first labels; gold labels are all false."""
    claims = [
        Claim(id=uid, question="Question?", choice=f"Claim {uid}.", group=0, gold=0, answer=answer)
        for uid, answer in enumerate(answers)
    ]
    return Draw(claims=tuple(claims), seed_labels=dict(seed_labels))


# --- a model --------------------------------------------------------------------------------------------

_DEMONSTRATION = re.compile(r"Question: (.*)\nClaim: (.*)\nI think this claim is (True|False)\n\n")
_TARGET = re.compile(r"Question: (.*)\nClaim: (.*)\nI think this claim is ?")


def read_prompt(prompt: str) -> tuple[list[tuple[str, int]], str]:
    """Return the demonstrations [(claim, label)] in their order, and the claim that is asked about."""
    shown: list[tuple[str, int]] = []
    end = 0
    while match := _DEMONSTRATION.match(prompt, end):
        shown.append((match[2], int(match[3] == "True")))
        end = match.end()
    target = _TARGET.fullmatch(prompt, end)
    assert target, f"no prompt of ICM: {prompt!r}"
    return shown, target[2]


def doubtful(prompt: str) -> float:
    """Score a claim by a hidden truth, and by every byte of its context."""
    truth = 1 if unit("truth", read_prompt(prompt)[1]) < 0.5 else -1
    return 1.5 * truth + 5 * (unit("noise", prompt) - 0.5)


def undecided(prompt: str) -> float:  # noqa: ARG001 - whatever the prompt
    return 0.0


def wanting(**wanted: float) -> LogOdds:
    """Make a model that scores claims by their number, whatever their context: `_0` is "Claim 0."."""

    def model(prompt: str) -> float:
        claim = read_prompt(prompt)[1].removeprefix("Claim ").removesuffix(".")
        return wanted.get(f"_{claim}", 0.0)

    return model


def answering(log_odds: LogOdds, *, mass: float = 0.9) -> Script:
    """Make a script that gives both labels together the probability `mass`."""

    def script(request: Request) -> Outcome:
        assert request.prompt is not None
        true = mass / (1 + math.exp(-log_odds(request.prompt)))
        logprobs = {"False": math.log(mass - true), "True": math.log(true)}
        return Response(text=" True", finish_reason="length", label_logprobs=logprobs)

    return script


@dataclass
class PlainAsk:
    """Asks a scripted backend and nothing else; remembers what for."""

    backend: Scripted
    purposes: list[str] = field(default_factory=list[str])
    under_way: int = 0
    rounds: int = 0
    """Times that something was asked when nothing was being asked."""

    async def __call__(self, requests: Sequence[Request], *, purpose: str) -> list[Response]:
        self.purposes.append(purpose)
        if not self.under_way:
            self.rounds += 1
        self.under_way += 1
        await asyncio.sleep(0)
        self.under_way -= 1
        outcomes: dict[int, Outcome] = {}
        async with aclosing(self.backend.answer(requests)) as arrivals:
            async for arrival in arrivals:
                outcomes.update(arrival.outcomes)
        errors = [outcome for outcome in outcomes.values() if isinstance(outcome, BackendError)]
        if errors:
            raise ExceptionGroup(purpose, errors)
        responses = [outcome for _, outcome in sorted(outcomes.items()) if isinstance(outcome, Response)]
        assert len(responses) == len(requests)
        return responses

    @property
    def prompts(self) -> list[str]:
        return [request.prompt or "" for request in self.backend.asked]


class MemoryStore:
    """A store in a dictionary."""

    def __init__(self) -> None:
        self.entries: dict[Key, bytes] = {}

    def get(self, keys: Iterable[Key]) -> Found:
        return Found(entries={key: self.entries[key] for key in keys if key in self.entries})

    def put(self, entries: Mapping[Key, bytes]) -> None:
        self.entries.update(entries)

    def add(self, entries: Mapping[Key, bytes]) -> Mapping[Key, bytes]:
        present = self.get(entries).entries
        self.entries = {**entries, **self.entries}
        return present

    def delete(self, keys: Iterable[Key]) -> int:
        return sum(self.entries.pop(key, None) is not None for key in list(keys))

    def keys(self) -> Iterator[Key]:
        return iter(list(self.entries))

    def close(self) -> None:
        pass


def asking(log_odds: LogOdds = doubtful) -> PlainAsk:
    return PlainAsk(Scripted(answering(log_odds)))


def stored(store: MemoryStore, backend: Scripted) -> Generator:
    return Generator(backend=backend, lookup=Lookup(store))


# --- searches -------------------------------------------------------------------------------------------


def search_over(
    drawn: Draw,
    consistency: Consistency,
    ask: Ask,
    order: ContextOrder | None = None,
    **settings: Any,  # noqa: ANN401
) -> Search:
    prompter = Prompter(claims=drawn.claims, model="made-up", labels=LABELS, order=order or ReferenceOrder())
    keys = consistency_keys(drawn.claims, consistency)
    return Search(drawn, keys, prompter, SearchSettings(**settings), ask)


async def searched(
    drawn: Draw,
    consistency: Consistency = Consistency.NONE,
    ask: Ask | None = None,
    order: ContextOrder | None = None,
    **settings: Any,  # noqa: ANN401
) -> list[Step]:
    """Run a whole search; without an `ask` the doubtful model answers, in the reference's order."""
    search = search_over(drawn, consistency, ask or asking(), order, **settings)
    async with aclosing(search.steps()) as steps:
        return [step async for step in steps]

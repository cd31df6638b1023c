"""How much of a prompt stands at the beginning of the one before it, which a prefix cache need not compute.

A playbook grows by 300 edits, with votes in every step, and is shown each time: append-only and without
counts, and as the reference does. Then whole prompts: those that the Generator was asked one after the other.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from tokenizers import Tokenizer

from backends.messages import SamplingParams, prompt_text
from bench.ace_lessons import made_up
from bench.ace_run import STRICT, Setting, counted
from bench.ace_worlds import TASK, World
from tasks.ace.deltas import apply
from tasks.ace.playbook import Playbook
from tasks.ace.playbook_text import parse
from tasks.ace.rendering import RENDERINGS

EDITS = 300
VOTES = (2, 5)
"""In each step."""
SEED = 0
COUNTED = ("helpful", "harmful")
"""Tags that a line of the reference shows."""

Text = str | Sequence[int]
"""Characters, or tokens."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Growth:
    """How a playbook grows: the shares of edits that are no ADD, and the votes of a step."""

    name: str
    votes: int
    updates: float = 0.0
    removes: float = 0.0


GROWTHS = (
    *(Growth(name="only ADD", votes=votes) for votes in VOTES),
    *(Growth(name="10 % UPDATE, 5 % REMOVE", votes=votes, updates=0.1, removes=0.05) for votes in VOTES),
)


def grown(growth: Growth, edits: int = EDITS, seed: int = SEED) -> Iterator[Playbook]:
    """Yield a playbook after each edit and the votes that came with it."""
    draw = random.Random(seed)
    source = parse(made_up(edits, again=0, seed=seed).text).playbook
    lessons = iter([(source.section_names[one.id], one.text) for one in source.by_age])
    playbook = Playbook()
    for step in range(1, edits + 1):
        playbook, _ = apply(playbook, [_edit(growth, playbook, lessons, draw, step)], step=step)
        live = list(playbook.bullets)
        tags = [(draw.choice(live), draw.choice(COUNTED)) for _ in range(growth.votes)]
        playbook = playbook.tagged(tags, step=step)
        yield playbook


def _edit(
    growth: Growth, playbook: Playbook, lessons: Iterator[tuple[str, str]], draw: random.Random, step: int
) -> dict[str, object]:
    dice, live = draw.random(), list(playbook.bullets)
    if len(live) > 1 and dice < growth.updates:
        bullet_id = draw.choice(live)
        text = f"{playbook.bullets[bullet_id].text} (seen again in step {step})"
        return {"type": "UPDATE", "id": bullet_id, "content": text}
    if len(live) > 1 and dice < growth.updates + growth.removes:
        return {"type": "REMOVE", "id": draw.choice(live)}
    section, lesson = next(lessons)
    return {"type": "ADD", "section": section, "content": lesson}


def common(before: Text, after: Text) -> int:
    """Count what two texts begin with alike."""
    low, high = 0, min(len(before), len(after))
    while low < high:
        middle = (low + high + 1) // 2
        if before[:middle] == after[:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def reuse(texts: Sequence[Text]) -> dict[str, float]:
    """Return the share of a text that is a prefix of the one before it: the mean, and of all together."""
    pairs = [(common(before, after), len(after)) for before, after in pairwise(texts) if after]
    return {
        "mean": sum(same / length for same, length in pairs) / len(pairs),
        "of_all": sum(same for same, _ in pairs) / sum(length for _, length in pairs),
    }


def measured(texts: Sequence[str], tokenizer: Tokenizer | None) -> dict[str, Any]:
    """Measure in characters, and in tokens where there is a tokenizer."""
    row: dict[str, Any] = {"texts": len(texts), "characters": reuse(texts)}
    if tokenizer:
        encoded = [one.ids for one in tokenizer.encode_batch(list(texts))]
        row |= {"tokens": reuse(encoded), "tokens_of_last": len(encoded[-1])}
    return row


def playbooks(edits: int, tokenizer: Tokenizer | None) -> list[dict[str, Any]]:
    """Measure playbooks that grow, in both renderings."""
    rows: list[dict[str, Any]] = []
    for growth in GROWTHS:
        versions = list(grown(growth, edits))
        for name, render in RENDERINGS.items():
            head = {"growth": growth.name, "votes_a_step": growth.votes, "rendering": name}
            shown = [render(version) for version in versions]
            rows.append({**head, "bullets": len(versions[-1]), **measured(shown, tokenizer)})
    return rows


async def prompts(
    world: World, sampling: SamplingParams, tokenizer: Tokenizer | None
) -> list[dict[str, Any]]:
    """Measure the Generator's prompts of a run row by row, in both renderings."""
    rows: list[dict[str, Any]] = []
    for name in RENDERINGS:
        setting = Setting(task=TASK, rows=world.rows, model="made-up", sampling=sampling, rendering=name)
        found, ask = await counted(setting, STRICT, world, keeps="generator")
        texts = [prompt_text(request) for request in ask.kept]
        head = {"rows": len(world.rows), "kind": world.kind, "rendering": name, "bullets": found["bullets"]}
        rows.append({**head, **measured(texts, tokenizer)})
    return rows

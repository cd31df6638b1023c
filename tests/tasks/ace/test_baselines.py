"""The cheat-sheet is written anew after each batch, from halves of what no context holds."""

import json
import re
from collections.abc import Sequence
from dataclasses import replace

import pytest

from backends.base import Outcome
from backends.errors import ContextOverflowError
from backends.messages import Request, Response, SamplingParams, prompt_text
from tasks.ace.baselines import CheatSheet
from tasks.ace.judging import LabelJudge
from tasks.ace.roles import Role, Tier
from tests.tasks.ace.world import TASK, Asker, rows, tier


class Writer:
    """Adds the cases that it is shown to the sheet, and holds so many."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.asked: list[int] = []
        """Cases in each prompt."""

    async def ask(self, requests: Sequence[Request], *, purpose: str) -> list[Outcome]:
        del purpose
        return [self._answer(prompt_text(request)) for request in requests]

    def _answer(self, prompt: str) -> Outcome:
        new: list[str] = re.findall(r"What is case (\d+)", prompt)
        self.asked.append(len(new))
        if len(new) > self.most:
            return ContextOverflowError("too long")
        [before] = re.findall(r"<cheat_sheet>\n?(.*?)\n?</cheat_sheet>", prompt, re.DOTALL)
        sheet = " ".join([before.removeprefix("(empty)"), *new])
        return Response(text=json.dumps({"cheat_sheet": sheet}), finish_reason="stop")


def sheet(most: int, max_tokens: int = 4_000) -> tuple[CheatSheet, Writer]:
    writer = Writer(most)
    generator = Asker(script=lambda _: Response(text='{"final_answer": "no"}', finish_reason="stop"))
    tiers = (Tier(ask=writer.ask, model="m", sampling=SamplingParams(max_tokens=max_tokens)),)
    made = CheatSheet(
        task=TASK,
        generator=Role(name="cheat-sheet", tiers=(tier(generator),)),
        curator=Role(name="cheat-sheet writer", tiers=tiers),
        judge=LabelJudge(checker=TASK.checker, targets={row.question.id: row.target for row in rows(20)}),
    )
    return made, writer


@pytest.mark.parametrize(
    ("most", "asked"), [(12, [12]), (6, [12, 6, 6]), (4, [12, 6, 3, 3, 6, 3, 3]), (5, [12, 6, 3, 3, 6, 3, 3])]
)
async def test_a_batch_that_no_context_holds_is_written_from_its_halves(most: int, asked: list[int]) -> None:
    made, writer = sheet(most)
    written = await made.learn("", rows(12), name="batch")
    assert writer.asked == asked
    assert written.split() == [str(n) for n in range(12)]


async def test_a_sheet_that_cannot_be_written_stays_as_it_was() -> None:
    made, writer = sheet(0)
    assert await made.learn("old", rows(2), name="batch") == "old"
    assert writer.asked == [2, 1, 1]


@pytest.mark.parametrize(("max_tokens", "characters"), [(4_000, 8_000), (1_024, 2_560)])
async def test_the_writer_is_told_the_length_that_its_answer_can_have(
    max_tokens: int, characters: int
) -> None:
    told: list[Request] = []
    made, writer = sheet(20, max_tokens)

    async def ask(requests: Sequence[Request], *, purpose: str) -> list[Outcome]:
        told.extend(requests)
        return await writer.ask(requests, purpose=purpose)

    one = Tier(ask=ask, model="m", sampling=SamplingParams(max_tokens=max_tokens))
    made = replace(made, curator=Role(name="cheat-sheet writer", tiers=(one,)))
    await made.learn("", rows(1), name="batch")
    [request] = told
    assert f"The sheet may have {characters:,} characters." in prompt_text(request)
    schema = json.loads(request.json_schema or "")
    assert schema["properties"]["cheat_sheet"]["maxLength"] == characters

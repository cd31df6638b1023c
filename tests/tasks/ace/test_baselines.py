"""The cheat-sheet is written anew after each batch, from halves of what no context holds."""

import json
import re
from collections.abc import Sequence

import pytest

from backends.messages import Response, SamplingParams, prompt_text
from tasks.ace.baselines import CheatSheet
from tasks.ace.judging import LabelJudge
from tasks.ace.roles import Role
from tests.tasks.ace.world import TASK, Asker, Narrow, rows, tier


def sheet(most: int, max_tokens: int = 4_000) -> tuple[CheatSheet, Narrow, Asker]:
    """Return whose writer holds so many cases, and adds their numbers to the sheet."""

    def written(prompt: str, cases: Sequence[str]) -> object:
        [before] = re.findall(r"<cheat_sheet>\n?(.*?)\n?</cheat_sheet>", prompt, re.DOTALL)
        return {"cheat_sheet": " ".join([before.removeprefix("(empty)"), *cases])}

    narrow = Narrow(most=most, pattern=r"What is case (\d+)", answer=written)
    writer = Asker(script=narrow)
    generator = Asker(script=lambda _: Response(text='{"final_answer": "no"}', finish_reason="stop"))
    tiers = (tier(writer, sampling=SamplingParams(max_tokens=max_tokens)),)
    made = CheatSheet(
        task=TASK,
        generator=Role(name="cheat-sheet", tiers=(tier(generator),)),
        curator=Role(name="cheat-sheet writer", tiers=tiers),
        judge=LabelJudge(checker=TASK.checker, targets={row.question.id: row.target for row in rows(20)}),
    )
    return made, narrow, writer


@pytest.mark.parametrize(
    ("most", "asked"), [(12, [12]), (6, [12, 6, 6]), (4, [12, 6, 3, 3, 6, 3, 3]), (5, [12, 6, 3, 3, 6, 3, 3])]
)
async def test_a_batch_that_no_context_holds_is_written_from_its_halves(most: int, asked: list[int]) -> None:
    made, narrow, _ = sheet(most)
    written = await made.learn("", rows(12), name="batch")
    assert narrow.seen == asked
    assert written.split() == [str(n) for n in range(12)]


async def test_a_sheet_that_cannot_be_written_stays_as_it_was() -> None:
    made, narrow, _ = sheet(0)
    assert await made.learn("old", rows(2), name="batch") == "old"
    assert narrow.seen == [2, 1, 1]


@pytest.mark.parametrize(("max_tokens", "characters"), [(4_000, 8_000), (1_024, 2_560)])
async def test_the_writer_is_told_the_length_that_its_answer_can_have(
    max_tokens: int, characters: int
) -> None:
    made, _, writer = sheet(20, max_tokens)
    await made.learn("", rows(1), name="batch")
    [request] = writer.requests
    assert f"The sheet may have {characters:,} characters." in prompt_text(request)
    schema = json.loads(request.json_schema or "")
    assert schema["properties"]["cheat_sheet"]["maxLength"] == characters

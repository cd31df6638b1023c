"""The bench of orders on a real server, without one: the reference's way of working, and the ratios."""

import pytest

from backends.scripted import Scripted
from bench.icm_live import (
    SaltedAsk,
    consistency_of,
    made_up,
    ratios,
    search,
    search_as_the_reference,
    shares,
    written,
)
from bench.icm_run import LABELS, as_the_reference
from cache.lookup import CacheMode, Lookup
from tasks.generate import Generator
from tasks.icm.claims import Draw
from tasks.icm.consistency import Consistency
from tasks.icm.prompts import Prompter
from tasks.icm.search_settings import SearchSettings
from tests.bench.test_icm_bench import model_of
from tests.tasks.icm.made_up import MemoryStore, answering, doubtful, made_draw, undecided

ITERATIONS = 25


def without_answers(drawn: Draw) -> Draw:
    claims = tuple(
        type(one)(id=one.id, question=one.question, choice=one.choice, group=one.group, gold=one.gold)
        for one in drawn.claims
    )
    return Draw(claims=claims, seed_labels=drawn.seed_labels)


def asking(drawn: Draw, mode: CacheMode, max_prompts: int) -> SaltedAsk:
    backend = Scripted(model_of(drawn), max_prompts=max_prompts)
    return SaltedAsk(generator=Generator(backend=backend, lookup=Lookup(MemoryStore(), mode)), salt="s")


def prompter_of(drawn: Draw) -> Prompter:
    return Prompter(claims=drawn.claims, model="m", labels=LABELS)


def test_claims_without_answers_contradict_each_other_by_their_gold_labels() -> None:
    assert consistency_of(made_draw()) is Consistency.ANSWER
    assert consistency_of(without_answers(made_draw())) is Consistency.REFERENCE


async def test_the_references_way_asks_each_prompt_alone_every_time_and_finds_the_same() -> None:
    drawn = without_answers(made_draw(groups=10))
    ask = asking(drawn, CacheMode.OFF, max_prompts=1)
    found = await search_as_the_reference(ask, prompter_of(drawn), drawn, iterations=ITERATIONS)
    counted = as_the_reference(drawn, model_of(drawn), SearchSettings(iterations=ITERATIONS))
    assert found["labels"] == counted["labels"]
    assert ask.generator.tally.sent == ask.generator.tally.requests == counted["prompts"]
    assert counted["requests"] == ask.generator.tally.sent + found["dummy_requests_not_sent"]
    assert found["dummy_requests_not_sent"] > 0  # or nothing was ever repaired

    ours = asking(drawn, CacheMode.USE, max_prompts=32)
    found_by_ours = await search(ours, prompter_of(drawn), drawn, iterations=ITERATIONS)
    assert found_by_ours["labels"] == found["labels"]
    assert found_by_ours["changes"] == found["changes"] > 0
    assert {name: found_by_ours["decisions"][name] for name in found["decisions"]} == found["decisions"]
    assert ours.generator.tally.sent < ask.generator.tally.sent
    assert ours.generator.tally.requests < ask.generator.tally.requests / 4


async def test_made_up_answers_decide_and_every_prompt_is_asked_all_the_same() -> None:
    drawn = made_draw(groups=10)
    found: list[str] = []
    for log_odds in (undecided, doubtful):
        backend = Scripted(answering(log_odds))
        generator = Generator(backend=backend, lookup=Lookup(MemoryStore()))
        ask = SaltedAsk(generator=generator, salt="s", answers=made_up(drawn))
        found.append((await search(ask, prompter_of(drawn), drawn, iterations=ITERATIONS))["labels"])
        assert len(backend.asked) == generator.tally.sent > 100
        assert {request.sampling.extra_body["cache_salt"] for request in backend.asked} == {"s"}
    assert found[0] == found[1]
    alone = await search(asking(drawn, CacheMode.USE, 32), prompter_of(drawn), drawn, iterations=ITERATIONS)
    assert found[0] == alone["labels"]


def test_shares_and_ratios() -> None:
    costs = {"prompts": 100, "prompt_tokens_computed": 4000, "changes": 8, "seconds": 30.0}
    assert shares(costs) == {"computed_for_a_prompt": 40, "computed_for_a_change": 500}
    assert shares({**costs, "changes": 0}) == {"computed_for_a_prompt": 40}
    tree = {"prompts": 50, "prompt_tokens_computed": 500, "seconds": 10.0, "requests": 4}
    assert ratios(costs, tree) == pytest.approx({"prompts": 2, "prompt_tokens_computed": 8, "seconds": 3})


def test_labels_are_written_in_the_order_of_the_uids() -> None:
    assert written({2: 1, 0: 0}) == "0-1"

"""The baseline that asks in conversations: what is asked, how answers are read, who can be asked."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.errors import (
    BackendConnectionError,
    BadRequestError,
    RateLimitError,
    ServerError,
    UnknownModelError,
)
from backends.messages import Message, Request, Response
from backends.retrying import RetryPolicy
from backends.scripted import Scripted
from backends.vllm_server import VLLMServer
from cache.errors import CacheMissError
from cache.lookup import CacheMode, Lookup
from tasks.icm.chat import MAX_TOKENS, can_chat, chat_request, has_chat_template, read_label, score_chat
from tasks.icm.claims import Claim
from tasks.icm.prompts import claim_prompt
from tasks.icm.testbeds import TESTBEDS, Testbed
from tests.fake_vllm import FakeVLLM
from tests.helpers import Naps
from tests.tasks.icm.made_up import MemoryStore, PlainAsk, made_claims, stored


def asked(claim: Claim) -> str:
    [message] = chat_request(claim, model="made-up").messages
    assert message.role == "user"
    return message.content


def saying(say: Callable[[str], str]) -> Scripted:
    def script(request: Request) -> Response:
        return Response(text=say(request.messages[-1].content), finish_reason="stop")

    return Scripted(script)


# --- what is asked --------------------------------------------------------------------------------------


@pytest.mark.parametrize("testbed", [*TESTBEDS.values(), Testbed(template="{text}\nAnswer:\t ")])
def test_a_conversation_shows_the_claims_prompt_and_asks_for_its_label_alone(testbed: Testbed) -> None:
    text = testbed.text(dict.fromkeys(testbed.fields, "words"))
    question = asked(replace(made_claims(1)[0], text=text))
    prompt, instruction = question.split("\n\n")
    assert prompt == text.rstrip()
    assert "True or False" in instruction
    assert question == question.strip()


def test_claims_without_a_text_of_their_own_are_asked_as_the_search_asks() -> None:
    claim = made_claims(1)[0]
    assert asked(claim).startswith(claim_prompt(claim).rstrip() + "\n")


def test_answers_are_short_and_not_sampled() -> None:
    request = chat_request(made_claims(1)[0], model="m", revision="r")
    assert (request.model, request.revision) == ("m", "r")
    assert request.sampling.temperature == 0
    assert request.sampling.max_tokens == MAX_TOKENS
    assert not request.labels
    assert request.prompt is None


# --- how answers are read -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["True", "true.", " TRUE\n", "**True**", '"True"', "_true_", "True, since", "Answer: True",
     "The claim is true.", "I think this claim is True", "True. True"],
)  # fmt: skip
def test_the_one_label_that_is_named_is_the_label(text: str) -> None:
    assert read_label(text) == 1
    assert read_label(text.lower().replace("true", "fAlse")) == 0


@pytest.mark.parametrize(
    "text",
    ["", " ", "...", "True or False? It depends", "False, not true", "Truely", "Trueish", "untrue", "T", "1",
     "Yes", "TrueFalse", "真"],
)  # fmt: skip
def test_an_answer_that_names_no_label_or_both_is_unreadable(text: str) -> None:
    assert read_label(text) is None


@given(st.text())
def test_any_answer_is_read(text: str) -> None:
    assert read_label(text) in {None, 0, 1}
    assert read_label(f"True {text} False") is None
    if "true" not in text.lower():
        assert read_label(f"{text} False") == 0


async def test_score_counts_right_wrong_and_unreadable_answers() -> None:
    test = made_claims(2)  # true, false, true, false, true, true, false, false
    said = {"0.0": "True", "0.1": "True", "0.2": "Hm", "0.3": "false", "1.0": "TRUE.", "1.1": "", "1.2": "No"}

    def say(question: str) -> str:
        return said.get(question.split("Claim ")[1][:3], "False")

    ask = PlainAsk(saying(say))
    found = await score_chat(test, ask, model="made-up", revision="r")
    assert (found.method, found.demonstrations) == ("zero-shot chat", 0)
    assert (found.correct, found.total, found.unreadable) == (4, 8, 3)
    assert found.accuracy == 0.5
    assert found.label_mass is None
    assert ask.purposes == ["test zero-shot chat"]
    assert ask.backend.asked == [chat_request(claim, model="made-up", revision="r") for claim in test]


async def test_an_unreadable_answer_is_wrong_about_a_claim_without_gold_too() -> None:
    test = [replace(made_claims(1)[0], gold=None)]
    found = await score_chat(test, PlainAsk(saying(lambda _: "Hm")), model="made-up")
    assert (found.correct, found.unreadable) == (0, 1)


async def test_a_second_run_asks_nothing() -> None:
    store, backends = MemoryStore(), [saying(lambda _: "True") for _ in range(2)]
    first, second = [
        await score_chat(made_claims(2), stored(store, one), model="made-up") for one in backends
    ]
    assert first == second
    assert [len(one.asked) for one in backends] == [8, 0]


async def test_requests_without_an_answer_end_it() -> None:
    ask = PlainAsk(Scripted(lambda _: ServerError("broken")))
    with pytest.raises(ExceptionGroup, match="test zero-shot chat"):
        await score_chat(made_claims(1), ask, model="made-up")


# --- who can be asked -----------------------------------------------------------------------------------


async def test_a_servers_model_has_a_chat_template_or_none() -> None:
    with FakeVLLM() as fake:
        for has in (True, False):
            fake.config(has_chat_template=has)
            async with VLLMServer(fake.base_url) as server:
                assert await has_chat_template(server.count_tokens, "fake-model") is has
        assert fake.stats()["prompts"] == 0


async def test_a_model_that_is_not_served_is_not_one_without_a_template() -> None:
    with FakeVLLM() as fake:
        fake.config(has_chat_template=False)
        async with VLLMServer(fake.base_url) as server:
            with pytest.raises(UnknownModelError):
                await has_chat_template(server.count_tokens, "other")


async def test_a_server_that_cannot_be_asked_says_nothing_about_templates() -> None:
    with FakeVLLM() as fake:
        url = fake.base_url
    retrier = Naps().retrier(RetryPolicy(max_attempts=1))
    async with VLLMServer(url, retrier=retrier) as server:
        with pytest.raises(BackendConnectionError, match="no connection"):
            await has_chat_template(server.count_tokens, "fake-model")


@pytest.mark.parametrize(
    "error", [BadRequestError("prompt too long"), RateLimitError("chat template"), ServerError("broken")]
)
async def test_any_other_failure_is_passed_on(error: Exception) -> None:
    async def count_tokens(request: Request) -> int:
        assert request.messages == (Message(role="user", content="True or False?"),)
        raise error

    with pytest.raises(type(error)) as caught:
        await has_chat_template(count_tokens, "m")
    assert caught.value is error


async def test_whether_a_model_can_chat_is_asked_once_for_its_weights() -> None:
    asked: list[str] = []

    async def count_tokens(request: Request) -> int:
        asked.append(request.model)
        if request.model == "base":
            raise BadRequestError("default chat template is no longer allowed")
        return 5

    store = MemoryStore()
    for _ in range(2):
        assert await can_chat(count_tokens, "chat", "a", Lookup(store)) is True
        assert await can_chat(count_tokens, "base", "a", Lookup(store)) is False
    assert asked == ["chat", "base"]
    await can_chat(count_tokens, "chat", "b", Lookup(store))
    await can_chat(count_tokens, "chat", "a", Lookup(store, CacheMode.REFRESH))
    await can_chat(count_tokens, "other", "a", Lookup(store, CacheMode.OFF))
    assert asked[2:] == ["chat", "chat", "other"]
    assert len(store.entries) == 3
    with pytest.raises(CacheMissError):
        await can_chat(count_tokens, "other", "a", Lookup(store, CacheMode.REPLAY))

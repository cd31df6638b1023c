"""What is asked of a model in this process, with a fake in its place; the real one is in tests/live."""

import asyncio
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from backends.base import Exchange, Hooks
from backends.direct.wire import Output
from backends.errors import (
    BadRequestError,
    ContextOverflowError,
    ModelNotLoadedError,
    ServerError,
    UnknownModelError,
)
from backends.messages import Label, Request, Response, prompt_text
from backends.registry import NotInstalledError, open_backend, parse_model
from backends.transformers_local import TransformersLocal
from backends.weights import directory_digest
from flows.providers import connection_to, revision_in_keys
from flows.settings import Settings, SettingsError
from tests.fake_engine import say_yes
from tests.helpers import MODEL, chat, completion, completions, outcomes_of, sampling, scoring
from tests.model_files import write_model


class FakeModel:
    """Words are tokens; answers at once, or when it is let go."""

    max_model_len = 64

    def __init__(self) -> None:
        self.asked: list[list[Mapping[str, Any]]] = []
        self.failure: Exception | None = None
        self.is_held = False
        self.was_cancelled = False

    def token_ids(self, request: Request) -> list[int]:
        return [len(word) for word in prompt_text(request).split()]

    def spelling(self, text: str) -> list[int]:
        return [len(text)]

    def complete(
        self,
        prompts: Sequence[Sequence[int]],
        fields: Sequence[Mapping[str, object]],
        is_cancelled: Callable[[], bool],
    ) -> list[Output]:
        assert len(prompts) == len(fields)
        self.asked.append(list(fields))
        if self.failure:
            raise self.failure
        while self.is_held and not is_cancelled():
            pass
        self.was_cancelled = is_cancelled()
        return [say_yes(one) for one in fields]


@pytest.fixture
def model() -> FakeModel:
    return FakeModel()


def backend_of(model: FakeModel, **changes: Any) -> TransformersLocal:  # noqa: ANN401 - any field
    return TransformersLocal(load_model=lambda _: model, **changes)


@pytest.mark.skipif(importlib.util.find_spec("transformers") is not None, reason="transformers is here")
def test_without_the_library_it_says_what_to_type() -> None:
    with pytest.raises(NotInstalledError, match=r"pip install -r requirements/transformers\.txt"):
        open_backend("transformers", connection_to("transformers", Settings()))


def test_a_model_s_name_is_a_folder_or_a_hub_s_name() -> None:
    assert parse_model("transformers:/models/x").name == "/models/x"
    assert parse_model("transformers:vendor/x").name == "vendor/x"
    assert revision_in_keys("transformers", None, Settings()) is None
    with pytest.raises(SettingsError, match="is not set"):
        revision_in_keys("openai-compatible", None, Settings())


async def test_lists_are_answered_a_few_together_and_each_once(model: FakeModel) -> None:
    exchanges: list[Exchange] = []
    async with backend_of(model, hooks=Hooks(on_exchange=exchanges.append)) as backend:
        outcomes = await outcomes_of(backend, completions(20))
    assert [one.text for one in outcomes if isinstance(one, Response)] == ["yes"] * 20
    assert [len(listed) for listed in model.asked] == [8, 8, 4]
    assert [(one.prompts, one.usage.input_tokens) for one in exchanges] == [(8, 16), (8, 16), (4, 8)]


async def test_conversations_and_label_scores_are_read_as_a_server_s(model: FakeModel) -> None:
    labels = [Label(text="a", token_ids=(3,))]
    async with backend_of(model) as backend:
        talk, score = await outcomes_of(backend, [chat("hi", logprobs=1), scoring("x", labels)])
    assert isinstance(talk, Response)
    assert isinstance(score, Response)
    assert talk.token_logprobs[0].logprob == pytest.approx(-1.7)
    assert score.label_logprobs == {"a": pytest.approx(-1.3)}


async def test_what_it_cannot_do_is_refused_alone(model: FakeModel) -> None:
    requests = [
        completion("x", json_schema="{}"),
        completion("x", sampling=sampling(extra_body={"min_p": 0.1})),
        completion("x " * 64),
        completion("x", sampling=sampling(extra_body={"top_k": 4})),
    ]
    async with backend_of(model) as backend:
        schema, extra, long, fine = await outcomes_of(backend, requests)
    assert isinstance(schema, BadRequestError)
    assert "JSON schema" in str(schema)
    assert isinstance(extra, BadRequestError)
    assert "'min_p'" in str(extra)
    assert isinstance(long, ContextOverflowError)
    assert isinstance(fine, Response)
    assert [one["top_k"] for one in model.asked[0]] == [4]


async def test_one_model_is_loaded_and_another_refused(model: FakeModel) -> None:
    async with backend_of(model) as backend:
        mine, other = await outcomes_of(backend, [completion("x"), completion("x", model="other")])
        assert isinstance(mine, Response)
        assert isinstance(other, UnknownModelError)
        (again,) = await outcomes_of(backend, [completion("x", model="other")])
        assert isinstance(again, UnknownModelError)


async def test_a_model_that_cannot_be_loaded_is_an_outcome() -> None:
    def refuse(path: str) -> FakeModel:
        raise OSError(f"{path} holds no config")

    async with TransformersLocal(load_model=refuse) as backend:
        (outcome,) = await outcomes_of(backend, completions(1))
    assert isinstance(outcome, ModelNotLoadedError)
    assert "holds no config" in str(outcome)


async def test_a_failure_of_torch_is_the_outcome_of_that_list(model: FakeModel) -> None:
    model.failure = RuntimeError("out of memory")
    async with backend_of(model) as backend:
        outcomes = await outcomes_of(backend, completions(2))
    assert [type(one) for one in outcomes] == [ServerError] * 2


async def test_leaving_early_stops_the_model(model: FakeModel) -> None:
    model.is_held = True
    async with backend_of(model) as backend:
        waiting = asyncio.ensure_future(outcomes_of(backend, completions(1)))
        while not model.asked:  # noqa: ASYNC110 - in another thread
            await asyncio.sleep(0.001)
        waiting.cancel()
        await asyncio.wait([waiting])
    assert model.was_cancelled


async def test_its_weights_are_pinned_and_are_not_a_server_s(model: FakeModel, tmp_path: Path) -> None:
    write_model(tmp_path)
    backend = backend_of(model)
    assert await backend.weights(str(tmp_path)) == f"transformers+{directory_digest(tmp_path)}"
    canary = await backend.canary(MODEL)
    assert canary is not None
    assert canary[0][7] == pytest.approx(-1.7)
    assert await backend.find_labels(MODEL, ["Yes"]) == (Label(text="Yes", token_ids=(3, 4)),)


async def test_whoever_owns_it_looks_at_it_first(model: FakeModel) -> None:
    met: list[int] = []

    async def meet() -> None:
        met.append(len(model.asked))

    async with backend_of(model, hooks=Hooks(on_contact=meet)) as backend:
        await outcomes_of(backend, completions(9))
    assert met == [0]

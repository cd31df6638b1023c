"""Token counts are asked for once, and a replay has them."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from backends.messages import Message
from cache.disk_store import DiskStore
from cache.errors import CacheMissError
from cache.lookup import CacheMode, Lookup
from tasks.tokens.remembered import RememberedCounter

TALK = (Message(role="user", content="how are you"),)


class Server:
    def __init__(self) -> None:
        self.asked: list[str] = []

    async def count_text(self, text: str) -> int:
        self.asked.append(text)
        return len(text.split())

    async def count_messages(self, messages: Sequence[Message]) -> int:
        self.asked.append("messages")
        return 7 + len(messages)


@pytest.fixture
def store(tmp_path: Path) -> DiskStore:
    return DiskStore(tmp_path)


def counter(
    server: Server, store: DiskStore, mode: CacheMode = CacheMode.USE, model: str = "m"
) -> RememberedCounter:
    return RememberedCounter(server, Lookup(store, mode), model, "r")


async def test_a_count_is_asked_for_once(store: DiskStore) -> None:
    server = Server()
    for _ in range(2):
        own = counter(server, store)
        assert await own.count_text("one two") == 2
        assert await own.count_messages(TALK) == 8
    assert server.asked == ["one two", "messages"]


async def test_texts_conversations_and_models_are_told_apart(store: DiskStore) -> None:
    server = Server()
    assert await counter(server, store).count_text("a") == 1
    assert await counter(server, store).count_text("a b") == 2
    assert await counter(server, store, model="other").count_text("a") == 1
    assert await counter(server, store).count_messages((*TALK, *TALK)) == 9
    assert len(server.asked) == 4


async def test_a_replay_asks_nobody(store: DiskStore) -> None:
    server = Server()
    await counter(server, store).count_text("known")
    replay = counter(server, store, CacheMode.REPLAY)
    assert await replay.count_text("known") == 1
    with pytest.raises(CacheMissError):
        await replay.count_text("unknown")
    assert server.asked == ["known"]


async def test_a_run_that_keeps_nothing_asks_each_time(store: DiskStore) -> None:
    server = Server()
    for _ in range(2):
        await counter(server, store, CacheMode.OFF).count_text("a")
    assert server.asked == ["a", "a"]

"""Token counts that a server was asked for, kept so that they are asked for once and a replay has them."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict

import anyio.to_thread

from backends.messages import Message
from cache.errors import CorruptEntryError
from cache.keys import Key, make_key
from cache.lookup import Lookup
from tasks.codec import decode_note, encode_note
from tasks.tokens.counting import TokenCounter

NOTE = "tokens"


class RememberedCounter:
    """Counts as another does, and asks that one only for what is not stored; a `TokenCounter`.

    Args:
        counter: Counts.
        lookup: Keeps the counts.
        model: Whose tokens they are.
        revision: Which weights, and so which tokenizer.
    """

    def __init__(self, counter: TokenCounter, lookup: Lookup, model: str, revision: str) -> None:
        self._counter = counter
        self._lookup = lookup
        self._whose = [model, revision]

    async def count_text(self, text: str) -> int:
        """Count the tokens of a text by itself.

        Raises:
            BackendError: They cannot be counted.
            CacheMissError: A replay, and they were not counted before.
        """
        key = make_key(NOTE, 1, [*self._whose, "text", _digest(text)])
        known = await self._known(key)
        return await self._keep(key, await self._counter.count_text(text)) if known is None else known

    async def count_messages(self, messages: Sequence[Message]) -> int:
        """Count the tokens of a conversation, chat template included.

        Raises:
            BackendError: They cannot be counted.
            CacheMissError: A replay, and they were not counted before.
        """
        written = json.dumps([asdict(message) for message in messages])
        key = make_key(NOTE, 1, [*self._whose, "messages", _digest(written)])
        known = await self._known(key)
        return await self._keep(key, await self._counter.count_messages(messages)) if known is None else known

    async def _known(self, key: Key) -> int | None:
        found: Mapping[Key, int] = await anyio.to_thread.run_sync(self._lookup.find, [key], _count_in)
        return found.get(key)

    async def _keep(self, key: Key, count: int) -> int:
        await anyio.to_thread.run_sync(self._lookup.keep, {key: encode_note(NOTE, count)}, _count_in)
        return count


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def _count_in(entry: bytes) -> int:
    count = decode_note(entry, NOTE)
    if not isinstance(count, int):
        raise CorruptEntryError("a count of tokens is no number")
    return count

"""How fast a model answered the last time, for estimates."""

from backends.messages import Usage
from cache.errors import CacheError
from cache.keys import Key, make_key
from cache.store import Store
from tasks.codec import decode_note, encode_note
from tasks.tally import Tally

MIN_PROMPTS = 20
"""A run that sent fewer says nothing of speed."""


def remember_speed(store: Store, model: str, revision: str, tally: Tally) -> None:
    """Keep the tokens a second of a run, if it sent enough.

    Raises:
        StoreUnavailableError: The store cannot be written.
    """
    tokens = tally.usage.input_tokens + tally.usage.output_tokens
    if tally.sent >= MIN_PROMPTS and tally.waited_seconds > 0:
        store.put({_key(model, revision): encode_note("speed", tokens / tally.waited_seconds)})


def expected_seconds(store: Store, model: str, revision: str, usage: Usage) -> float | None:
    """Return how long a model would take for these tokens; None where it has not been asked before."""
    try:
        entry = store.get([_key(model, revision)]).entries.get(_key(model, revision))
        speed = None if entry is None else decode_note(entry, "speed")
    except CacheError:
        return None
    if not isinstance(speed, float) or speed <= 0:
        return None
    return (usage.input_tokens + usage.output_tokens) / speed


def _key(model: str, revision: str) -> Key:
    return make_key("speed", 1, [model, revision])

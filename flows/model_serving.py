"""What a server says of a model that prompts depend on, remembered for when the server is not there."""

from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any, cast

import anyio
import anyio.to_thread

from backends.errors import BackendError
from cache.errors import CorruptEntryError
from cache.keys import make_key
from cache.lookup import CacheMode
from flows.run import Run
from tasks.codec import decode_note, encode_note

NOTE = "serving"
PATIENCE_SECONDS = 10.0
"""For a server that may not be there, whose answer is known from before."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Serving:
    """Where a model's files are, and how long its context is."""

    root: str
    """A folder on the server's machine, or a name on the Hugging Face hub."""
    max_model_len: int | None


async def serving_of(run: Run) -> Serving | None:
    """Ask the server, or else remember what it said; None of an API, and of a server that was never asked.

    Raises:
        BackendError: The server is not there, and was not asked before.
    """
    if run.server is None:
        return None
    key = make_key(NOTE, 1, [run.model, run.revision])
    remembered = run.generator.lookup.mode is not CacheMode.OFF
    stored = await anyio.to_thread.run_sync(run.store.get, [key]) if remembered else None
    known = _read(stored.entries[key]) if stored and key in stored.entries else None
    if run.generator.lookup.mode is CacheMode.REPLAY:
        return known
    if known is None:
        said = await _asked(run)
    else:
        said = known
        with suppress(BackendError, TimeoutError), anyio.fail_after(PATIENCE_SECONDS):
            said = await _asked(run)
        if said is not None and said.max_model_len is None:  # an engine that is not there yet
            said = replace(said, max_model_len=known.max_model_len)
    if remembered and said is not None and said != known:
        await anyio.to_thread.run_sync(run.store.put, {key: encode_note(NOTE, asdict(said))})
    return said


def _read(entry: bytes) -> Serving | None:
    with suppress(CorruptEntryError, TypeError):  # whoever wrote an imported file may have written anything
        return Serving(**cast("dict[str, Any]", decode_note(entry, NOTE)))
    return None


async def _asked(run: Run) -> Serving | None:
    if run.server is None:
        return None
    found = await run.server.capabilities()
    if run.model not in found.roots:
        return None
    return Serving(root=found.roots[run.model], max_model_len=found.max_model_lens.get(run.model))

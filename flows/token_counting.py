"""Who counts a model's tokens: its own tokenizer where its files are, else its server, else a guess."""

from contextlib import suppress
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
from prefect.logging import get_run_logger

from backends.addresses import is_loopback
from backends.errors import BackendError, BadRequestError
from backends.messages import Message, Request, SamplingParams
from cache.errors import CacheMissError
from cache.lookup import CacheMode
from flows.model_serving import PATIENCE_SECONDS, Serving
from flows.run import Run
from tasks.tokens.chat_template import TokenizerError
from tasks.tokens.counting import RoughCounter, ServerCounter, TokenCounter, local_counter
from tasks.tokens.remembered import RememberedCounter

PROBE = "How many tokens has this?"
"""What a server is asked to count, to see whether it can, and whether it counts as the files do."""


async def token_counter(run: Run, serving: Serving | None) -> TokenCounter:
    """Return who counts tokens: the model's own tokenizer where its files are, else the server."""
    if serving is not None and _is_here(serving.root, run):
        try:
            local = await anyio.to_thread.run_sync(partial(local_counter, serving.root))
            await _require_the_same(local, run)
        except TokenizerError as error:
            get_run_logger().info("tokens are counted by the server: %s", error)
        else:
            return local
    why = "nothing here can count them"
    if run.server is not None:
        counter = ServerCounter(run.server, run.model)
        server = RememberedCounter(counter, run.generator.lookup, run.model, run.revision)
        try:
            await server.count_text(PROBE)
        except (BadRequestError, CacheMissError) as error:  # one that has no /tokenize says 404
            why = str(error)
        else:
            return server
    get_run_logger().warning("tokens of %s are guessed from bytes: %s", run.model, why)
    return RoughCounter()


async def _require_the_same(local: TokenCounter, run: Run) -> None:
    """Make sure, where the server can be asked, that it has the tokenizer and the chat template of the files.

    Raises:
        TokenizerError: It has not, or there is no template.
    """
    probe = (Message(role="user", content=PROBE),)
    ours = await local.count_messages(probe)
    if run.server is None or run.generator.lookup.mode is CacheMode.REPLAY:
        return
    request = Request(model=run.model, messages=probe, sampling=SamplingParams(max_tokens=1))
    with suppress(BackendError, TimeoutError), anyio.fail_after(PATIENCE_SECONDS):
        theirs = await run.server.count_tokens(request)
        if theirs != ours:
            raise TokenizerError(f"it has another chat template than its files ({theirs} tokens, not {ours})")


def _is_here(root: str, run: Run) -> bool:
    """Whether a model's files may be looked for on this machine: another one's paths say nothing here."""
    return not Path(root).is_absolute() or all(map(is_loopback, run.settings.base_urls))

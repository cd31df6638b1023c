"""Tells the owner of a backend how each HTTP request went."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from backends.base import CANCELLED, Exchange, Hooks
from backends.errors import BackendError
from backends.messages import Usage


@dataclass(kw_only=True)
class Told:
    """What the server said of an exchange that went well."""

    usage: Usage = field(default_factory=Usage)


@asynccontextmanager
async def exchange(hooks: Hooks, server: str, path: str, prompts: int) -> AsyncGenerator[Told]:
    """Tell `hooks.on_exchange` of the HTTP request that is made inside; its usage is to be written down."""
    started = time.monotonic()
    told = Told()
    outcome, status = "ok", None
    try:
        yield told
    except BackendError as error:
        outcome, status = type(error).__name__, error.status_code
        raise
    except asyncio.CancelledError:
        outcome = CANCELLED
        raise
    finally:
        hooks.on_exchange(
            Exchange(
                server=server,
                path=path,
                prompts=prompts,
                seconds=time.monotonic() - started,
                outcome=outcome,
                status_code=status,
                usage=told.usage,
            )
        )

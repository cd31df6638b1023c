"""The baseline "zero-shot chat": a model that was trained for conversations is asked about each test claim.

Labels are no next token of a conversation, so that its answer is read as text; there is no score. A model
that thinks before it answers comes to no answer in so few tokens, and counts as unreadable.
"""

import re
from collections.abc import Sequence

from backends.errors import BadRequestError
from backends.messages import Message, Request, SamplingParams
from cache.keys import make_key
from cache.lookup import Lookup
from tasks.ask import Ask
from tasks.codec import decode_note, encode_note
from tasks.icm.claims import LABEL_TEXTS, Claim
from tasks.icm.evaluation import TestScore
from tasks.icm.prompts import claim_prompt
from tasks.icm.room import CountTokens

METHOD = "zero-shot chat"

INSTRUCTION = "Complete the text above with one word, True or False, and write nothing else."
"""Ours. It suits every testbed, since what a claim's prompt lacks is always its label."""

MAX_TOKENS = 8
"""Enough for the word and for what models put around it: blanks, quotes, asterisks."""

NOTE = "chat-template"

_WORD = re.compile(r"[^\W_]+")


async def can_chat(count_tokens: CountTokens, model: str, revision: str, lookup: Lookup) -> bool:
    """Say whether a model can be asked in conversations; asked of its server once and then stored.

    Args:
        count_tokens: The server's, as `VLLMServer.count_tokens`.
        model: Its name there.
        revision: Its weights.
        lookup: Remembers the answer.

    Raises:
        BackendError: Not stored, and the server cannot be asked.
        CacheError: The store cannot be used, or a replay found nothing.
    """
    key = make_key("chat-template", 1, [model, revision])
    stored = lookup.find([key], _read_note)
    if key in stored:
        return stored[key]
    found = await has_chat_template(count_tokens, model)
    return lookup.keep({key: encode_note(NOTE, found)}, _read_note).get(key, found)


def _read_note(entry: bytes) -> bool:
    return decode_note(entry, NOTE) is True


async def has_chat_template(count_tokens: CountTokens, model: str) -> bool:
    """Say whether a model can be asked in conversations; computes nothing.

    Args:
        count_tokens: The server's, as `VLLMServer.count_tokens`.
        model: Its name there.

    Raises:
        BackendError: The server cannot be asked, or does not serve the model.
    """
    greeting = Message(role="user", content="True or False?")
    try:
        await count_tokens(
            Request(model=model, messages=(greeting,), sampling=SamplingParams(max_tokens=MAX_TOKENS))
        )
    except BadRequestError as error:
        if "chat template" in str(error):  # what vLLM 0.32 refuses is told apart by its words alone
            return False
        raise
    return True


def chat_request(claim: Claim, *, model: str, revision: str | None = None) -> Request:
    """Ask a model, as a user would, for the label of one claim."""
    question = f"{claim_prompt(claim).rstrip()}\n\n{INSTRUCTION}"
    return Request(
        model=model,
        revision=revision,
        messages=(Message(role="user", content=question),),
        sampling=SamplingParams(max_tokens=MAX_TOKENS),
    )


def read_label(text: str) -> int | None:
    """Return the label that an answer names, in whatever case; None if it names neither or both.

    A word counts alone, so that "Untrue" and "TrueFalse" name no label.
    """
    words = {word.lower() for word in _WORD.findall(text)}
    named = [label for label, name in enumerate(LABEL_TEXTS) if name.lower() in words]
    return named[0] if len(named) == 1 else None


async def score_chat(
    test: Sequence[Claim], ask: Ask, *, model: str, revision: str | None = None
) -> TestScore:
    """Ask about every test claim in a conversation of its own; an answer that is no label counts as wrong.

    Raises:
        ExceptionGroup: Of the BackendErrors of requests without an answer.
    """
    requests = [chat_request(claim, model=model, revision=revision) for claim in test]
    responses = await ask(requests, purpose=f"test {METHOD}")
    read = [read_label(response.text) for response in responses]
    return TestScore.of(METHOD, read, test, demonstrations=0, label_mass=None)

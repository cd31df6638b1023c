"""Finds the tokens that say a label: every single token whose text, stripped and lower-cased, is it."""

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from tokenizers import Tokenizer

from backends.errors import BadRequestError
from backends.messages import Label

MAX_TOKEN_IDS = 128
"""vLLM's limit on `logprob_token_ids` (0.32, `MAX_LOGPROB_TOKEN_IDS`)."""

Tokenize = Callable[[str], Awaitable[Sequence[int]]]


def labels_from_tokenizer(model_directory: Path, texts: Sequence[str]) -> tuple[Label, ...]:
    """Look through the whole vocabulary in a model directory's `tokenizer.json`.

    Raises:
        BadRequestError: A label is no single token of this model, or there are too many such tokens.
    """
    tokenizer = Tokenizer.from_file(str(model_directory / "tokenizer.json"))
    wanted: dict[str, list[int]] = {text.lower(): [] for text in texts}
    for token_id in range(tokenizer.get_vocab_size(with_added_tokens=False)):
        written = tokenizer.decode([token_id]).strip().lower()
        if written in wanted:
            wanted[written].append(token_id)
    return _checked(texts, wanted)


async def labels_from_spellings(tokenize: Tokenize, texts: Sequence[str]) -> tuple[Label, ...]:
    """Ask a server how it cuts the usual spellings: four cases, each with a leading space and without.

    Raises:
        BadRequestError: No spelling of a label is a single token, or there are too many such tokens.
    """
    wanted: dict[str, list[int]] = {}
    for text in texts:
        cases = dict.fromkeys([text, text.lower(), text.upper(), text.title()])
        tokens = [await tokenize(space + case) for case in cases for space in ("", " ")]
        wanted[text.lower()] = sorted({ids[0] for ids in tokens if len(ids) == 1})
    return _checked(texts, wanted)


def _checked(texts: Sequence[str], wanted: dict[str, list[int]]) -> tuple[Label, ...]:
    for text in texts:
        if not wanted[text.lower()]:
            raise BadRequestError(f"label {text!r} is no single token of this model; choose another label")
    total = sum(len(token_ids) for token_ids in wanted.values())
    if total > MAX_TOKEN_IDS:
        raise BadRequestError(f"the labels have {total} tokens, and a server scores {MAX_TOKEN_IDS} at most")
    return tuple(Label(text=text, token_ids=tuple(wanted[text.lower()])) for text in texts)

"""Finds the tokens that say a label: every single token whose text, stripped and lower-cased, is it.

Libraries are imported where they are used: what was found is stored, so few runs look again.
"""

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from backends.errors import BadRequestError
from backends.messages import Label

MAX_TOKEN_IDS = 128
"""vLLM's limit on `logprob_token_ids` (0.32, `MAX_LOGPROB_TOKEN_IDS`)."""

Tokenize = Callable[[str], Awaitable[Sequence[int]]]


def tokenizer_file(root: str) -> Path | None:
    """Find a model's `tokenizer.json` on this machine; downloads nothing.

    Args:
        root: What a server calls the origin of its weights: a folder, or a name on the Hugging Face hub.
    """
    from huggingface_hub import try_to_load_from_cache  # noqa: PLC0415 - see above
    from huggingface_hub.errors import HFValidationError  # noqa: PLC0415

    if (in_folder := Path(root, "tokenizer.json")).is_file():
        return in_folder
    try:
        cached = try_to_load_from_cache(root, "tokenizer.json")
    except HFValidationError:  # no name that the hub could have
        return None
    return Path(cached) if isinstance(cached, str) else None


def labels_from_tokenizer(file: Path, texts: Sequence[str]) -> tuple[Label, ...]:
    """Look through the whole vocabulary of a `tokenizer.json`.

    Raises:
        BadRequestError: A label is no single token of this model, or there are too many such tokens.
    """
    from tokenizers import Tokenizer  # noqa: PLC0415 - see above

    tokenizer = Tokenizer.from_file(str(file))
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

"""Counts tokens exactly: with the model's own tokenizer on this machine, or by asking its server."""

import importlib
from array import array
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol, cast

import anyio.to_thread
from tokenizers import Tokenizer

from backends.messages import Message, Request, SamplingParams
from tasks.tokens.chat_template import (
    CONFIG_FILE,
    TEMPLATE_FILE,
    ChatTemplate,
    TokenizerError,
    read_chat_template,
)

TOKENIZER_FILE = "tokenizer.json"
PIECE_CHARACTERS = 100_000
"""What is put to the tokenizer at once: of every token it holds some hundred bytes."""


BYTES_A_TOKEN = 3
"""A guess: English has four and more, other scripts have fewer."""
TURN_TOKENS = 16
"""A guess at what a chat template puts around a turn; more than any needs."""


class TokenCounter(Protocol):
    """Whoever can count a model's tokens."""

    async def count_text(self, text: str) -> int:
        """Count the tokens of a text by itself, without any that are put around a prompt."""
        ...

    async def count_messages(self, messages: Sequence[Message]) -> int:
        """Count the tokens of a conversation in the model's chat template, up to where the answer begins."""
        ...


class LocalCounter:
    """Counts with a tokenizer on this machine.

    Args:
        tokenizer: Of the model.
        template: Its chat template; None for a model without.
    """

    def __init__(self, tokenizer: Tokenizer, template: ChatTemplate | None = None) -> None:
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self._template = template

    async def count_text(self, text: str) -> int:
        """Count the tokens of a text by itself."""
        return await anyio.to_thread.run_sync(self._count, text)

    async def count_messages(self, messages: Sequence[Message]) -> int:
        """Count the tokens of a conversation, chat template included.

        Raises:
            TokenizerError: The model has no chat template, or it refuses the conversation.
        """
        if self._template is None:
            raise TokenizerError("the model has no chat template; serve one that has, or give a prompt")
        return await self.count_text(self._template.render(messages))

    async def token_starts(self, text: str) -> Sequence[int]:
        """Return the character where each token of a text begins, in order; several tokens may share one.

        A long text is cut before a blank every 100,000 characters, where a tokenizer cuts too; what such a
        cut can add is a token.
        """
        return await anyio.to_thread.run_sync(self._starts, text)

    def _count(self, text: str) -> int:
        return len(self._tokenizer.encode(text, add_special_tokens=False))

    def _starts(self, text: str) -> Sequence[int]:
        starts = array("I")
        for begin, end in pieces(text, PIECE_CHARACTERS):
            encoding = self._tokenizer.encode(text[begin:end], add_special_tokens=False)
            starts.extend(begin + start for start, _ in encoding.offsets)
        return starts


class TokenizeServer(Protocol):
    """A server that counts tokens; `VLLMServer` does."""

    async def count_text(self, model: str, text: str) -> int:
        """Count the tokens of a text by itself."""
        ...

    async def count_tokens(self, request: Request) -> int:
        """Count the tokens of a conversation in the model's chat template."""
        ...


class ServerCounter:
    """Counts by asking the server, one request a text; exact, since it is the tokenizer that will be used.

    Args:
        server: Who is asked.
        model: The served name.
    """

    def __init__(self, server: TokenizeServer, model: str) -> None:
        self._server = server
        self._model = model

    async def count_text(self, text: str) -> int:
        """Count the tokens of a text by itself.

        Raises:
            BackendError: The server cannot be asked.
        """
        return await self._server.count_text(self._model, text) if text else 0

    async def count_messages(self, messages: Sequence[Message]) -> int:
        """Count the tokens of a conversation, chat template included.

        Raises:
            BackendError: The server cannot be asked, or the model has no chat template.
        """
        sampling = SamplingParams(max_tokens=1)
        request = Request(model=self._model, sampling=sampling, messages=tuple(messages))
        return await self._server.count_tokens(request)


def local_counter(root: str, revision: str | None = None) -> LocalCounter:
    """Read a model's tokenizer and chat template; fetches these files, and no weights, where it has to.

    Args:
        root: A folder of this machine, or a name on the Hugging Face hub, whose local cache is looked into
            first.
        revision: Of the hub: a branch, tag or commit.

    Raises:
        TokenizerError: There is no such model, it has no `tokenizer.json`, or a file is broken.
    """
    find = partial(_in_folder, Path(root)) if Path(root).is_dir() else partial(_from_hub, root, revision)
    file = find(TOKENIZER_FILE)
    if file is None:
        raise TokenizerError(f"{root} has no {TOKENIZER_FILE}; count with the server instead, or convert it")
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises nothing narrower
        raise TokenizerError(f"{file} cannot be read as a tokenizer: {error}") from error
    return LocalCounter(tokenizer, read_chat_template(find(CONFIG_FILE), find(TEMPLATE_FILE)))


def _in_folder(folder: Path, name: str) -> Path | None:
    return folder / name if (folder / name).is_file() else None


def _from_hub(repository: str, revision: str | None, name: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache  # noqa: PLC0415 - slow, seldom needed
    from huggingface_hub.errors import (  # noqa: PLC0415
        EntryNotFoundError,
        HFValidationError,
        LocalEntryNotFoundError,
    )

    try:
        cached = try_to_load_from_cache(repository, name, revision=revision)
        if isinstance(cached, str):
            return Path(cached)
        if cached is not None:  # the hub was asked before, and it has no such file
            return None
        return Path(_fetch(repository, name, revision))
    except HFValidationError:
        raise TokenizerError(
            f"{repository!r} is neither a folder here nor a name of the Hugging Face hub; give one of them"
        ) from None
    except LocalEntryNotFoundError as error:  # an EntryNotFoundError too: the hub could not be asked
        if name != TOKENIZER_FILE and _is_cached(repository, revision):
            return None
        raise TokenizerError(
            f"the tokenizer of {repository!r} is not on this machine, and the hub cannot be reached; give a "
            "folder, or count with the server"
        ) from error
    except EntryNotFoundError:
        return None
    except OSError as error:  # RepositoryNotFoundError, GatedRepoError, RevisionNotFoundError, and no disk
        said = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise TokenizerError(f"the tokenizer of {repository!r} cannot be fetched: {said}") from error


def _fetch(repository: str, name: str, revision: str | None) -> str:
    hub = importlib.import_module("huggingface_hub")  # the types of its function are partly unknown
    return cast("str", hub.hf_hub_download(repository, name, revision=revision))


def _is_cached(repository: str, revision: str | None) -> bool:
    from huggingface_hub import try_to_load_from_cache  # noqa: PLC0415

    return isinstance(try_to_load_from_cache(repository, TOKENIZER_FILE, revision=revision), str)


def pieces(text: str, size: int) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of pieces of at most a size, cut before a blank where there is one."""
    begin = 0
    while begin < len(text):
        end = min(begin + size, len(text))
        if end < len(text):
            blank = max(text.rfind(blank, begin + 1, end) for blank in (" ", "\n"))
            end = blank if blank > begin else end
        yield begin, end
        begin = end


class RoughCounter:
    """Guesses from bytes, where nothing can count: an API without a tokenizer at hand; rather too many."""

    async def count_text(self, text: str) -> int:
        """Guess the tokens of a text by itself."""
        return -(-len(text.encode(errors="replace")) // BYTES_A_TOKEN)

    async def count_messages(self, messages: Sequence[Message]) -> int:
        """Guess the tokens of a conversation."""
        return sum([TURN_TOKENS + await self.count_text(one.content) for one in messages])

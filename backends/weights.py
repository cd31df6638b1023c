"""Which weights a served name stands for, as far as names and files on this machine can say."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol, cast

SAMPLE_BYTES = 2048
"""Read at the start, in the middle and at the end of each tensor: a header alone holds only shapes."""

NUM_BLOCKS = 256
"""Places of SAMPLE_BYTES in a weight file whose tensors we cannot find (bin, pt, gguf)."""

MAX_HEADER_BYTES = 100_000_000
"""The limit of the safetensors format; what claims a longer header is no such file."""

WEIGHT_PATTERNS = ("*.safetensors", "*.bin", "*.pt", "*.pth", "*.gguf")
TEXT_PATTERNS = (
    "config.json",
    "params.json",
    "adapter_config.json",
    "*quant*config.json",
    "*processor_config.json",
    "tokenizer*",
    "tekken.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab*",
    "merges.txt",
    "*.model",
    "*.tiktoken",
    "chat_template*",
    "*.py",
)
"""Files that change an answer, in whole. Others (README, training state, an index of shards) do not."""

GENERATION_FIELDS = (
    "eos_token_id",
    "top_k",
    "min_p",
    "repetition_penalty",
    "presence_penalty",
    "frequency_penalty",
)
"""What vLLM takes from `generation_config.json` and no request of ours replaces; the rest of it is sent."""

_SNAPSHOT = re.compile(r"/models--([^/]+)/snapshots/([0-9a-f]{40})/?$")


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelCard:
    """What `/v1/models` says of one served name."""

    name: str
    root: str
    """Where the weights came from: a path on the server's machine, or a name on the Hugging Face hub."""
    parent: str | None = None
    """Of a LoRA adapter: the model that it changes."""


def read_cards(listed: object) -> dict[str, ModelCard]:
    """Read the reply of `/v1/models`; what has no name or origin is left out."""
    data = _fields(listed).get("data")
    cards: dict[str, ModelCard] = {}
    for card in map(_fields, cast("list[object]", data) if isinstance(data, list) else ()):
        name, root, parent = card.get("id"), card.get("root"), card.get("parent")
        if isinstance(name, str) and isinstance(root, str):
            cards[name] = ModelCard(name=name, root=root, parent=parent if isinstance(parent, str) else None)
    return cards


def pinned_weights(model: str, cards: Mapping[str, ModelCard], *, on_this_machine: bool) -> str | None:
    """Say what pins the weights behind a served name; None where only the name is known.

    Args:
        model: The served name.
        cards: What the server says of its models.
        on_this_machine: Whether the server's paths are ours; see `addresses.is_loopback`.

    Returns:
        `hub:<repository>@<commit>`, `dir:<digest>` or `file:<digest>`; for a LoRA adapter
        `lora:<of the adapter>+<of its base>`.
    """
    card = cards.get(model)
    if card is None:
        return None
    own = _pinned_root(card.root, on_this_machine=on_this_machine)
    if card.parent is None or own is None:
        return own
    # A server may be told any name for an adapter's base; it has only one base.
    base = cards.get(card.parent) or next((one for one in cards.values() if one.parent is None), None)
    below = _pinned_root(base.root, on_this_machine=on_this_machine) if base else None
    return f"lora:{own}+{below}" if below else None


class _Digest(Protocol):
    def update(self, data: bytes, /) -> None: ...


def directory_digest(folder: Path) -> str:
    """Digest what determines a model's answers: config, tokenizer, and samples of every tensor.

    Reads a few kilobytes of each tensor, so that 405B parameters cost thousands of small reads and no whole
    file. Neither the folder's path nor times of files are in it, so a copy has the same digest.

    Returns:
        `dir:` and 32 hex digits.

    Raises:
        FileNotFoundError: There are no weights in the folder.
        OSError: Something in it cannot be read.
    """
    digest = hashlib.blake2b(digest_size=16)
    weights = _files(folder, WEIGHT_PATTERNS)
    if not weights:
        raise FileNotFoundError(f"{folder} holds no weights")
    for path in weights:
        _add_weights(digest, path)
    for path in _files(folder, TEXT_PATTERNS):
        _add(digest, path.name.encode(), path.read_bytes())
    _add(digest, b"generation", _generation_fields(folder / "generation_config.json"))
    return f"dir:{digest.hexdigest()}"


def file_digest(path: Path) -> str:
    """Digest a model that is one file, as a GGUF is; see `directory_digest`.

    Raises:
        OSError: It cannot be read.
    """
    digest = hashlib.blake2b(digest_size=16)
    _add_weights(digest, path)
    return f"file:{digest.hexdigest()}"


# --- roots ----------------------------------------------------------------------------------------------


def _pinned_root(root: str, *, on_this_machine: bool) -> str | None:
    if in_cache := _SNAPSHOT.search(root):  # the path alone says it, on whatever machine
        return _hub(in_cache)
    if not on_this_machine:
        return None
    path = Path(root)
    if not path.is_absolute():  # the server's working directory is not ours, so this can only be a name
        return _hub_commit(root)
    try:
        if path.is_dir():
            return directory_digest(path)
        return file_digest(path) if path.is_file() else None
    except OSError:
        return None


def _hub_commit(name: str) -> str | None:
    """Find which commit of a repository the local cache calls `main`; downloads nothing."""
    from huggingface_hub import try_to_load_from_cache  # noqa: PLC0415 - slow, and seldom needed
    from huggingface_hub.errors import HFValidationError  # noqa: PLC0415

    for file in ("config.json", "adapter_config.json"):
        try:
            cached = try_to_load_from_cache(name, file)
        except HFValidationError:  # no name that the hub could have
            return None
        if isinstance(cached, str) and (found := _SNAPSHOT.search(str(Path(cached).parent))):
            return _hub(found)
    return None


def _hub(found: re.Match[str]) -> str:
    return f"hub:{found[1].replace('--', '/')}@{found[2]}"


# --- files ----------------------------------------------------------------------------------------------


def _files(folder: Path, patterns: tuple[str, ...]) -> list[Path]:
    names = {path.name for pattern in patterns for path in folder.glob(pattern) if path.is_file()}
    return [folder / name for name in sorted(names)]


def _add(digest: _Digest, *parts: bytes) -> None:
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)


def _add_weights(digest: _Digest, path: Path) -> None:
    size = path.stat().st_size
    _add(digest, path.name.encode(), size.to_bytes(8, "little"))
    with path.open("rb", buffering=0) as file:
        header = _header(file, size) if path.suffix == ".safetensors" else b""
        _add(digest, header)
        for start, end in list(_tensors(header, size)) or _blocks(size):
            for place in sorted({start, (start + end - SAMPLE_BYTES) // 2, end - SAMPLE_BYTES}):
                begin = max(place, start)
                file.seek(begin)
                _add(digest, file.read(min(SAMPLE_BYTES, end - begin)))


def _header(file: BinaryIO, size: int) -> bytes:
    """Return the header of a safetensors file; nothing where it is none."""
    length = int.from_bytes(file.read(8), "little")
    return file.read(length) if length <= min(size, MAX_HEADER_BYTES) else b""


def _tensors(header: bytes, size: int) -> Iterator[tuple[int, int]]:
    """Yield (first byte, byte after the last) of each tensor, in the order of the file."""
    first = 8 + len(header)
    yield from sorted(
        (first + start, min(first + end, size)) for start, end in _offsets(header) if 0 <= start < end
    )


def _offsets(header: bytes) -> Iterator[tuple[int, int]]:
    try:
        read: object = json.loads(header)
    except ValueError:
        return
    for tensor in _fields(read).values():
        match _fields(tensor).get("data_offsets"):
            case [int(start), int(end)]:
                yield start, end
            case _:
                pass


def _blocks(size: int) -> Iterator[tuple[int, int]]:
    step = max(size // NUM_BLOCKS, SAMPLE_BYTES)
    for start in range(0, size, step):
        yield start, min(start + SAMPLE_BYTES, size)


def _generation_fields(path: Path) -> bytes:
    """Return the fields of a model's sampling defaults that change our answers."""
    try:
        read: object = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return b""
    fields = _fields(read)
    kept = {name: fields[name] for name in GENERATION_FIELDS if fields.get(name) is not None}
    return json.dumps(kept, sort_keys=True).encode()


def _fields(value: object) -> Mapping[str, object]:
    """Return a JSON object as it is, and nothing in place of any other value."""
    return cast("Mapping[str, object]", value) if isinstance(value, Mapping) else {}

"""Counters for tests: one whose tokens are words, and a small real tokenizer."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from backends.messages import Message

SPOKEN = (
    "The plaintiff, Acme Inc., sued under 42 U.S.C. § 1983. In Brown v. Board of Educ., 347 U.S. 483 (1954), "
    "the Court held that separate facilities are not equal. Das Gericht hat über die Höhe entschieden. "
)
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|{{ message['role'] }}|>\n{{ message['content'] }}"
    "{{ eos_token }}\n{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)


class FarWords:
    """Counts words as a server does: it can be asked for a number and nothing else."""

    def __init__(self) -> None:
        self.texts = list[str]()

    async def count_text(self, text: str) -> int:
        self.texts.append(text)
        return len(text.split())

    async def count_messages(self, messages: Sequence[Message]) -> int:
        return sum([await self.count_text(one.content) for one in messages])


class Words(FarWords):
    """Can also say where they begin."""

    async def token_starts(self, text: str) -> Sequence[int]:
        return [match.start() for match in re.finditer(r"\S+", text)]


def small_tokenizer() -> Tokenizer:
    """Train a byte-level tokenizer on a few sentences: words that they hold are a token, others are many."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([SPOKEN] * 5, trainer)
    return tokenizer


def write_tokenizer(folder: Path, *, template: str | None = TEMPLATE) -> Path:
    """Write the files that come with a model beside its weights."""
    folder.mkdir(parents=True, exist_ok=True)
    small_tokenizer().save(str(folder / "tokenizer.json"))
    config: dict[str, object] = {"bos_token": "<s>", "eos_token": {"content": "</s>", "lstrip": False}}
    if template is not None:
        config["chat_template"] = template
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder

"""Renders a conversation as a model reads it, from the template that comes with the model."""

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from jinja2 import Template, TemplateError, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from backends.messages import Message

TEMPLATE_FILE = "chat_template.jinja"
CONFIG_FILE = "tokenizer_config.json"
SPECIAL_TOKENS = (
    "bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token",
)  # fmt: skip


class TokenizerError(ValueError):
    """A tokenizer or chat template is not there, or cannot be used; the message is one sentence."""


def _refuse(message: str) -> None:
    raise TemplateError(message)


def _now(form: str) -> str:
    return dt.datetime.now().astimezone().strftime(form)


HELPERS = {"raise_exception": _refuse, "strftime_now": _now}
"""What templates call beside Jinja's own."""


class _Generation(Extension):
    """{% generation %} marks what a model said, for training; here it changes nothing."""

    tags = {"generation"}  # noqa: RUF012 - as the class that it overrides has it

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


@dataclass(frozen=True, slots=True)
class ChatTemplate:
    """A template in Jinja, run where it can reach nothing but the conversation.

    Args:
        source: Its text.
        special_tokens: {"bos_token": "<s>", ...}, as the tokenizer's configuration names them.
    """

    source: str
    special_tokens: Mapping[str, str] = field(default_factory=dict[str, str])
    _compiled: list[Template] = field(default_factory=list[Template], compare=False, repr=False)

    def render(self, messages: Sequence[Message]) -> str:
        """Return the prompt of a conversation, up to where the answer begins.

        Raises:
            TokenizerError: The template is broken, or refuses the conversation, as one with a system message.
        """
        conversation = [{"role": one.role, "content": one.content} for one in messages]
        try:
            if not self._compiled:
                self._compiled.append(_environment().from_string(self.source, HELPERS))
            return self._compiled[0].render(
                messages=conversation, tools=None, documents=None, add_generation_prompt=True,
                **self.special_tokens,
            )  # fmt: skip
        except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, RecursionError) as error:
            raise TokenizerError(f"the model's chat template refuses the conversation: {error}") from error


def read_chat_template(config: Path | None, template: Path | None) -> ChatTemplate | None:
    """Read a model's chat template; None where it has none, as a base model.

    Args:
        config: Its `tokenizer_config.json`.
        template: Its `chat_template.jinja`, which goes before one in the configuration.

    Raises:
        TokenizerError: A file cannot be read.
    """
    try:
        fields = _object(json.loads(config.read_text(encoding="utf-8")) if config else None)
        source = template.read_text(encoding="utf-8") if template else _in_config(fields.get("chat_template"))
    except (OSError, ValueError, RecursionError) as error:
        raise TokenizerError(f"the chat template of {config or template} cannot be read: {error}") from error
    if source is None:
        return None
    written = {name: _token(fields.get(name)) for name in SPECIAL_TOKENS}
    return ChatTemplate(source, {name: token for name, token in written.items() if token is not None})


def _in_config(value: object) -> str | None:
    """Return the template, or of several the one called "default"."""
    if isinstance(value, list):
        several = [_object(one) for one in cast("list[object]", value)]
        value = next((one.get("template") for one in several if one.get("name") == "default"), None)
    return value if isinstance(value, str) else None


def _token(value: object) -> str | None:
    if isinstance(value, str):
        return value
    content = _object(value).get("content")
    return content if isinstance(content, str) else None


def _object(value: object) -> Mapping[str, object]:
    return cast("Mapping[str, object]", value) if isinstance(value, dict) else {}


def _environment() -> ImmutableSandboxedEnvironment:
    """Make the surroundings that templates are written for, as transformers documents them."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, "jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = _to_json
    return environment


def _to_json(
    value: object,
    ensure_ascii: bool = False,  # noqa: FBT001, FBT002 - templates call it so
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,  # noqa: FBT001, FBT002
) -> str:
    # Jinja's own writes "<" as an escape, which the model would read as such.
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )

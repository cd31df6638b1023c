import datetime as dt
import json
from pathlib import Path

import pytest

from backends.messages import Message
from tasks.tokens.chat_template import ChatTemplate, TokenizerError, read_chat_template

ASKED = (Message(role="system", content="Be brief."), Message(role="user", content="<b>Hi</b>"))


def written(folder: Path, config: object, template: str | None = None) -> ChatTemplate | None:
    (folder / "config.json").write_text(json.dumps(config))
    if template is not None:
        (folder / "chat.jinja").write_text(template)
    return read_chat_template(folder / "config.json", folder / "chat.jinja" if template is not None else None)


def test_a_template_sees_what_it_is_written_for() -> None:
    source = (
        "{%- for message in messages %}\n    {%- if loop.first and message.role == 'user' %}{% continue %}"
        "{% endif %}\n{% generation %}{{ message | tojson }}{% endgeneration %};{% endfor %}\n"
        "{{ strftime_now('%Y') }}{{ eos_token }}{% if add_generation_prompt %}>{% endif %}{{ tools is none }}"
    )
    rendered = ChatTemplate(source, {"eos_token": "</s>"}).render(ASKED)

    assert rendered == (
        '{"role": "system", "content": "Be brief."};{"role": "user", "content": "<b>Hi</b>"};'
        f"{dt.datetime.now().astimezone().year}</s>>True"
    )


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("{{ raise_exception('no system message') }}", "no system message"),
        ("{% for %}", "refuses"),
        ("{{ messages[7].content }}", "refuses"),
        ("{{ ''.__class__.__mro__ }}", "unsafe|__class__"),
        ("{{ messages.append(1) }}", "unsafe|append"),
        ("{{ 1 / 0 }}", "division"),
    ],
)
def test_what_a_template_refuses_or_may_not_do_is_told(source: str, said: str) -> None:
    with pytest.raises(TokenizerError, match=said):
        ChatTemplate(source).render(ASKED)


def test_templates_are_read_from_where_models_keep_them(tmp_path: Path) -> None:
    tokens = {"bos_token": "<s>", "eos_token": {"content": "</s>"}, "pad_token": None}
    first = written(tmp_path, {"chat_template": "A{{ bos_token }}{{ eos_token }}", **tokens})
    several = written(
        tmp_path,
        {"chat_template": [{"name": "tool_use", "template": "T"}, {"name": "default", "template": "D"}]},
    )
    of_its_own = written(tmp_path, {"chat_template": "A", **tokens}, "F{{ bos_token }}")

    assert [one and one.render(ASKED) for one in (first, several, of_its_own)] == ["A<s></s>", "D", "F<s>"]
    assert written(tmp_path, tokens) is None
    assert read_chat_template(None, None) is None


@pytest.mark.parametrize("content", ["{no", "[" * 100_000, "\udcff"])
def test_a_broken_configuration_is_told(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content, errors="surrogateescape")

    with pytest.raises(TokenizerError, match=r"config\.json cannot be read"):
        read_chat_template(tmp_path / "config.json", None)

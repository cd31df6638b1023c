"""What tests read of the pages that reports are: tags, data, texts, and colours."""

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from html.parser import HTMLParser

from tests.chromium import Tab

Vector = Sequence[float]


class Page(HTMLParser):
    """Tags, JSON by id, and the text that is not JSON, script or style."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.data: dict[str, str] = {}
        self.inline: dict[str, str] = {}
        """{tag: content} of the script that runs and of the style."""
        self.text = ""
        self._inside = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        name = dict(attrs).get("id") if tag == "script" else None
        self._inside = name or (tag if tag in {"script", "style"} else "")

    def handle_endtag(self, tag: str) -> None:  # noqa: ARG002 - the parser calls it so
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside in {"script", "style"}:
            self.inline[self._inside] = self.inline.get(self._inside, "") + data
        elif self._inside:
            self.data[self._inside] = self.data.get(self._inside, "") + data
        else:
            self.text += data


def assert_nothing_else_is_allowed(page: Page) -> None:
    """Its policy names its script and its style by their hashes, and it needs nothing that this forbids."""
    [policy] = [value for name, value in page.attributes if name == "content" and "default-src" in value]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    for tag in ("script", "style"):
        digest = base64.b64encode(hashlib.sha256(page.inline[tag].encode()).digest()).decode()
        assert rules.pop(f"{tag}-src") == f"'sha256-{digest}'"
    assert rules == {
        "default-src": "'none'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }
    names = {name for name, _ in page.attributes}
    assert not {name for name in names if name.startswith("on") or name in {"src", "style"}}


def text_of(tab: Tab, selector: str) -> list[str]:
    return tab.evaluate(f"[...document.querySelectorAll({json.dumps(selector)})].map(e => e.textContent)")


def times(matrix: Sequence[Vector], vector: Vector) -> list[float]:
    return [sum(a * b for a, b in zip(row, vector, strict=True)) for row in matrix]


def linear(colour: str) -> list[float]:
    parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    return [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]


def contrast(one: str, other: str) -> float:
    low, high = sorted(sum(times([(0.2126, 0.7152, 0.0722)], linear(colour))) for colour in (one, other))
    return (high + 0.05) / (low + 0.05)


def themes(style: str) -> list[dict[str, str]]:
    """Return {variable: value} of the light page and of the dark one."""
    return [
        dict(re.findall(r"--([\w-]+): ([^;]+);", block))
        for block in re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    ]

"""Pages of one file that fetch nothing: their script and style allowed by hash, their data safe as JSON."""

import base64
import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

HERE = Path(__file__).parent
ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
SURROGATE = re.compile("[\ud800-\udfff]")
"""Halves of characters: a broken text can hold them, UTF-8 cannot."""
UNSAFE = re.compile("[<>&\u2028\u2029\ud800-\udfff]")
"""What must not stand in a script element as it is: it could end it, open a comment, or be unwritable."""
STYLE_ELEMENT = re.compile(r"<defs>\s*<style[^>]*>\*\{([^}]*)\}</style>\s*</defs>")
TAG = re.compile(r"<[^>]*>")
STYLE_ATTRIBUTE = re.compile(r' style="([^"]*)"')


@dataclass(frozen=True, kw_only=True, slots=True)
class Inlined:
    """What a page carries of its own, and the policy that allows that and nothing else."""

    script: Markup
    style: Markup
    policy: str
    """For a Content-Security-Policy."""


def inlined(name: str) -> Inlined:
    """Read the script and the style of a page: elements.js with name.js, and name.css, beside this file."""
    script = "\n".join((HERE / f"{part}.js").read_text(encoding="utf-8") for part in ("elements", name))
    style = (HERE / f"{name}.css").read_text(encoding="utf-8")
    policy = (
        f"default-src 'none'; script-src '{source_of(script)}'; style-src '{source_of(style)}';"
        " base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )
    return Inlined(script=Markup(script), style=Markup(style), policy=policy)  # noqa: S704 - our own files


def environment() -> Environment:
    """Return where the templates are; whatever they show is escaped and can be written as UTF-8."""
    return Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, finalize=writable
    )


def safe_json(value: object, *, comma: bool = False) -> Markup:
    """Return JSON that can stand in a script element whatever it says, after a comma if asked for."""
    safe = UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", ENCODER.encode(value))
    return Markup("," + safe if comma else safe)  # noqa: S704 - no < is left


def writable(value: object) -> object:
    """Return what a template is about to show, halves of characters replaced as a decoder would have."""
    return (
        SURROGATE.sub("\ufffd", value) if isinstance(value, str) and not isinstance(value, Markup) else value
    )


def source_of(inline: str) -> str:
    """Return the Content-Security-Policy source that allows exactly this inline script or style."""
    return "sha256-" + base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()


def svg_without_styles(svg: str) -> Markup:
    """Say in attributes what a figure says in styles, which a page's policy forbids; it looks the same.

    Takes what `flows/reports/svg.py` gives. A page's own style sheet can then give it other colours, too.
    """
    found = STYLE_ELEMENT.search(svg)
    if found:
        svg = STYLE_ELEMENT.sub("", svg, count=1).replace("<svg", f"<svg{_attributes(found[1])}", 1)
    plain = TAG.sub(
        lambda tag: STYLE_ATTRIBUTE.sub(lambda style: _attributes(style[1]), tag[0]), svg
    )  # only within tags: texts may read like one
    return Markup(plain)  # noqa: S704 - our own SVG


def _attributes(style: str) -> str:
    pairs = (one.split(":", 1) for one in style.split(";") if one.strip())
    return "".join(f' {name.strip()}="{value.strip()}"' for name, value in pairs)

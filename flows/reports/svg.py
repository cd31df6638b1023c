"""Figures of a page as SVG: equal ones give equal bytes, several share a page, each says what it shows."""
# pyright: reportUnknownMemberType=false
# (matplotlib is typed in part only)

import io
import re
import threading
from collections.abc import Generator
from contextlib import contextmanager
from html import escape
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.typing import RcKeyType

INK, ACCENT, MIDDLE, FAINT = "#1f2933", "#1b6ca8", "#616e7c", "#9aa5b1"
WIDTH = 10.0
"""Inches, at 72 points each."""

_STYLE: dict[RcKeyType, Any] = {
    "svg.hashsalt": "vllm-flows",  # without one, shapes have other names in every run
    "svg.fonttype": "none",  # text that can be searched, in fewer bytes than its outlines
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib, so that places are the same everywhere
    "font.size": 9,
    "text.parse_math": False,  # names come from users, and a $ is no formula
    "hatch.linewidth": 0.7,
}
_DRAWING = threading.Lock()
"""Settings are matplotlib's own, for all threads."""
_TAG = re.compile(r"<[^>]*>")
_NAME = re.compile(r'( id="|href="#|url\(#)')
_HUNDREDTHS = re.compile(r"(\.\d\d)\d+")
"""Of a point; what is finer nobody sees, and it is a third of the bytes."""


@contextmanager
def canvas(height: float) -> Generator[Figure]:
    """Give an empty figure of `height` inches; all drawing, `to_svg` too, belongs inside the block."""
    with _DRAWING, mpl.rc_context(_STYLE):
        yield Figure(figsize=(WIDTH, height), layout="constrained")


def to_svg(figure: Figure, name: str, title: str, description: str) -> str:
    """Return an <svg> element to put into a page.

    Args:
        figure: What `canvas` gave.
        name: Begins every id, so that the figures of a page do not clash. Letters and dashes.
        title: Read out in place of the picture, and shown under the pointer.
        description: What one learns by looking, for those who cannot.
    """
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(buffer, format="svg", metadata=nothing)
    text = buffer.getvalue()
    tag = text[text.index("<svg") : text.index(">", text.index("<svg")) + 1]
    shapes = _TAG.sub(
        lambda found: _NAME.sub(rf"\1{name}-", _HUNDREDTHS.sub(r"\1", found.group())),
        text[text.index(tag) + len(tag) :],
    )
    labelled = tag.replace("<svg", f'<svg role="img" aria-labelledby="{name}-title {name}-desc"', 1)
    return (
        f'{labelled}\n <title id="{name}-title">{escape(title)}</title>'
        f'\n <desc id="{name}-desc">{escape(description)}</desc>{shapes}'
    )


def tidy(axes: Axes, title: str, unit: str, across: str) -> None:
    """Give a panel its heading, what it counts upwards and across, and no frame."""
    axes.set_title(title, loc="left", fontsize=11, color=INK)
    axes.set_ylabel(unit, color=INK)
    axes.set_xlabel(across, color=INK)
    axes.spines[["top", "right"]].set_visible(False)


def legend_below(figure: Figure, *, columns: int) -> None:
    """Say once, under all panels, what lines and marks stand for."""
    found = {
        label: handle
        for axes in figure.axes
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    if found:
        figure.legend(found.values(), found.keys(), loc="outside lower center", ncols=columns, frameon=False)


def note(axes: Axes, text: str) -> None:
    """Say in the middle of an empty panel why it is empty."""
    axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes, color=INK)
    axes.set(xticks=[], yticks=[])

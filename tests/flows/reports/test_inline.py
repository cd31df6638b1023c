"""What pages of one file share: JSON that ends no element, a policy by hash, figures without styles."""
# pyright: reportUnknownMemberType=false
# (matplotlib is typed in part only)

import json
import re

from hypothesis import given
from hypothesis import strategies as st

from flows.reports.inline import HERE, environment, inlined, safe_json, source_of, svg_without_styles
from flows.reports.svg import canvas, to_svg


@given(st.recursive(st.text(st.characters(exclude_categories=())), st.lists))
def test_any_json_can_stand_in_a_script_element(value: object) -> None:
    text = str(safe_json(value))
    text.encode()
    assert not set(text) & set("<>&\u2028\u2029")
    assert json.dumps(json.loads(text)) == json.dumps(value)


def test_halves_of_characters_are_replaced_where_a_template_shows_them() -> None:
    shown = environment().from_string("{{ one }}").render(one="a\ud83d<b>")
    assert shown == "a\ufffd&lt;b&gt;"


def test_policy_names_the_script_and_the_style() -> None:
    own = inlined("ace")
    assert f"script-src '{source_of(own.script)}'" in own.policy
    assert f"style-src '{source_of(own.style)}'" in own.policy
    assert own.policy.startswith("default-src 'none';")
    assert "unsafe" not in own.policy


def test_script_of_a_page_follows_what_all_share_and_is_strict() -> None:
    script = inlined("ace").script
    assert script.startswith('"use strict";')
    shared, own = ((HERE / f"{name}.js").read_text() for name in ("elements", "ace"))
    assert script == f"{shared}\n{own}"


def test_figures_say_in_attributes_what_they_said_in_styles() -> None:
    trap = 'style="fill: red" <b style="fill: red">'
    with canvas(2.0) as figure:
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], "--", color="#1b6ca8", linewidth=2)
        axes.set_title(trap)
        svg = to_svg(figure, "x", "title", trap)
    plain = str(svg_without_styles(svg))
    tags = re.findall(r"<[^>]*>", plain)
    assert not [tag for tag in tags if " style=" in tag or tag.startswith("<style")]
    assert plain.count('style="fill: red" &lt;b style="fill: red"&gt;') + plain.count(
        "style=&quot;fill: red&quot; &lt;b style=&quot;fill: red&quot;&gt;"
    ) == 2  # fmt: skip
    [line] = [tag for tag in tags if "stroke-dasharray" in tag]
    assert ' stroke="#1b6ca8"' in line
    assert ' stroke-width="2"' in line
    assert ' fill="none"' in line
    assert tags[0].startswith('<svg stroke-linejoin="round" stroke-linecap="butt" ')

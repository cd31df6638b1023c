"""Takes the text out of a web page: what a reader sees, in reading order; fetches nothing."""

from collections.abc import Mapping

import lxml.html
from inscriptis.css_profiles import STRICT_CSS_PROFILE
from inscriptis.html_engine import Inscriptis
from inscriptis.html_properties import Display
from inscriptis.model.config import ParserConfig
from inscriptis.model.html_document_state import HtmlDocumentState
from inscriptis.model.html_element import HtmlElement
from inscriptis.model.tag import CustomHtmlTagHandlerMapping
from lxml.etree import LxmlError

from tasks.extraction.plain_text import UnreadableError

BLOCKS = ("caption", "dd", "dl", "dt", "fieldset", "form", "option", "section", "table", "textarea", "tr")
HIDDEN = ("audio", "iframe", "noscript", "object", "svg", "template", "video")
CELLS = ("td", "th")


def html_text(markup: str) -> str:
    """Return the text of a page without scripts, styles, comments and what is hidden; entities are decoded.

    A table becomes a line a row, cell after cell. Side by side, as a browser has them, the lines of two cells
    would be mixed, no entity of two lines would stand in the text, and padding would be most of it.

    Raises:
        UnreadableError: There is no text in it, or it is nested deeper than can be followed.
    """
    # Elements deeper than 255 are dropped without a word unless the tree may be huge.
    parser = lxml.html.HTMLParser(
        encoding="utf-8", huge_tree=True, remove_comments=True, remove_pis=True, no_network=True
    )
    try:
        tree = lxml.html.document_fromstring(markup.encode(errors="replace"), parser=parser)
        _simplify(tree)
        text = Inscriptis(tree, _config()).get_text()
    except RecursionError:
        raise UnreadableError("its elements are nested too deeply to be followed") from None
    except LxmlError:
        text = ""
    if not (text := text.strip()):
        raise UnreadableError("it holds no text; save a page that scripts draw as a text")
    return text


def _simplify(tree: lxml.html.HtmlElement) -> None:
    """Take out what is hidden, and all attributes: a margin of a million lines is one of them."""
    for element in list(tree.iter("*")):
        style = (element.get("style") or "").replace(" ", "").lower()
        if ("display:none" in style or element.get("hidden") is not None) and element.getparent() is not None:
            element.drop_tree()
        else:
            element.attrib.clear()


def _config() -> ParserConfig:
    css = dict(STRICT_CSS_PROFILE)
    css |= {tag: HtmlElement(display=Display.block) for tag in BLOCKS}
    css |= {tag: HtmlElement(display=Display.none) for tag in HIDDEN}
    css |= {tag: HtmlElement(display=Display.inline, prefix=" ", suffix=" ") for tag in CELLS}
    # Indented, a line of a list 900 levels deep would begin with 3,600 blanks.
    css |= {tag: HtmlElement(display=Display.block) for tag in ("ul", "ol")}
    mapping = CustomHtmlTagHandlerMapping(
        dict.fromkeys(("table", "tr", *CELLS), _start_as_any), dict.fromkeys(("table", *CELLS), _end_as_any)
    )
    return ParserConfig(css=css, custom_html_tag_handler_mapping=mapping)


def _start_as_any(state: HtmlDocumentState, attributes: Mapping[str, str]) -> None:
    del state, attributes


def _end_as_any(state: HtmlDocumentState) -> None:
    del state

"""What texts from models, rows and files may not write: marks of our prompts, tokens of chat templates, ids.

A tokenizer reads `<|im_end|>`, `</s>` or `[INST]` as one special token wherever they stand, and a model takes
`</question>` for the end of what is quoted. One sign of each is exchanged; what people read stays the same.
"""

import re

MARKS = (
    "answer", "cheat_sheet", "context", "counts", "examples", "feedback", "question", "reasoning",
    "reflection",
)  # fmt: skip
"""Of our prompts; no text writes them, even with blanks in them. `playbook` is one as well."""

LIKE_A_BRACKET = "\u2039"

TAG = re.compile(
    r"<(?="
    r"[|\uff5c]"  # <|im_end|>, and DeepSeek's wider bars
    rf"|(?:/|[^\W\d])[^\s<>{LIKE_A_BRACKET}]*>"  # <file_sep>, </s>, <<SYS>>; neither a < b nor x<5
    rf"|\s*(?:/\s*)?(?:playbook|(?:{'|'.join(MARKS)})\s*>)"
    r")",
    re.IGNORECASE,
)

BRACKETED = re.compile(
    r"\[(/?(?:INST|AVAILABLE_TOOLS|TOOL_(?:CALLS|RESULTS|CONTENT)|SYSTEM_PROMPT|THINK|ARGS|IMG(?:_BREAK|_END)?"
    r"|gMASK|sMASK|CLS|SEP|MASK|PAD|UNK))\]"
)
"""Special tokens of Mistral's, GLM's and BERT's tokenizers."""

_ID = r"(?=[^\W_]*[^\W\d_])[^\W_]+-[0-9]{5,}"
LIKE_IDS = re.compile(rf"\[\s*({_ID}(?:[\s,;/|&]+(?:and\s+)?{_ID})*)\s*\]")
"""What looks like ids that a playbook gives, in a text that may not name any; `rates[idx-1]` does not."""

LIKE_BULLETS = re.compile(r"\[([^\[\]]*)\](?=\s*helpful\s*=)", re.IGNORECASE)
"""What looks like the beginning of a bullet's line, whatever the id."""

CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")

UNSEEN = re.compile(
    "[\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)
"""No width, or no more than a direction: what hides a mark, or a text from who reads it."""

_JOINERS = "\u200c\u200d"
STRAY_JOINERS = re.compile(
    f"(?<![^\x00-\x7f{_JOINERS}])[{_JOINERS}]++|[{_JOINERS}]++(?![^\x00-\x7f{_JOINERS}])"
)
"""Some scripts and emoji need joiners inside a word; beside a blank or an ASCII sign they only hide it."""


def tamed(text: str) -> str:
    """Break what may be markup or an id; lines and blanks stay.

    >>> tamed("x<5 and a < b [calc-00001, err-00002] </s>")
    'x<5 and a < b (calc-00001, err-00002) \u2039/s>'
    """
    for marks in (LIKE_BULLETS, LIKE_IDS, BRACKETED):
        text = marks.sub(r"(\1)", text)
    return TAG.sub(LIKE_A_BRACKET, text)


def folded(text: str) -> str:
    """Make one line of a text, of signs that are seen, with single blanks between words."""
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    line = " ".join(UNSEEN.sub("", CONTROLS.sub(" ", text)).split())  # splits at U+2028 and its like, too
    return " ".join(STRAY_JOINERS.sub("", line).split())


def one_line(text: str) -> str:
    r"""Make a text that can stand in a playbook: one line, and nothing in it is a section, an id or markup.

    >>> one_line("line1\n## HACK [calc-00001]")
    'line1 ## HACK (calc-00001)'
    """
    return tamed(folded(text))

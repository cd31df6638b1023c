"""Turns bytes into text, and text into one that can be written, shown and counted in."""

import codecs
import re

BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark is the beginning of this one
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
SAMPLE_BYTES = 8192
"""Where a NUL is looked for, to tell a binary file."""

_LINE_END = re.compile("\r\n|[\r\v\f\x1c\x1d\x1e\x85]")
_CONTROL = re.compile("[\x00-\x08\x0e-\x1b\x1f\x7f-\x84\x86-\x9f]")
_SURROGATE = re.compile("[\ud800-\udfff]")


class UnreadableError(ValueError):
    """One document cannot be read; the message says why, as the end of "it is left out: ..."."""


def decoded(data: bytes, encoding: str = "utf-8") -> str:
    """Decode a whole file: as its byte order mark says, else in the encoding that is given.

    Nothing is guessed: windows-1252 taken for windows-1250 is a text with wrong names in it, and no error.

    Raises:
        UnreadableError: It is binary, or in another encoding.
        LookupError: There is no such encoding.
    """
    for mark, name in BOMS:
        if data.startswith(mark):
            data, encoding = data[len(mark) :], name
            break
    else:
        if b"\0" in data[:SAMPLE_BYTES]:
            raise UnreadableError("it is binary, or UTF-16 without a byte order mark; give a text in UTF-8")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise UnreadableError(
            f"it is no {encoding} text (byte 0x{data[error.start]:02x} at {error.start:,}); convert it to "
            "UTF-8, or give its encoding"
        ) from None


def cleaned(text: str) -> str:
    r"""Return a text that UTF-8 and JSON hold and every reader counts alike; all offsets are in this one.

    Every line end is one "\n" (also vertical tabs, form feeds and Unicode's C0 and C1 separators), every
    other control character is a blank, half a surrogate pair is U+FFFD, and a byte order mark at the front is
    gone. But for that mark and "\r\n" the length is kept, and nothing else changes: no case, no quotes, no
    blanks, no normal form.
    """
    text = _LINE_END.sub("\n", text.removeprefix("\ufeff"))
    return _SURROGATE.sub("\ufffd", _CONTROL.sub(" ", text))

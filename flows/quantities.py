"""Lengths of time, times and sizes, as people type and read them."""

import re
from datetime import UTC, datetime

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_POWERS = {"K": 1, "M": 2, "G": 3, "T": 4}
_BYTES = {
    "": 1,
    "B": 1,
    **{f"{letter}B": 1000**power for letter, power in _POWERS.items()},
    **{f"{letter}IB": 1024**power for letter, power in _POWERS.items()},
}


def parse_duration(text: str) -> float:
    """Read `90s`, `15m`, `12h`, `30d` or `2w` as seconds.

    Raises:
        ValueError: It is none of these.
    """
    number, unit = _split(text, "30d; the units are s, m, h, d and w")
    if unit not in _SECONDS:
        raise ValueError(f"{text!r} is no length of time; write it like 30d; the units are s, m, h, d and w")
    return number * _SECONDS[unit]


def parse_size(text: str) -> int:
    """Read `500MB`, `5GB`, `1.5GiB` or a number of bytes.

    Raises:
        ValueError: It is none of these.
    """
    number, unit = _split(text, "5GB; the units are KB, MB, GB, TB, KiB, MiB, GiB and TiB")
    if unit.upper() not in _BYTES:
        raise ValueError(
            f"{text!r} is no size; write it like 5GB; the units are KB, MB, GB, TB, KiB, MiB, GiB and TiB"
        )
    return int(number * _BYTES[unit.upper()])


def parse_since(text: str, now: float) -> float:
    """Read a length of time before `now`, or a date or time such as 2026-11-21, as seconds since 1970.

    Raises:
        ValueError: It is neither.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return now - parse_duration(text)
    return (moment if moment.tzinfo else moment.astimezone()).timestamp()


def show_size(size_bytes: float) -> str:
    """Write a size for people."""
    for unit in ("B", "KB", "MB", "GB"):
        if size_bytes < 1000:  # noqa: PLR2004 - of each unit
            return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.1f} TB"


def show_time(seconds: float | None) -> str:
    """Write a time, to the second, in UTC; a question mark where it is not known."""
    try:
        return datetime.fromtimestamp(seconds or 0, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if seconds else "?"
    except (OverflowError, OSError, ValueError):
        return "?"


def _split(text: str, example: str) -> tuple[float, str]:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)", text.strip())
    if found is None:
        raise ValueError(f"{text!r} cannot be read; write it like {example}")
    return float(found[1]), found[2]

"""Says of each call of a run what became of it, and of what was computed why the store had no answer.

Entries hold a digest of each field of the request that they answer. So the stored request that is nearest to
one that was computed is found without any text: among those with the same prompt that were stored before it,
the one that differs in the fewest fields, and rather one from before the run. Nothing is written, and the
store is passed through once for every CHUNK of calls.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice

from cache.errors import CorruptEntryError
from cache.keys import Key
from cache.lookup import CacheMode
from cache.store import Store
from tasks.codec import Entry, read_entry
from tasks.run_report import said_at_start
from tasks.short_fields import fields_asked, is_of_sampling

CHUNK = 100_000
"""Calls that are held in memory at a time, some 400 bytes each."""

BLOCK = 500
"""Entries that are read at a time."""

MAX_WAYS = 200
"""Ways of asking the same prompt that are remembered, the latest of them."""

MAX_VALUE_CHARACTERS = 60

PROMPT_FIELDS = ("prompt", "messages")

Row = Mapping[str, object]
Way = frozenset[tuple[str, str]]
"""{(field, its digest)} of all fields but the prompt: how a prompt was asked."""

WITHOUT_ASKING: Mapping[str, str] = {
    "hit": "its answer was stored",
    "shared": "the same question was on its way already",
}
WITHOUT_LOOKING: Mapping[str, str] = {
    CacheMode.REFRESH: "cache_mode was refresh, which asks again",
    CacheMode.OFF: "cache_mode was off, which reads nothing",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Explained:
    """What became of one call, and why."""

    key: Key
    task: str
    outcome: str
    """hit, computed, shared or failed."""
    reason: str
    nearest: Key | None = None
    """The stored answer to the nearest request, of a call that was computed."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """A stored request: its prompt and the way in which it was asked."""

    prompt: bytes
    way: Way


@dataclass(slots=True)
class _Ways:
    """The ways in which one prompt was asked before; of each the key that came last."""

    before_run: dict[Way, Key] = field(default_factory=dict[Way, Key])
    in_run: dict[Way, Key] = field(default_factory=dict[Way, Key])

    def add(self, way: Way, key: Key, *, in_run: bool) -> None:
        ways = self.in_run if in_run else self.before_run
        ways.pop(way, None)
        ways[way] = key
        if len(ways) > MAX_WAYS:
            del ways[next(iter(ways))]

    def nearest(self, way: Way) -> Key | None:
        ways = self.before_run or self.in_run
        latest_first = reversed(ways.items())
        return min(latest_first, key=lambda one: len(_differing(one[0], way)), default=(None, None))[1]


def explain(rows: Iterable[Row], store: Store) -> Iterator[Explained]:
    """Yield what became of each call of a run, in the order of its journal.

    Args:
        rows: Of the run's journal.
        store: Where the run kept its answers; it lists its keys in the order of their first writing.

    Raises:
        StoreUnavailableError: The store cannot be read.
    """
    mode = ""
    finder = _Finder(store)

    def calls() -> Iterator[tuple[str, Row]]:
        nonlocal mode
        for row in rows:
            if row.get("event") == "run":
                mode = said_at_start(row, "cache_mode")
            elif row.get("event") == "call":
                yield mode, row

    remaining = calls()
    while chunk := list(islice(remaining, CHUNK)):
        questions = {_key(row) for mode_then, row in chunk if _known_reason(mode_then, row) is None}
        found = finder.find(questions)
        for mode_then, row in chunk:
            reason = _known_reason(mode_then, row)
            why, nearest = found[_key(row)] if reason is None else (reason, None)
            yield Explained(
                key=_key(row),
                task=str(row.get("task", "")),
                outcome=str(row.get("outcome", "")),
                reason=why,
                nearest=nearest,
            )


def _key(row: Row) -> Key:
    return Key(str(row.get("key", "")))


def _known_reason(mode: str, row: Row) -> str | None:
    """Say why, where the journal alone tells; None for a call that the store has to tell of."""
    outcome = str(row.get("outcome"))
    if outcome == "failed":
        status = f" (HTTP {row['status']})" if "status" in row else ""
        return f"{row.get('error', 'an error')}{status}"
    if outcome != "computed":
        return WITHOUT_ASKING.get(outcome, "an outcome that this version does not know")
    return "its stored answer was damaged" if row.get("damaged") else WITHOUT_LOOKING.get(mode)


class _Finder:
    """Finds the nearest of what was stored before."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[Way, Way] = {}
        self._run_began: int | None = None
        """How many keys were written before the first that this run computed."""

    def find(self, keys: set[Key]) -> dict[Key, tuple[str, Key | None]]:
        """Say of each key why it was no hit, and what was nearest."""
        asked = {key: one for block in _blocks(keys) for key, one in self._read(block).items()}
        gone = "its answer is not stored any more, so nothing can be compared"
        why: dict[Key, tuple[str, Key | None]] = dict.fromkeys(keys, (gone, None))
        if not asked:
            return why
        nearest = self._nearest(asked)
        for block in _blocks(nearest):
            pairs = {key: other for key in block if (other := nearest[key])}
            entries = self._entries([*pairs, *pairs.values()])
            for key in block:
                why[key] = _compared(entries, key, nearest[key]), nearest[key]
        return why

    def _nearest(self, asked: Mapping[Key, _Asked]) -> dict[Key, Key | None]:
        """Pass through the store in the order of writing: what has been seen was stored before."""
        ways = {one.prompt: _Ways() for one in asked.values()}
        nearest: dict[Key, Key | None] = {}
        place = 0
        for block in _blocks(self._store.keys()):
            stored = self._read(block, ways)
            for key in block:
                one = stored.get(key)
                if key in asked:
                    if self._run_began is None:
                        self._run_began = place
                    nearest[key] = ways[asked[key].prompt].nearest(asked[key].way)
                if one is not None:
                    in_run = self._run_began is not None and place >= self._run_began
                    ways[one.prompt].add(one.way, key, in_run=in_run)
                place += 1
        return nearest

    def _read(self, keys: Sequence[Key], prompts: Mapping[bytes, object] | None = None) -> dict[Key, _Asked]:
        found: dict[Key, _Asked] = {}
        for key, entry in self._entries(keys).items():
            digests = entry["digests"]
            prompt = bytes.fromhex("".join(digests.get(name, "") for name in PROMPT_FIELDS))
            if prompts is None or prompt in prompts:
                way = frozenset(pair for pair in digests.items() if pair[0] not in PROMPT_FIELDS)
                found[key] = _Asked(prompt, self._known.setdefault(way, way))
        return found

    def _entries(self, keys: Iterable[Key]) -> dict[Key, Entry]:
        entries: dict[Key, Entry] = {}
        for key, written in self._store.get(keys).entries.items():
            try:
                entry: Entry = read_entry(written)
            except CorruptEntryError:  # of another kind, such as how labels are scored
                continue
            if "digests" in entry:
                entries[key] = entry
        return entries


def _compared(entries: Mapping[Key, Entry], key: Key, other: Key | None) -> str:
    """Say in which fields two stored requests with the same prompt differ."""
    if other is None:
        return "no request with this prompt was stored"
    now, before = entries.get(key), entries.get(other)
    if now is None or before is None:
        return "its entry or the nearest one went away meanwhile"
    names = _differing(_way(before), _way(now))
    if set(now["digests"]) != set(before["digests"]):
        return f"the same prompt is stored under an older version of the keys ({', '.join(sorted(names))})"
    if not names:
        return "the same request is stored under another version of the keys"
    told = [one for name in sorted(names) for one in _told(name, before, now)]
    return f"same prompt, {', '.join(told)}"


def _told(name: str, before: Entry, now: Entry) -> list[str]:
    """Name a field that differs, with its values where both entries hold them."""
    values = [_values(entry) for entry in (before, now)]
    fields = [one for one in values[0] if (is_of_sampling(one) if name == "sampling" else one == name)]
    pairs = [(one, *(_shown(side.get(one)) for side in values)) for one in fields if values[1]]
    told = [f"other {one} ({then} before, {this} now)" for one, then, this in pairs if then != this]
    return told or [f"other {name}"]


def _values(entry: Entry) -> dict[str, object]:
    kept = entry.get("request") or entry.get("asked_with")
    model: dict[str, object] = {"model": entry["model"]} if "model" in entry else {}
    return {**model, **(fields_asked(kept) if kept else {})}


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, sort_keys=True)
    return text if len(text) <= MAX_VALUE_CHARACTERS else f"{text[:MAX_VALUE_CHARACTERS]}..."


def _way(entry: Entry) -> Way:
    return frozenset(pair for pair in entry["digests"].items() if pair[0] not in PROMPT_FIELDS)


@lru_cache(maxsize=10_000)
def _differing(one: Way, other: Way) -> frozenset[str]:
    return frozenset(name for name, _ in one ^ other)


def _blocks(keys: Iterable[Key]) -> Iterator[list[Key]]:
    remaining = iter(keys)
    while block := list(islice(remaining, BLOCK)):
        yield block

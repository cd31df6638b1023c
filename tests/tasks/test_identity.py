"""No answer of some weights is served for others', and a restart of a server costs nothing."""

import asyncio
import logging
import pickle
import sqlite3
import zlib
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from backends.base import Hooks
from backends.canary import PROMPTS, TOLERANCE, Canary
from backends.errors import BackendConnectionError, BackendError
from backends.vllm_server import VLLMServer
from backends.weights import directory_digest
from cache.disk_store import DiskStore
from cache.errors import CacheMissError, CorruptEntryError
from cache.keys import Key
from cache.lookup import CacheMode, Lookup
from cache.store import Found
from tasks.codec import encode_labels, encode_note
from tasks.generate import Generator
from tasks.identity import Identity, WeightsChangedError
from tests.fake_vllm import FakeVLLM
from tests.helpers import MODEL, Naps, completion, completions
from tests.model_files import flip_byte, write_adapter, write_model

GONE = BackendConnectionError("no connection to the server")


def canary(shift: float = 0.0) -> Canary:
    """Return the answers of weights that differ by so many nat."""
    return tuple(
        {token: -1.0 - token + (shift if token % 2 else -shift) for token in range(9)} for _ in PROMPTS
    )


@dataclass(kw_only=True)
class Server:
    """Says what it is told to say, and counts how often it is asked."""

    pinned: str | None = None
    shift: float | None = 0.0
    error: BackendError | None = None
    asked: list[str] = field(default_factory=list[str])

    async def weights(self, model: str, *, max_attempts: int) -> str | None:
        del model
        self.asked.append(f"weights x{max_attempts}")
        if self.error:
            raise self.error
        return self.pinned

    async def canary(self, model: str) -> Canary | None:
        del model
        self.asked.append("canary")
        return None if self.shift is None else canary(self.shift)


@dataclass(kw_only=True)
class Place:
    """A store that lasts, and identities as different runs would find them."""

    store: DiskStore
    said: list[str] = field(default_factory=list[str])

    def run(self, server: Server, mode: CacheMode = CacheMode.USE, revision: str | None = None) -> Identity:
        return Identity(
            witness=server,
            store=self.store,
            mode=mode,
            model="m",
            user_revision=revision,
            say=self.said.append,
        )

    async def sends(
        self, server: Server, mode: CacheMode = CacheMode.USE, revision: str | None = None
    ) -> str:
        """Go through a run that sends something, and return its revision."""
        identity = self.run(server, mode, revision)
        found = await identity.revision()
        await identity.verify()
        return found


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(store=DiskStore(tmp_path / "store"))


# --- weights that files pin -----------------------------------------------------------------------------


async def test_files_pin_the_weights_and_nothing_is_sent_before_the_first_question(place: Place) -> None:
    server = Server(pinned="dir:1")
    identity = place.run(server)
    assert await identity.revision() == "dir:1"
    assert server.asked == ["weights x4"]
    await identity.verify()
    await identity.verify()
    assert server.asked == ["weights x4", "weights x4", "canary"]


async def test_a_restart_with_the_same_files_is_not_noticed(place: Place) -> None:
    assert await place.sends(Server(pinned="dir:1")) == await place.sends(Server(pinned="dir:1", shift=0.02))


async def test_changed_files_are_other_weights_and_no_error(place: Place) -> None:
    assert await place.sends(Server(pinned="dir:1")) == "dir:1"
    assert await place.sends(Server(pinned="dir:2", shift=3)) == "dir:2"
    assert await place.sends(Server(pinned="dir:1")) == "dir:1"


async def test_a_server_that_still_holds_older_weights_than_its_folder_is_noticed_before_it_is_asked(
    place: Place,
) -> None:
    await place.sends(Server(pinned="dir:1"))
    identity = place.run(Server(pinned="dir:1", shift=1))
    assert await identity.revision() == "dir:1"
    with pytest.raises(WeightsChangedError, match="although the files of the model did not change"):
        await identity.verify()


async def test_a_folder_that_changes_while_a_run_waits_stops_it(place: Place) -> None:
    server = Server(pinned="dir:1")
    identity = place.run(server)
    await identity.revision()
    server.pinned = "dir:2"
    with pytest.raises(WeightsChangedError, match="run it again"):
        await identity.verify()


async def test_a_server_that_was_away_is_asked_again(place: Place) -> None:
    server = Server(pinned="dir:1")
    identity = place.run(server)
    await identity.verify()
    server.shift = 1
    await identity.verify()
    identity.doubt()
    with pytest.raises(WeightsChangedError):
        await identity.verify()


# --- weights known by name only -------------------------------------------------------------------------


async def test_where_only_the_name_is_known_the_canary_is_asked_before_any_stored_answer_is_used(
    place: Place,
) -> None:
    server = Server()
    revision = await place.run(server).revision()
    assert revision.startswith("name canary:")
    assert server.asked == ["weights x4", "canary"]
    again = Server(shift=0.02)
    assert await place.run(again).revision() == revision
    assert again.asked == ["weights x1", "canary"]


async def test_a_canary_that_has_sung_is_not_asked_again_before_sending(place: Place) -> None:
    server = Server()
    identity = place.run(server)
    await identity.revision()
    await identity.verify()
    assert server.asked.count("canary") == 1


class Overtaken(DiskStore):
    """A store in which somebody writes just after somebody else has looked."""

    meanwhile: Callable[[], object] | None = None

    def get(self, keys: Iterable[Key]) -> Found:
        found = super().get(keys)
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile:
            meanwhile()
        return found


async def test_runs_that_meet_a_name_together_give_it_one_identity(place: Place) -> None:
    store = Overtaken(place.store.directory)
    other = place.run(Server())

    class Singing(Server):
        async def canary(self, model: str) -> Canary | None:
            store.meanwhile = lambda: asyncio.run(other.revision())
            return await super().canary(model)

    late = Place(store=store).run(Singing(shift=0.02))
    assert await late.revision() == await other.revision()
    assert await place.run(Server(shift=0.02)).revision() == await other.revision()


@pytest.mark.parametrize("shift", [2 * TOLERANCE, 3.0])
async def test_changed_weights_behind_an_unchanged_name_stop_the_run_and_offer_the_ways_on(
    place: Place, shift: float
) -> None:
    await place.run(Server()).revision()
    with pytest.raises(WeightsChangedError) as caught:
        await place.run(Server(shift=shift)).revision()
    message = str(caught.value)
    assert "\n" not in message
    for words in ("'m'", "a revision of their own", "serve the old ones", "cache_mode='refresh'"):
        assert words in message
    assert str(pickle.loads(pickle.dumps(caught.value))) == message  # noqa: S301 - our own bytes


async def test_differences_within_the_tolerance_are_the_same_weights(place: Place) -> None:
    first = await place.run(Server()).revision()
    assert await place.run(Server(shift=TOLERANCE * 0.9)).revision() == first


async def test_a_revision_of_their_own_lets_new_weights_in_and_the_old_ones_stay(place: Place) -> None:
    old = await place.run(Server()).revision()
    new = await place.run(Server(shift=1), revision="two").revision()
    assert new.startswith('name user:"two" canary:')
    assert await place.run(Server()).revision() == old
    with pytest.raises(WeightsChangedError):
        await place.run(Server(), revision="two").revision()


async def test_refresh_takes_changed_weights_for_new_ones_and_does_not_mix_them(place: Place) -> None:
    old = await place.run(Server()).revision()
    new = await place.run(Server(shift=1), CacheMode.REFRESH).revision()
    assert new != old
    assert await place.run(Server(shift=1)).revision() == new
    assert await place.run(Server()).revision() == old


async def test_refresh_of_unchanged_weights_keeps_their_name(place: Place) -> None:
    assert await place.sends(Server()) == await place.sends(Server(), CacheMode.REFRESH)
    pinned = Server(pinned="dir:1")
    assert await place.sends(pinned) == await place.sends(pinned, CacheMode.REFRESH) == "dir:1"


async def test_refresh_tells_weights_apart_that_the_same_files_once_hid(place: Place) -> None:
    await place.sends(Server(pinned="dir:1"))
    new = await place.sends(Server(pinned="dir:1", shift=1), CacheMode.REFRESH)
    assert new.startswith("dir:1 canary:")
    assert await place.sends(Server(pinned="dir:1", shift=1)) == new
    with pytest.raises(WeightsChangedError, match="run it again"):
        await place.sends(Server(pinned="dir:1"))
    assert await place.sends(Server(pinned="dir:1")) == "dir:1"


async def test_a_server_without_logprobs_is_known_by_name_and_says_so(place: Place) -> None:
    assert await place.sends(Server(shift=None)) == "name"
    assert any("known by its name only" in said for said in place.said)


@pytest.mark.parametrize("pinned", [None, "dir:1"])
async def test_what_the_user_says_of_the_weights_is_part_of_the_identity(
    place: Place, pinned: str | None
) -> None:
    texts = [None, "", "a", 'a" canary:0', "b"]
    found = [await place.sends(Server(pinned=pinned), revision=text) for text in texts]
    assert len(set(found)) == len(texts)


# --- runs that need no server ---------------------------------------------------------------------------


@pytest.mark.parametrize("pinned", [None, "dir:1"])
async def test_a_replay_takes_the_identity_last_seen_and_asks_nobody(
    place: Place, pinned: str | None
) -> None:
    revision = await place.sends(Server(pinned=pinned))
    server = Server(pinned="dir:9")
    identity = place.run(server, CacheMode.REPLAY)
    assert await identity.revision() == revision
    await identity.verify()
    assert server.asked == []


async def test_a_replay_of_an_unknown_model_says_what_to_do(place: Place) -> None:
    await place.sends(Server())
    with pytest.raises(CacheMissError, match=r"'m'.*revision: other.*cache_mode='use'"):
        await place.run(Server(), CacheMode.REPLAY, "other").revision()


async def test_a_damaged_identity_ends_a_replay_and_is_else_asked_again(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    revision = await place.sends(Server(pinned="dir:1"))
    with closing(sqlite3.connect(place.store.directory / "cache.db")) as database, database:
        database.execute("UPDATE Cache SET value = x'00'")
    with pytest.raises(CorruptEntryError, match="run without replay"):
        await place.run(Server(), CacheMode.REPLAY).revision()
    with caplog.at_level(logging.WARNING):
        assert await place.sends(Server(pinned="dir:1")) == revision
    assert "is damaged" in caplog.text
    assert await place.run(Server(), CacheMode.REPLAY).revision() == revision


@pytest.mark.parametrize("entry", [encode_labels([]), b'{"note":"x","content":1}', zlib.compress(b"{}")])
async def test_an_entry_of_another_kind_in_the_place_of_an_identity_is_damaged(
    place: Place, caplog: pytest.LogCaptureFixture, entry: bytes
) -> None:
    revision = await place.sends(Server())
    forged = [entry, encode_note("weights", 1), encode_note("canary", []), encode_note("canary", [["x", 5]])]
    for value in forged:
        place.store.put(dict.fromkeys(place.store.keys(), value))
        with pytest.raises(CorruptEntryError, match="is damaged; run without replay"):
            await place.run(Server(), CacheMode.REPLAY).revision()
        assert await place.sends(Server()) == revision
        assert "is damaged; it is asked again" in caplog.text
        assert await place.run(Server(), CacheMode.REPLAY).revision() == revision


async def test_a_warm_run_needs_no_server_and_says_so_once(place: Place) -> None:
    revision = await place.sends(Server())
    identity = place.run(Server(error=GONE))
    assert await identity.revision() == await identity.revision() == revision
    [said] = place.said
    assert "last seen" in said
    assert "no connection" in said


async def test_weights_taken_from_memory_are_checked_before_anything_is_sent(place: Place) -> None:
    await place.sends(Server())
    server = Server(error=GONE)
    identity = place.run(server)
    await identity.revision()
    server.error = None
    server.shift = 1
    with pytest.raises(WeightsChangedError, match="serve the old ones"):
        await identity.verify()


async def test_an_unknown_model_on_a_missing_server_is_that_servers_error(place: Place) -> None:
    with pytest.raises(BackendConnectionError):
        await place.run(Server(error=GONE)).revision()


async def test_a_run_that_stores_nothing_asks_for_no_identity(place: Place) -> None:
    server = Server()
    assert await place.sends(server, CacheMode.OFF) == "name"
    assert server.asked == []
    assert list(place.store.keys()) == []


# --- with a server, a store and a generator -------------------------------------------------------------


def identity_of(backend: VLLMServer, store: DiskStore, model: str = MODEL) -> Identity:
    return Identity(witness=backend, store=store, mode=CacheMode.USE, model=model)


async def revision_at(server: FakeVLLM, store: DiskStore, model: str = MODEL) -> str:
    async with VLLMServer(server.base_url, retrier=Naps().retrier()) as backend:
        identity = identity_of(backend, store, model)
        await identity.verify()
        return await identity.revision()


async def test_perturbed_weights_in_the_same_folder_under_the_same_name_are_noticed(
    place: Place, tmp_path: Path
) -> None:
    folder = write_model(tmp_path / "model")
    with FakeVLLM(model_root=str(folder)) as server:
        first = await revision_at(server, place.store)
    with FakeVLLM(model_root=str(folder)) as restarted:
        assert await revision_at(restarted, place.store) == first == directory_digest(folder)
    flip_byte(folder / "model.safetensors", -1)
    with FakeVLLM(model_root=str(folder), weight_noise=1.0) as changed:
        assert await revision_at(changed, place.store) == directory_digest(folder) != first


async def test_perturbed_weights_of_which_no_file_is_here_are_noticed(place: Place) -> None:
    with FakeVLLM() as server:
        first = await revision_at(server, place.store)
    with FakeVLLM() as restarted:
        assert await revision_at(restarted, place.store) == first
    with FakeVLLM(weight_noise=1.0) as changed, pytest.raises(WeightsChangedError):
        await revision_at(changed, place.store)


async def test_an_adapter_has_an_identity_of_its_own_that_changes_with_its_files(
    place: Place, tmp_path: Path
) -> None:
    base, adapter = write_model(tmp_path / "base"), write_adapter(tmp_path / "adapter")
    with FakeVLLM(model_root=str(base), adapters={"tuned": str(adapter)}) as server:
        plain, first = await revision_at(server, place.store), await revision_at(server, place.store, "tuned")
        flip_byte(adapter / "adapter_model.safetensors", -1)
        second = await revision_at(server, place.store, "tuned")
        assert await revision_at(server, place.store) == plain
    assert first.startswith("lora:dir:")
    assert len({plain, first, second}) == 3


async def test_nothing_is_sent_to_weights_that_are_not_those_of_the_run(place: Place) -> None:
    await place.sends(Server(pinned="dir:1"))
    identity = place.run(Server(pinned="dir:1", shift=1))
    with FakeVLLM() as server:
        async with VLLMServer(server.base_url, hooks=Hooks(on_contact=identity.verify)) as backend:
            generator = Generator(backend=backend, lookup=Lookup(place.store))
            with pytest.raises(WeightsChangedError):
                await generator(completions(2), purpose="test")
            with pytest.raises(WeightsChangedError):
                await generator.find_labels("m", ["True"])
        assert server.stats()["prompts"] == 0


async def test_stored_answers_of_pinned_weights_are_served_without_a_canary(place: Place) -> None:
    weights = Server(pinned="dir:1")
    with FakeVLLM() as server:
        for _ in range(2):
            identity = place.run(weights)
            request = completion("question", revision=await identity.revision())
            async with VLLMServer(server.base_url, hooks=Hooks(on_contact=identity.verify)) as backend:
                await Generator(backend=backend, lookup=Lookup(place.store))([request], purpose="test")
    assert weights.asked.count("canary") == 1

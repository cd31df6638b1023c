"""Against real vLLM servers: a restart is not noticed, slightly perturbed weights are, in both ways."""

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from backends.canary import TOLERANCE, Canary, distance
from backends.vllm_server import VLLMServer
from backends.weights import directory_digest
from cache.disk_store import DiskStore
from cache.lookup import CacheMode
from tasks.identity import Identity, WeightsChangedError
from tests.live.conftest import LiveServer, started_server

pytestmark = [pytest.mark.live, pytest.mark.timeout(500)]

PERTURBATION = 0.01
"""Standard deviation of the relative noise on every weight."""


@dataclass
class NameOnly:
    """A server as it looks from another machine: its files cannot be read."""

    backend: VLLMServer

    async def weights(self, model: str, *, max_attempts: int) -> str | None:
        await self.backend.weights(model, max_attempts=max_attempts)
        return None

    async def canary(self, model: str) -> Canary | None:
        return await self.backend.canary(model)


def perturb(source: Path, target: Path) -> Path:
    """Copy a model, each weight a little off."""
    shutil.copytree(source, target)
    rng = np.random.default_rng(7)
    for path in target.glob("*.safetensors"):
        path.chmod(0o600)
        data = bytearray(path.read_bytes())
        first = 8 + int.from_bytes(data[:8], "little")
        for name, tensor in json.loads(data[8:first]).items():
            if name == "__metadata__":
                continue
            assert tensor["dtype"] == "BF16", name
            start, end = tensor["data_offsets"]
            bits = np.frombuffer(data, np.uint16, (end - start) // 2, first + start).astype(np.uint32) << 16
            values = bits.view(np.float32)
            values *= 1 + PERTURBATION * rng.standard_normal(values.size, np.float32)
            data[first + start : first + end] = (bits + 0x8000 >> 16).astype(np.uint16).tobytes()
        path.write_bytes(data)
    return target


@pytest.fixture(scope="module")
def elsewhere(live_server: LiveServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders `same` and `other`: a copy of the model, and one that is slightly perturbed."""
    if not os.environ.get("VLLM_TEST_PYTHON"):
        pytest.skip("starts servers of its own; set VLLM_TEST_PYTHON")
    folder = tmp_path_factory.mktemp("models")
    shutil.copytree(live_server.directory, folder / "same")
    perturb(live_server.directory, folder / "other")
    return folder


@pytest.fixture
def restarted(elsewhere: Path) -> Iterator[LiveServer]:
    with started_server(elsewhere, elsewhere / "same") as server:
        yield server


@pytest.fixture
def perturbed(elsewhere: Path) -> Iterator[LiveServer]:
    with started_server(elsewhere, elsewhere / "other") as server:
        yield server


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> DiskStore:
    return DiskStore(tmp_path_factory.mktemp("store"))


async def revision_at(server: LiveServer, store: DiskStore, *, name_only: bool) -> str:
    async with VLLMServer(server.base_url) as backend:
        witness = NameOnly(backend) if name_only else backend
        identity = Identity(witness=witness, store=store, mode=CacheMode.USE, model=server.model)
        await identity.verify()
        return await identity.revision()


async def canary_of(server: LiveServer) -> Canary:
    async with VLLMServer(server.base_url) as backend:
        found = await backend.canary(server.model)
        assert found is not None
        return found


async def test_the_same_weights_started_again_are_not_noticed(
    live_server: LiveServer, restarted: LiveServer, store: DiskStore
) -> None:
    for name_only in (False, True):
        first = await revision_at(live_server, store, name_only=name_only)
        assert await revision_at(restarted, store, name_only=name_only) == first
    assert distance(await canary_of(live_server), await canary_of(restarted)) < TOLERANCE / 2


async def test_slightly_perturbed_weights_under_the_same_name_are_noticed_by_digest_and_by_canary(
    live_server: LiveServer, perturbed: LiveServer, store: DiskStore
) -> None:
    assert perturbed.model == live_server.model
    by_files = [await revision_at(one, store, name_only=False) for one in (live_server, perturbed)]
    assert by_files == [directory_digest(live_server.directory), directory_digest(perturbed.directory)]
    assert by_files[0] != by_files[1]
    await revision_at(live_server, store, name_only=True)
    with pytest.raises(WeightsChangedError, match="other weights than before"):
        await revision_at(perturbed, store, name_only=True)
    assert distance(await canary_of(live_server), await canary_of(perturbed)) > TOLERANCE

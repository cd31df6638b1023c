"""A digest of a model's folder changes when its answers would, and with nothing else."""

import os
import shutil
from pathlib import Path

import pytest

from backends.weights import (
    SAMPLE_BYTES,
    ModelCard,
    directory_digest,
    pinned_weights,
    read_cards,
)
from tests.model_files import flip_byte, write_adapter, write_model, write_safetensors

COMMIT = "0123456789abcdef0123456789abcdef01234567"
ADAPTER = ModelCard(name="adapter", root="/adapter", parent="base")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model")


def pinned(root: Path | str, *, on_this_machine: bool = True) -> str | None:
    cards = {"m": ModelCard(name="m", root=str(root))}
    return pinned_weights("m", cards, on_this_machine=on_this_machine)


# --- folders --------------------------------------------------------------------------------------------


def test_a_copy_elsewhere_with_other_times_is_the_same_model(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere" / "copy"
    shutil.copytree(folder, copy)
    os.utime(copy / "model.safetensors", (1, 1))
    assert directory_digest(copy) == directory_digest(folder)


@pytest.mark.parametrize("place", [-1, -SAMPLE_BYTES, -24576 + 10, -24576 // 2, -24577, -24576 - 32768 + 5])
def test_a_byte_changed_at_the_ends_or_the_middle_of_a_tensor_is_noticed(folder: Path, place: int) -> None:
    before = directory_digest(folder)
    flip_byte(folder / "model.safetensors", place)
    assert directory_digest(folder) != before


def test_other_weights_of_the_same_shapes_are_noticed(folder: Path, tmp_path: Path) -> None:
    other = write_model(tmp_path / "other", seed=1)
    assert (other / "model.safetensors").stat().st_size == (folder / "model.safetensors").stat().st_size
    assert directory_digest(other) != directory_digest(folder)


@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "modeling_x.py"]
)
def test_a_changed_text_that_changes_answers_is_noticed(folder: Path, name: str) -> None:
    before = directory_digest(folder)
    (folder / name).write_text("changed")
    assert directory_digest(folder) != before


def test_texts_that_change_no_answer_are_left_out(folder: Path) -> None:
    before = directory_digest(folder)
    (folder / "README.md").write_text("changed")
    (folder / "generation_config.json").write_text('{"temperature": 0.1, "top_p": 0.5, "eos_token_id": 2}')
    assert directory_digest(folder) == before


@pytest.mark.parametrize("changed", ['{"eos_token_id": [2, 3]}', '{"eos_token_id": 2, "top_k": 20}', "{}"])
def test_sampling_defaults_that_no_request_replaces_are_part_of_it(folder: Path, changed: str) -> None:
    before = directory_digest(folder)
    (folder / "generation_config.json").write_text(changed)
    assert directory_digest(folder) != before


def test_a_new_shard_and_a_renamed_file_are_noticed(folder: Path) -> None:
    digests = [directory_digest(folder)]
    write_safetensors(folder / "model-2.safetensors", {"more": (4, 4)})
    digests.append(directory_digest(folder))
    (folder / "model-2.safetensors").rename(folder / "model-3.safetensors")
    digests.append(directory_digest(folder))
    assert len(set(digests)) == 3


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.gguf", "broken.safetensors"])
@pytest.mark.parametrize("place", [0, 1_000_000, -1])
def test_files_of_other_formats_are_sampled_all_over(tmp_path: Path, name: str, place: int) -> None:
    path = tmp_path / name
    path.write_bytes(b"\xff" * 10 + bytes(2_000_000))
    before = directory_digest(tmp_path)
    data = bytearray(path.read_bytes())
    at = place % len(data)
    data[at : at + 2_000_000 // 200] = b"\1" * len(data[at : at + 2_000_000 // 200])
    path.write_bytes(data)
    assert directory_digest(tmp_path) != before


def test_only_samples_are_read(tmp_path: Path) -> None:
    """A tensor of a terabyte that lies on the disk as a hole is digested at once."""
    write_safetensors(tmp_path / "model.safetensors", {"small": (1, 1)})
    header = b'{"big": {"dtype": "U8", "shape": [1000000000000], "data_offsets": [0, 1000000000000]}}'
    with (tmp_path / "model.safetensors").open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + 1_000_000_000_000)
    assert directory_digest(tmp_path).startswith("dir:")


def test_a_folder_without_weights_pins_nothing(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match="no weights"):
        directory_digest(tmp_path)
    assert pinned(tmp_path) is None


# --- roots ----------------------------------------------------------------------------------------------


def test_a_folder_counts_only_on_the_servers_machine(folder: Path) -> None:
    assert pinned(folder) == directory_digest(folder)
    assert pinned(folder, on_this_machine=False) is None
    assert pinned("/no/such/folder") is None


def test_a_relative_path_may_mean_another_folder_to_the_server(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    assert pinned(folder.name) is None


def test_one_file_is_a_model_too(folder: Path) -> None:
    before = pinned(folder / "model.safetensors")
    assert before is not None
    assert before.startswith("file:")
    flip_byte(folder / "model.safetensors", -1)
    assert pinned(folder / "model.safetensors") != before


def test_a_path_into_the_hubs_cache_names_repository_and_commit_wherever_it_is() -> None:
    root = f"/home/x/.cache/huggingface/hub/models--org--a-model/snapshots/{COMMIT}"
    assert pinned(root, on_this_machine=False) == f"hub:org/a-model@{COMMIT}"


def test_a_name_on_the_hub_is_pinned_by_the_local_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = tmp_path / "models--org--a-model"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    (repository / "snapshots" / COMMIT).mkdir(parents=True)
    (repository / "snapshots" / COMMIT / "config.json").write_text("{}")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert pinned("org/a-model") == f"hub:org/a-model@{COMMIT}"
    assert pinned("org/a-model", on_this_machine=False) is None
    assert pinned("org/another") is None
    assert pinned("no name: at all!") is None


# --- adapters -------------------------------------------------------------------------------------------


def test_an_adapter_is_pinned_with_its_base(folder: Path, tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "adapter")

    def now() -> str | None:
        cards = {
            "base": ModelCard(name="base", root=str(folder)),
            "adapter": ModelCard(name="adapter", root=str(adapter), parent="base"),
        }
        return pinned_weights("adapter", cards, on_this_machine=True)

    seen = [now()]
    assert seen[0] == f"lora:{directory_digest(adapter)}+{directory_digest(folder)}"
    flip_byte(adapter / "adapter_model.safetensors", -1)
    seen.append(now())
    (adapter / "adapter_config.json").write_text('{"r": 16}')
    seen.append(now())
    flip_byte(folder / "model.safetensors", -1)
    seen.append(now())
    assert len(set(seen)) == 4


def test_an_adapter_whose_base_is_unknown_is_known_by_name_only(tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "adapter")
    cards = {
        "base": ModelCard(name="base", root="/no/such/folder"),
        "adapter": ModelCard(name="adapter", root=str(adapter), parent="base"),
    }
    assert pinned_weights("adapter", cards, on_this_machine=True) is None


# --- what a server says ---------------------------------------------------------------------------------


def test_cards_are_read_and_unreadable_ones_left_out() -> None:
    base = {"id": "base", "root": "/models/base", "parent": None}
    adapter = {"id": "adapter", "root": "/adapter", "parent": "base"}
    assert read_cards({"data": [base, adapter, {"id": "x"}, 7]}) == {
        "base": ModelCard(name="base", root="/models/base"),
        "adapter": ADAPTER,
    }
    assert read_cards("nonsense") == {}
    assert pinned_weights("not served", read_cards({"data": [base]}), on_this_machine=True) is None

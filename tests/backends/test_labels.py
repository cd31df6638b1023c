"""A label is every single token that says it, whatever its case and the space before it."""

from pathlib import Path
from typing import Any, cast

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from backends.errors import BadRequestError
from backends.labels import MAX_TOKEN_IDS, labels_from_spellings, labels_from_tokenizer, tokenizer_file
from backends.messages import Label
from tests.fake_vllm import encode, spellings

# "Ġ" is how byte-level tokenizers write a leading space, "Ċ" a line break.
WORDS = [
    "True", "ĠTrue", "true", "Ġtrue", "TRUE", "ĊTrue", "ĠTr", "ue", "untrue", "Ġuntrue", "True.", "truefalse",
    "False", "Ġfalse", "ĠÄ",
]  # fmt: skip


def model_directory(folder: Path, words: list[str], special: list[str] | None = None) -> Path:
    """Write a byte-level tokenizer whose token `i` is `words[i]`."""
    vocabulary = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=words[0]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    cast("Any", tokenizer).add_special_tokens([AddedToken(text, special=True) for text in special or []])
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def ids(*words: str) -> tuple[int, ...]:
    return tuple(WORDS.index(word) for word in words)


def test_the_whole_vocabulary_is_searched_for_spellings_of_a_label(tmp_path: Path) -> None:
    labels = labels_from_tokenizer(model_directory(tmp_path, WORDS) / "tokenizer.json", ["True", "False"])
    assert labels == (
        Label(text="True", token_ids=ids("True", "ĠTrue", "true", "Ġtrue", "TRUE", "ĊTrue")),
        Label(text="False", token_ids=ids("False", "Ġfalse")),
    )


def test_labels_come_in_the_order_and_spelling_asked_for(tmp_path: Path) -> None:
    labels = labels_from_tokenizer(model_directory(tmp_path, WORDS) / "tokenizer.json", ["FALSE", "tRuE"])
    assert [label.text for label in labels] == ["FALSE", "tRuE"]
    assert labels[0].token_ids == ids("False", "Ġfalse")


def test_a_special_token_says_no_label(tmp_path: Path) -> None:
    directory = model_directory(tmp_path, WORDS, special=["<|true|>", "False "])
    labels = labels_from_tokenizer(directory / "tokenizer.json", ["True", "False"])
    assert [len(label.token_ids) for label in labels] == [6, 2]


def test_a_label_of_two_tokens_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(BadRequestError, match="'Perhaps' is no single token of this model"):
        labels_from_tokenizer(model_directory(tmp_path, WORDS) / "tokenizer.json", ["True", "Perhaps"])


def test_more_tokens_than_a_server_scores_are_refused(tmp_path: Path) -> None:
    spaces = ["Ġ" * number + "True" for number in range(MAX_TOKEN_IDS)]
    directory = model_directory(tmp_path, ["False", *spaces])
    assert len(labels_from_tokenizer(directory / "tokenizer.json", ["True"])[0].token_ids) == MAX_TOKEN_IDS
    with pytest.raises(BadRequestError, match="129 tokens"):
        labels_from_tokenizer(directory / "tokenizer.json", ["True", "False"])


async def tokenize(text: str) -> list[int]:
    """Cut text as the fake server does: " TRUE" is two tokens."""
    return encode(text)


async def test_spellings_are_every_case_with_and_without_a_space() -> None:
    asked: list[str] = []

    async def remembered(text: str) -> list[int]:
        asked.append(text)
        return await tokenize(text)

    labels = await labels_from_spellings(remembered, ["True", "False"])
    expected = [tuple(sorted(encode(text)[0] for text in spellings(word))) for word in ("True", "False")]
    assert [label.token_ids for label in labels] == expected
    assert asked[:6] == ["True", " True", "true", " true", "TRUE", " TRUE"]
    assert len(asked) == len(set(asked)) == 12


async def test_a_spelling_that_is_two_tokens_counts_for_nothing() -> None:
    async def cut(text: str) -> list[int]:
        return [5] if text == " true" else [7, 8]

    assert await labels_from_spellings(cut, ["True"]) == (Label(text="True", token_ids=(5,)),)


async def test_spellings_that_share_a_token_count_it_once() -> None:
    async def cut(text: str) -> list[int]:
        return [len(text.strip())]

    assert await labels_from_spellings(cut, ["True"]) == (Label(text="True", token_ids=(4,)),)


async def test_a_label_without_a_single_token_spelling_is_refused_by_name() -> None:
    async def cut(text: str) -> list[int]:
        return [1] if text.strip().lower() == "true" else [1, 2]

    with pytest.raises(BadRequestError, match="'Perhaps' is no single token"):
        await labels_from_spellings(cut, ["True", "Perhaps"])


def test_a_tokenizer_is_found_in_the_models_folder_or_in_the_hubs_cache_and_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    folder = model_directory(tmp_path, WORDS)
    assert tokenizer_file(str(folder)) == folder / "tokenizer.json"
    assert tokenizer_file(str(tmp_path / "elsewhere")) is None
    assert tokenizer_file("somebody/model") is None
    cached = tmp_path / "hub" / "models--somebody--model"
    (cached / "snapshots" / "abc").mkdir(parents=True)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("abc")
    (cached / "snapshots" / "abc" / "tokenizer.json").write_text("{}")
    assert tokenizer_file("somebody/model") == cached / "snapshots" / "abc" / "tokenizer.json"

"""Tables over characters."""

from tasks.extraction.characters import per_character


def test_a_rule_is_asked_once_for_each_character_that_occurs() -> None:
    asked: list[str] = []

    def rule(character: str) -> int:
        asked.append(character)
        return ord(character) % 256

    text = "abba\ud800東a👩"
    assert per_character(text, rule).tolist() == [ord(one) % 256 for one in text]
    assert sorted(asked) == sorted(set(text))
    assert per_character("", rule).tolist() == []

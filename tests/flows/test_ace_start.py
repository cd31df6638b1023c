"""A playbook to begin with that is too large is cut to its room, and the run says so."""

from pathlib import Path

from bench.ace_demo_model import demo_learner
from tasks.ace.playbook import Playbook
from tasks.ace.playbook_json import from_json, to_json
from tests.fake_vllm import FakeVLLM
from tests.flows.ace_runs import ALONE, writer
from tests.flows.running import ICMProcess, JsonObject, Place


def test_a_playbook_to_begin_with_is_cut_to_its_room(process: ICMProcess, tmp_path: Path) -> None:
    large = Playbook()
    for number in range(60):
        large, _ = large.add("OTHERS", f"Lesson {number} says that rule {number} settles matter {number}.")
    path = tmp_path / "large.json"
    path.write_text(to_json(large), encoding="utf-8")
    parameters: JsonObject = {**ALONE, "playbook": str(path), "playbook_tokens": 200, "baselines": []}
    with FakeVLLM(writer=writer(demo_learner()), max_model_len=8192) as fake:
        place = Place(base_url=fake.base_url, model="fake-model", folder=tmp_path)
        outcome = process.run(place, parameters, flow="ace").require_completed()
    assert any(
        "bullets of the playbook to begin with were left out" in one for one in outcome.summary["warnings"]
    )
    assert len(from_json((outcome.directory / "playbook.json").read_text(encoding="utf-8"))) < 30

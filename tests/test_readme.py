"""What the README says can be typed, read and found."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows import cache_cli, run_cli
from flows.ace_parameters import AceOnlineParameters, AceParameters
from flows.batch_parameters import BatchParameters
from flows.extraction_parameters import ExtractionParameters
from flows.parameters import ICMParameters
from flows.run_parameters import RunParameters
from tasks.icm.claims import load_claims

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
DEPLOYMENTS: list[dict[str, Any]] = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]


FLOWS: dict[str, type[RunParameters]] = {
    "icm": ICMParameters,
    "nightly": ICMParameters,
    "batch": BatchParameters,
    "extraction": ExtractionParameters,
    "ace": AceParameters,
    "ace-online": AceOnlineParameters,
}


def flow_of(deployment: dict[str, Any]) -> str:
    """Return the name of the flow, which is that of its function."""
    return str(deployment["entrypoint"].rsplit(".", 1)[1]).replace("_", "-")


def test_every_make_command_is_there() -> None:
    named = set(re.findall(r"`?make ([a-z]+)[` ]", README))
    assert {"demo", "up", "down", "test", "check", "bench", "status"} <= named
    for target in named:
        assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE), target


def test_every_cache_command_is_there() -> None:
    assert run_cli.app.registered_commands  # it also adds `explain` to those of the cache
    named = set(re.findall(r"vllm-flows cache ([a-z]+)", README))
    assert named == {
        command.name or command.callback.__name__
        for command in cache_cli.app.registered_commands
        if command.callback
    } - {"show", "import"}
    assert {"list", "report"} == set(re.findall(r"vllm-flows run ([a-z]+)", README))
    assert {"compare", "import"} == set(re.findall(r"vllm-flows extraction ([a-z]+)", README))
    for command in ("show", "import"):
        assert f"`{command} " in README


def test_every_deployment_is_there() -> None:
    named = set(re.findall(r"`((?:icm|batch|extraction|ace|ace-online|nightly)/[a-z-]+)`", README))
    assert named == {f"{flow_of(each)}/{each['name']}" for each in DEPLOYMENTS}


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda each: each["name"])
def test_the_parameters_of_a_deployment_are_valid(deployment: dict[str, Any]) -> None:
    kind = FLOWS[flow_of(deployment)]
    kind.model_validate(deployment["parameters"]["parameters"])


def test_parameters_that_are_shown_are_valid() -> None:
    shown = re.findall(r"deployment run (\w+)/[^']*?parameters='(\{.*?\})'", README)
    assert {flow for flow, _ in shown} == {"icm", "batch", "extraction"}
    for flow, each in shown:
        FLOWS[flow].model_validate(json.loads(each))


def test_every_parameter_in_the_table_is_one() -> None:
    tables = re.findall(r"\| parameter \| default \| \|\n\|.*\n((?:\|.*\n)+)", README)
    for table, kind in zip(tables, (ICMParameters, ExtractionParameters, AceParameters), strict=True):
        named = [name for row in table.splitlines() for name in re.findall(r"`(\w+)`", row.split("|")[1])]
        assert len(named) > 8
        assert set(named) <= set(kind.model_fields)


def test_the_record_that_is_shown_can_be_read(tmp_path: Path) -> None:
    [record] = re.findall(r"```json\n(.*?)```", README, re.DOTALL)
    path = tmp_path / "claims.jsonl"
    path.write_text(record)
    [claim] = load_claims(path)
    assert claim.gold == 1


def test_every_file_that_is_linked_is_there() -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if not link.startswith("http")]
    assert links
    for link in links:
        assert (ROOT / link).exists(), link

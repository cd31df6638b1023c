"""Facts about the results of tasks: receipts in JSON, and nothing that is unpickled."""

import json
from pathlib import Path

import pytest

from tasks.batches import Receipts


def record(folder: Path, serializer: str) -> str:
    path = folder / "ask-key"
    path.write_text(
        json.dumps({"metadata": {"serializer": {"type": serializer}}, "result": '{"answered": 2}'})
    )
    return path.name


async def test_a_receipt_in_json_is_read(tmp_path: Path) -> None:
    name = record(tmp_path, "json")
    receipts = Receipts(basepath=str(tmp_path))
    assert json.loads(await receipts.aread_path(name))["result"] == '{"answered": 2}'
    assert receipts.read_path(name, _sync=True) == await receipts.aread_path(name)


@pytest.mark.parametrize("serializer", ["pickle", "compressed/pickle", "compressed/json", "anything"])
async def test_a_file_that_names_another_serializer_is_never_handed_to_prefect(
    tmp_path: Path, serializer: str
) -> None:
    name = record(tmp_path, serializer)
    receipts = Receipts(basepath=str(tmp_path))
    with pytest.raises(ValueError, match="not JSON"):
        await receipts.aread_path(name)
    with pytest.raises(ValueError, match="not JSON"):
        receipts.read_path(name, _sync=True)

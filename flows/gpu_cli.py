"""What GPUs and servers hold now: `vllm-flows gpu`."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from backends.base import HookedBackend
from backends.gpu import GPUMonitor
from backends.readings import GPUReading, Readings, ServerReading, gib
from backends.registry import OWN
from backends.vllm_server import VLLMServer
from flows.answering import servers_of
from flows.providers import open_provider
from flows.settings import Settings, load_settings
from flows.told import in_one_sentence


def gpu(*, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show the memory of this machine's GPUs, and how busy the vLLM servers are."""
    with in_one_sentence("nothing was changed"):
        readings, missing = asyncio.run(_read(load_settings()))
    if as_json:
        shown = {"gpus": list(map(asdict, readings.gpus)), "servers": list(map(asdict, readings.servers))}
        typer.echo(json.dumps({**shown, "missing": missing}, ensure_ascii=False, indent=2))
        return
    console = Console()
    if readings.gpus:
        console.print(gpu_table(readings.gpus))
    if readings.servers:
        console.print(server_table(readings.servers))
    for sentence in missing:
        console.print(escape(sentence), soft_wrap=True)


async def _read(settings: Settings) -> tuple[Readings, list[str]]:
    """Read once; return with it what could not be read."""
    async with open_provider(OWN, settings) as backend, GPUMonitor(_watched(backend)) as monitor:
        readings = await monitor.read()
        why_not = [monitor.why_not] if monitor.why_not else []
        told = {one.server for one in readings.servers}
        silent = [server.root for server in _watched(backend) if server.root not in told]
        return readings, [*why_not, *(f"no vLLM server tells its load at {root}" for root in silent)]


def _watched(backend: HookedBackend) -> list[VLLMServer]:
    return [one for one in servers_of(backend) if isinstance(one, VLLMServer)]


def gpu_table(gpus: Sequence[GPUReading]) -> Table:
    """Lay out GPUs, one in a row."""
    table = Table("GPU", "name", "used", "of", "busy", "°C", "held by vLLM")
    for one in gpus:
        table.add_row(
            str(one.index),
            escape(one.name),
            gib(one.used_bytes),
            gib(one.total_bytes),
            "-" if one.utilization is None else f"{one.utilization:.0%}",
            "-" if one.temperature is None else f"{one.temperature:.0f}",
            {True: "yes", False: "no", None: "not known"}[one.vllm_holds],
        )
    return table


def server_table(servers: Sequence[ServerReading]) -> Table:
    """Lay out servers, one in a row."""
    table = Table("server", "KV cache", "waiting", "running", "preempted since its start")
    for one in servers:
        counts = (one.requests_running, one.preemptions)
        table.add_row(
            escape(one.server),
            f"{one.kv_cache_usage:.0%}",
            f"{one.requests_waiting:,}",
            *("-" if count is None else f"{count:,}" for count in counts),
        )
    return table

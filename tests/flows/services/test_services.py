import io
import json
import os
import socket
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from backends.serving.errors import PortInUseError
from backends.serving.process import ProcessId, is_running, start
from flows.services.control import down, status, up
from flows.services.demo_run import find_summary
from flows.services.environments import inherited, server_environment, worker_environment
from flows.services.launch import Launch, deployment_digest
from flows.services.settings import ServiceSettings
from flows.services.state import Service, ServiceFile, ServiceName, ServicesError, fingerprint, only_one
from flows.services.terminal import Terminal
from tests.flows.running import free_port

STUBBORN = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True); time.sleep(60)"


@pytest.fixture(name="settings")
def _settings(tmp_path: Path) -> Iterator[ServiceSettings]:
    yield ServiceSettings(project=tmp_path, home=tmp_path / "home")
    for child in psutil.Process().children():
        child.kill()


@pytest.fixture(name="terminal")
def _terminal() -> Terminal:
    return Terminal(Console(file=io.StringIO(), width=200))


@pytest.fixture(name="said")
def _said(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(terminal, "say", lines.append)
    return lines


def started(
    settings: ServiceSettings, name: ServiceName, command: tuple[str, ...] = ("sleep", "60")
) -> Service:
    log = settings.logs / f"{name}.log"
    process = start(command, env=dict(os.environ), log=log)
    details = {"base_url" if name == "vllm" else "url": "http://127.0.0.1:9"}
    service = Service(name=name, process=process, log=log, fingerprint="x", details=details)
    settings.services.add(service)
    return service


def test_settings_have_defaults_that_need_no_environment(tmp_path: Path) -> None:
    settings = ServiceSettings.from_environ({}, project=tmp_path)
    assert (settings.vllm_port, settings.prefect_port) == (8000, 4200)
    assert settings.vllm_base_url is None
    assert settings.home == Path("~/.cache/vllm-flows").expanduser()


def test_settings_follow_the_environment(tmp_path: Path) -> None:
    environ = {
        "VLLM_FLOWS_HOME": str(tmp_path / "h"),
        "VLLM_PORT": "8001",
        "PREFECT_PORT": "4201",
        "VLLM_CONFIG": "llama-3.1-8b",
        "VLLM_BASE_URL": "http://gpu:8000/v1",
        "VLLM_API_KEY": "secret",
    }
    settings = ServiceSettings.from_environ(environ, project=tmp_path)
    assert settings.models == tmp_path / "h" / "models"
    assert (settings.vllm_port, settings.prefect_url) == (8001, "http://127.0.0.1:4201")
    assert "secret" not in repr(settings)


def test_an_empty_variable_counts_as_unset(tmp_path: Path) -> None:
    environ = {"VLLM_PORT": "", "VLLM_BASE_URL": "", "VLLM_CONFIG": "", "VLLM_FLOWS_HOME": ""}
    assert ServiceSettings.from_environ(environ, project=tmp_path) == ServiceSettings.from_environ(
        {}, project=tmp_path
    )


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("VLLM_PORT", "abc", "VLLM_PORT='abc' is no port"),
        ("PREFECT_PORT", "70000", "PREFECT_PORT='70000' is no port"),
        ("VLLM_BASE_URL", "localhost:8000", "VLLM_BASE_URL='localhost:8000' is no address"),
        ("VLLM_BASE_URL", "http://a, b:8000", "VLLM_BASE_URL='b:8000' is no address"),
    ],
)
def test_a_malformed_variable_is_named_with_its_value(name: str, value: str, message: str) -> None:
    with pytest.raises(ServicesError, match=message):
        ServiceSettings.from_environ({name: value})


def test_services_are_remembered_as_written(tmp_path: Path) -> None:
    file = ServiceFile(tmp_path / "state" / "services.json")
    assert file.read() == {}
    service = Service(
        name="vllm",
        process=ProcessId(pid=7, create_time=1795257933.9),
        log=tmp_path / "vllm.log",
        fingerprint="f",
        details={"base_url": "http://127.0.0.1:8000", "model": "tiny", "config": "cpu.yaml"},
    )
    file.add(service)
    assert file.read() == {"vllm": service}
    written = json.loads((tmp_path / "state" / "services.json").read_text(encoding="utf-8"))
    assert written["vllm"]["base_url"] == "http://127.0.0.1:8000", "flows read the address from here"
    assert written["vllm"]["model"] == "tiny"
    file.remove("vllm")
    file.remove("vllm")
    assert file.read() == {}


def test_a_torn_list_of_services_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "services.json"
    path.write_text('{"vllm": {"pid": 7', encoding="utf-8")
    with pytest.raises(ServicesError, match=r"services\.json cannot be read .*delete the file"):
        ServiceFile(path).read()


def test_down_stops_the_worker_first_and_prefect_last(
    settings: ServiceSettings, terminal: Terminal, said: list[str]
) -> None:
    services = [started(settings, name) for name in ("prefect", "vllm", "worker")]
    down(settings, {}, terminal)
    assert [line.partition(" (pid")[0] for line in said] == ["Worker", "vLLM server", "Prefect server"]
    assert all(line.endswith(": stopped") for line in said)
    assert not any(is_running(service.process) for service in services)
    assert settings.services.read() == {}


def test_down_twice_is_no_error(settings: ServiceSettings, terminal: Terminal, said: list[str]) -> None:
    down(settings, {}, terminal)
    assert said == ["Nothing to stop."]


def test_down_leaves_alone_whoever_got_the_number_of_a_dead_service(
    settings: ServiceSettings, terminal: Terminal, said: list[str]
) -> None:
    bystander = started(settings, "vllm")
    past = ProcessId(pid=bystander.process.pid, create_time=bystander.process.create_time - 86400)
    settings.services.add(
        Service(name="vllm", process=past, log=bystander.log, fingerprint="x", details=bystander.details)
    )
    assert status(settings)[-1].startswith("vLLM server: died")
    down(settings, {}, terminal)
    assert said == [f"vLLM server (pid {past.pid}): was not running"]
    assert is_running(bystander.process)


def test_status_names_every_service(settings: ServiceSettings) -> None:
    worker = started(settings, "worker")
    lines = status(settings)
    assert lines[0] == "Prefect server: not started"
    assert lines[1] == f"Worker: runs, http://127.0.0.1:9, pid {worker.process.pid}, log {worker.log}"
    assert lines[2] == "vLLM server: not started"


def test_what_runs_with_the_same_settings_is_kept(
    settings: ServiceSettings, terminal: Terminal, said: list[str]
) -> None:
    service = started(settings, "worker")
    launch = Launch(settings=settings, environ={}, terminal=terminal)

    def begin() -> ProcessId:
        return start(["sleep", "60"], env=dict(os.environ), log=service.log)

    kept = launch.keep_or_start("worker", log=service.log, mark="x", begin=begin, details=service.details)
    assert kept == service
    other = launch.keep_or_start("worker", log=service.log, mark="y", begin=begin, details={})
    assert other.process.pid != service.process.pid
    assert not is_running(service.process)
    assert settings.services.read()["worker"] == other, "remembered as soon as it is started"
    assert said == ["Worker: started again, its settings have changed or it had died"]


def test_a_fingerprint_follows_command_and_settings_and_hides_them() -> None:
    first = fingerprint(["a"], {"VLLM_API_KEY": "secret", "B": "1"})
    assert first == fingerprint(["a"], {"B": "1", "VLLM_API_KEY": "secret"})
    assert first != fingerprint(["a"], {"VLLM_API_KEY": "other", "B": "1"})
    assert first != fingerprint(["b"], {"VLLM_API_KEY": "secret", "B": "1"})
    assert "secret" not in first


def test_up_with_an_unreachable_server_starts_nothing(tmp_path: Path, terminal: Terminal) -> None:
    settings = ServiceSettings(project=tmp_path, home=tmp_path, vllm_base_url="http://127.0.0.1:9")
    with pytest.raises(ServicesError.__mro__[1], match="nothing answers at http://127"):
        up(settings, {}, terminal)
    assert settings.services.read() == {}


@pytest.mark.parametrize("variable", ["VLLM_PORT", "PREFECT_PORT"])
def test_a_port_that_is_taken_is_found_before_a_service_is_stopped_for_it(
    settings: ServiceSettings, terminal: Terminal, variable: str
) -> None:
    running = [started(settings, name) for name in ("prefect", "vllm")]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        mistyped = replace(settings, **{variable.lower(): port})
        if variable == "VLLM_PORT":
            mistyped = replace(mistyped, prefect_port=free_port())
        with pytest.raises(PortInUseError, match=variable):
            up(mistyped, {}, terminal)
    assert all(is_running(service.process) for service in running)


def test_only_the_user_may_look_into_the_folder_of_the_services(settings: ServiceSettings) -> None:
    settings.state.mkdir(mode=0o755)
    with only_one(settings.state / "up.lock"):
        assert settings.state.stat().st_mode & 0o777 == 0o700


def test_two_ups_do_not_work_on_one_project(settings: ServiceSettings, terminal: Terminal) -> None:
    with (
        only_one(settings.state / "up.lock"),
        pytest.raises(ServicesError, match="another `vllm-flows up` is at work"),
    ):
        up(settings, {}, terminal)


def test_only_the_ui_itself_may_call_the_server_from_a_browser(settings: ServiceSettings) -> None:
    env = server_environment(settings)
    allowed = env["PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS"]
    assert allowed == "http://127.0.0.1:4200,http://localhost:4200"
    assert env["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert env["DO_NOT_TRACK"] == "1"
    assert env["PREFECT_HOME"] == str(settings.project / ".vllm-flows" / "prefect")


def test_flows_hear_of_a_server_that_the_user_chose(settings: ServiceSettings) -> None:
    environ = {"VLLM_BASE_URL": "http://gpu:8000", "VLLM_PORT": "8001", "VLLM_MODEL": "m", "HOME": "/h"}
    env = worker_environment(settings, environ)
    assert env["VLLM_BASE_URL"] == "http://gpu:8000"
    assert env["VLLM_MODEL"] == "m"
    assert "VLLM_PORT" not in env, "another port for a server of ours is no reason to restart the worker"
    assert env["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] == "30"
    assert "VLLM_BASE_URL" not in worker_environment(settings, {})


def test_another_prefect_server_of_the_user_stays_out_of_it() -> None:
    env = inherited({"PREFECT_API_KEY": "k", "PREFECT_PROFILE": "cloud", "PATH": "/bin", "NO_PROXY": "a"})
    assert env == {"PATH": "/bin", "NO_PROXY": "a,127.0.0.1,localhost", "no_proxy": "a,127.0.0.1,localhost"}


def test_deployments_follow_their_file_and_the_code(tmp_path: Path) -> None:
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows" / "a.py").write_text("x = 1", encoding="utf-8")
    (tmp_path / "prefect.yaml").write_text("name: a", encoding="utf-8")
    first = deployment_digest(tmp_path)
    assert first == deployment_digest(tmp_path)
    (tmp_path / "flows" / "a.py").write_text("x = 2", encoding="utf-8")
    second = deployment_digest(tmp_path)
    (tmp_path / "prefect.yaml").write_text("name: b", encoding="utf-8")
    assert len({first, second, deployment_digest(tmp_path)}) == 3


def test_a_run_is_found_by_its_id_among_all_runs(tmp_path: Path) -> None:
    for number, text in enumerate(
        [
            '{"flow_run_id": "a", "headline": "A", "report": "report.html"}',
            '{"flow_run_id": "b", "headline": "B", "report": "/elsewhere/report.html"}',
            '{"flow_run_id": "c"}',
            "torn",
        ]
    ):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "summary.json").write_text(text, encoding="utf-8")
    first, second = find_summary(tmp_path, "a"), find_summary(tmp_path, "b")
    assert first is not None
    assert second is not None
    assert (first.headline, first.report) == ("A", tmp_path / "0" / "report.html")
    assert second.report == Path("/elsewhere/report.html")
    assert find_summary(tmp_path, "c") is None


def test_killed_flow_runs_cost_the_worker_its_grace_only(
    settings: ServiceSettings, terminal: Terminal, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flow run that does not end within the grace is killed together with the worker."""
    monkeypatch.setattr("flows.services.control.FLOW_RUN_GRACE_SECONDS", 0.2)
    monkeypatch.setattr("flows.services.launch.GRACE_SECONDS", {"worker": 0.5})
    service = started(settings, "worker", ("sh", "-c", f"{sys.executable} -c '{STUBBORN}' & wait"))
    while "1" not in service.log.read_text(encoding="utf-8"):
        pass
    children = psutil.Process(service.process.pid).children(recursive=True)
    down(settings, {}, terminal)
    assert [child for child in children if child.is_running()] == []
    assert said[-1].endswith("killed, since not all of it stopped when asked")

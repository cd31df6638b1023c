"""What each Prefect process is told through its environment."""

from collections.abc import Mapping

from flows.services.settings import ServiceSettings

WORKER_QUERY_SECONDS = 2
HEARTBEAT_SECONDS = 30
"""The shortest that Prefect allows; `flows.services.provisioning` counts on it."""

NOT_FOR_PREFECT = frozenset({"PREFECT_PROFILE", "PREFECT_API_KEY", "VIRTUAL_ENV"})
"""They belong to another Prefect server, which the user may have."""

FOR_FLOWS = ("VLLM_", "OPENAI_", "OPENROUTER_", "ANTHROPIC_")

NOT_FOR_FLOWS = frozenset({"VLLM_PORT", "VLLM_CONFIG"})
"""They say how to start a server, and must not make a worker start again."""


def inherited(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what our processes get of the user's own environment."""
    kept = {name: value for name, value in environ.items() if name not in NOT_FOR_PREFECT}
    # Otherwise a proxy that the user needs for the outside would get what is for this machine.
    local = ",".join(filter(None, [kept.get("NO_PROXY"), "127.0.0.1,localhost"]))
    return {**kept, "NO_PROXY": local, "no_proxy": local}


def server_environment(settings: ServiceSettings) -> dict[str, str]:
    """Return what the Prefect server is told: who may call it, and to call nobody."""
    port = settings.prefect_port
    return {
        **client_environment(settings),
        # The API has no password by default. Any page in the user's browser could drive it, were it not for
        # this.
        "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS": f"http://127.0.0.1:{port},http://localhost:{port}",
        # So that `prefect deployment run --watch` shows what the flows log.
        "PREFECT_SERVER_LOGS_STREAM_PUBLISHING_ENABLED": "true",
        "PREFECT_SERVER_LOGS_STREAM_OUT_ENABLED": "true",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    }


def client_environment(settings: ServiceSettings) -> dict[str, str]:
    """Return what every Prefect process of the project is told: which server is ours."""
    return {
        "PREFECT_HOME": str(settings.state / "prefect"),
        "PREFECT_API_URL": f"{settings.prefect_url}/api",
        "PREFECT_SERVER_EPHEMERAL_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }


def worker_environment(settings: ServiceSettings, environ: Mapping[str, str]) -> dict[str, str]:
    """Return what the worker and its flow runs are told.

    Which vLLM server to ask is among it only where the user says so; else the flows read `services.json`,
    which `up` keeps current.
    """
    chosen = {name: value for name, value in environ.items() if name.startswith(FOR_FLOWS) and value}
    return {
        **client_environment(settings),
        **{name: value for name, value in chosen.items() if name not in NOT_FOR_FLOWS},
        "PREFECT_WORKER_QUERY_SECONDS": str(WORKER_QUERY_SECONDS),
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_SECONDS),
    }

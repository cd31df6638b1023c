"""The command line: `vllm-flows up | down | status | demo | model | gpu | cache | run`."""

import os
from collections.abc import Callable, Mapping

import typer
from rich.console import Console

from flows import cache_cli, extraction_cli, gpu_cli, run_cli
from flows.services import control, demo_run, launch
from flows.services.settings import ServiceSettings
from flows.services.terminal import Terminal
from flows.told import in_one_sentence

Command = Callable[[ServiceSettings, Mapping[str, str], Terminal], None]

app = typer.Typer(
    help="Cached, resumable LLM workflows on your own vLLM server.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,  # an API key may be among them
)
app.add_typer(cache_cli.app, name="cache")
app.add_typer(run_cli.app, name="run")
app.add_typer(extraction_cli.app, name="extraction")
app.command()(gpu_cli.gpu)


@app.command()
def up() -> None:
    """Start the Prefect server, the vLLM server and a worker; deploy the flows."""
    _run(control.up)
    typer.echo("Everything is up: `vllm-flows demo` runs the demonstration, `vllm-flows down` stops it all.")


@app.command()
def down() -> None:
    """Stop what `up` started."""
    _run(control.down)


@app.command()
def status() -> None:
    """Show what runs, where, and where it logs."""
    _run(lambda settings, _environ, terminal: terminal.say("\n".join(control.status(settings))))


@app.command()
def demo() -> None:
    """Run the demonstration deployment and show its result."""
    _run(demo_run.demo)


@app.command()
def model() -> None:
    """Make the demonstration model if it is not there, and print its folder."""

    def make(settings: ServiceSettings, environ: Mapping[str, str], terminal: Terminal) -> None:
        python = launch.vllm_python(settings, environ)
        typer.echo(launch.make_demo_model(settings, environ, terminal, python))

    _run(make)


def _run(command: Command) -> None:
    """Run a command; an error that we understand is one sentence and exit code 1, never a traceback."""
    with in_one_sentence("what was started goes on, `vllm-flows down` stops it"):
        settings = ServiceSettings.from_environ(os.environ)
        with Terminal(Console(stderr=True)) as terminal:
            command(settings, os.environ, terminal)


if __name__ == "__main__":
    app()

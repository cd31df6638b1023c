"""A headless Chromium that tests look at pages with, driven through the DevTools protocol."""

import base64
import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any

from websockets.sync.client import connect
from websockets.sync.connection import Connection

START_SECONDS = 30
ANSWER_SECONDS = 60
STOP_SECONDS = 10

MIDDLE = """selector => {
  const element = document.querySelector(selector);
  element.scrollIntoView({ block: "nearest" });
  const place = element.getClientRects()[0];
  return [place.x + place.width / 2, place.y + place.height / 2];
}"""
Json = Mapping[str, Any]
FLAGS = (
    "--headless=new",
    "--no-sandbox",  # Chromium refuses to run as root with one, and nothing but our own pages is opened
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
)


def program() -> str | None:
    """Return where Chromium is, or None."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


class PageError(AssertionError):
    """The page's script has failed, or what was waited for did not come."""


class Tab:
    """One page: opened, asked, typed into. Remembers what it requested and what went wrong in it."""

    def __init__(self, send: Callable[..., Json]) -> None:
        self._send = send
        self.requests: list[str] = []
        """URLs, that of the page included."""
        self.errors: list[str] = []
        """Exceptions, errors on the console, and what the page's policy has refused."""

    def hear(self, method: str, params: Json) -> None:
        """Take in an event of the protocol."""
        match method:
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])
            case "Runtime.exceptionThrown":
                self.errors.append(json.dumps(params["exceptionDetails"]))
            case "Runtime.consoleAPICalled" if params["type"] in {"error", "assert", "warning"}:
                self.errors.append(json.dumps(params["args"]))
            case "Log.entryAdded" if params["entry"]["level"] in {"error", "warning"}:
                self.errors.append(params["entry"]["text"])
            case "Page.javascriptDialogOpening":
                self.errors.append(f"dialog: {params['message']}")
            case _:
                pass

    def open(self, path: Path) -> None:
        """Go to a file and wait until it is loaded."""
        self.requests, self.errors = [], []
        self._send("Page.navigate", url=path.as_uri())
        self.wait_until(
            f"document.readyState === 'complete' && location.href === {json.dumps(path.as_uri())}"
        )

    def evaluate(self, expression: str) -> Any:  # noqa: ANN401 - whatever the page has
        """Return the value of a JavaScript expression; a promise is awaited."""
        answer = self._send(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True, userGesture=True
        )
        if "exceptionDetails" in answer:
            raise PageError(f"{expression}: {json.dumps(answer['exceptionDetails'])}")
        return answer["result"].get("value")

    def wait_until(self, expression: str, seconds: float = 20) -> None:
        """Return once a JavaScript expression is true."""
        end = time.monotonic() + seconds
        while True:
            with contextlib.suppress(PageError):  # a page that is on its way to another has no context
                if self.evaluate(expression):
                    return
            if time.monotonic() > end:
                raise PageError(f"after {seconds} s it is still false: {expression}")
            time.sleep(0.02)

    def settle(self) -> None:
        """Wait until the page has been drawn twice: observers have then seen what changed."""
        self.evaluate(
            "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done))))"
        )

    def click(self, selector: str) -> None:
        """Click in the middle of an element with the mouse, where the mouse can reach it."""
        x, y = self.evaluate(f"({MIDDLE})({json.dumps(selector)})")
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self._send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
        self.settle()

    def press(self, key: str, code: int = 0) -> None:
        """Press a key; `code` is its Windows key code, which keys without a character need."""
        text = {"text": key} if len(key) == 1 else {}
        self._send("Input.dispatchKeyEvent", type="keyDown", key=key, windowsVirtualKeyCode=code, **text)
        self._send("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code)
        self.settle()

    def tree(self) -> list[dict[str, Any]]:
        """Return the nodes of the accessibility tree: what a screen reader is told."""
        return self._send("Accessibility.getFullAXTree")["nodes"]

    def look(
        self, *, width: int = 1400, height: int = 900, scheme: str = "light", motion: bool = True
    ) -> None:
        """Set the size of the window, and which colours and how much motion its reader prefers."""
        self._send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        features = [
            {"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": "no-preference" if motion else "reduce"},
        ]
        self._send("Emulation.setEmulatedMedia", features=features)

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        """Write a PNG of what is in the window, or of the whole page."""
        answer = self._send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(answer["data"]))


class Chromium:
    """A running browser."""

    def __init__(self, socket: Connection) -> None:
        self._socket = socket
        self._number = 0
        self._tabs: dict[str, Tab] = {}

    def new_tab(self) -> Tab:
        """Return an empty page that tells of its requests and errors."""
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

        def send(method: str, **params: object) -> Json:
            return self.send(method, session, **params)

        tab = self._tabs[session] = Tab(send)
        for domain in ("Page", "Runtime", "Network", "Log"):
            send(f"{domain}.enable")
        tab.look()
        return tab

    def send(self, method: str, session: str | None = None, **params: object) -> Json:
        """Return the answer to one command; events that come before it go to their tabs."""
        number = self._post(method, session, params)
        end = time.monotonic() + ANSWER_SECONDS
        while True:
            said = json.loads(self._socket.recv(timeout=max(0.0, end - time.monotonic())))
            if said.get("id") == number:
                break
            self._hear(said)
        if "error" in said:
            raise PageError(f"{method}: {said['error']}")
        return said["result"]

    def _post(self, method: str, session: str | None, params: Json) -> int:
        self._number += 1
        message: dict[str, object] = {"id": self._number, "method": method, "params": params}
        if session is not None:
            message["sessionId"] = session
        self._socket.send(json.dumps(message))
        return self._number

    def _hear(self, said: Json) -> None:
        session = said.get("sessionId", "")
        if session not in self._tabs or "method" not in said:
            return
        self._tabs[session].hear(said["method"], said["params"])
        if said["method"] == "Page.javascriptDialogOpening":  # nobody else would ever close it
            self._post("Page.handleJavaScriptDialog", session, {"accept": False})


@contextlib.contextmanager
def running_chromium(folder: Path) -> Generator[Chromium]:
    """Run a Chromium that keeps everything under `folder`; it is gone at the end."""
    found = program()
    if found is None:
        raise RuntimeError("there is no chromium here; install Debian's package of this name")
    profile = folder / "profile"
    environment = {
        **os.environ,
        "HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder),
        "XDG_CACHE_HOME": str(folder),
    }
    with (folder / "chromium.log").open("wb") as log:
        process = subprocess.Popen(
            [found, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,  # its helpers are in its group, and end with it
        )
    try:
        address = _address(process, profile / "DevToolsActivePort", folder / "chromium.log")
        with connect(
            address, max_size=None, proxy=None, compression=None, open_timeout=START_SECONDS
        ) as socket:
            yield Chromium(socket)
    finally:
        _stop(process)


def _address(process: subprocess.Popen[bytes], written: Path, log: Path) -> str:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError):
            lines = written.read_text().splitlines()
            if len(lines) == 2:  # the port, and the path of the browser's own socket
                return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
        time.sleep(0.05)
    raise RuntimeError(
        f"chromium did not come up in {START_SECONDS} s: {log.read_text(errors='replace')[-2000:]}"
    )


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the browser and its helpers; what is still there after a while is killed."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(STOP_SECONDS)

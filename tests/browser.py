"""A real browser, driven over its debugging port: pages as a person gets them, with the policies that only a browser enforces."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

from tests.services import until
from tests.walls import packaged

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
ANSWER_SECONDS = 30
MESSAGE_BYTES_MAX = 2**24
OPTIONS = (
    *("--headless=new", "--remote-debugging-port=0", "--no-first-run", "--disable-gpu", "--disable-dev-shm-usage"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-proxy-server"),
)


class Tab:
    """One page. What it writes to its console, and what was refused to it, is kept in `complaints`."""

    def __init__(self, wire: ClientConnection) -> None:
        self._wire, self._numbers, self._session = wire, count(1), None
        self.complaints: list[str] = []
        target = self._send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self._send(f"{domain}.enable")

    def open(self, address: str) -> None:
        self._send("Page.navigate", url=address)
        until(lambda: self.run("document.readyState") == "complete", seconds=ANSWER_SECONDS, what=f"{address} is loaded")

    def run(self, expression: str) -> Any:
        """The value of an expression in the page, as JSON holds it."""
        done = self._send("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def type(self, place: str, text: str) -> None:
        """As from a keyboard, into the field that a selector names."""
        field = f"document.querySelector({json.dumps(place)})"
        self.run(f"{field}.focus(), {field}.select()")
        self._send("Input.insertText", text=text)

    def click(self, place: str) -> None:
        self.run(f"document.querySelector({json.dumps(place)}).click()")

    def text(self, place: str) -> str:
        return str(self.run(f"document.querySelector({json.dumps(place)})?.textContent ?? ''"))

    def _send(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        session = {"sessionId": self._session} if self._session else {}
        self._wire.send(json.dumps({"id": number, "method": method, "params": parameters, **session}))
        while True:
            message = json.loads(self._wire.recv(timeout=ANSWER_SECONDS))
            if message.get("id") == number:
                assert "error" not in message, message["error"]
                return dict(message["result"])
            if message.get("method") in ("Log.entryAdded", "Runtime.exceptionThrown"):
                self.complaints.append(json.dumps(message["params"]))


@contextmanager
def browser(profile: Path) -> Iterator[Tab]:
    program = next((found for name in PROGRAMS if (found := shutil.which(name))), None) or str(packaged(PROGRAMS[0]))
    # Its own sandbox needs a user other than root; it opens pages of this test only.
    options = [*OPTIONS, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    command = [program, *options, f"--user-data-dir={profile}", "about:blank"]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ | {"HOME": str(profile)})
    try:
        told = profile / "DevToolsActivePort"
        until(lambda: told.exists() and len(told.read_text().split()) == 2, seconds=ANSWER_SECONDS, what="the browser listens")
        port, path = told.read_text().split()
        with connect(f"ws://127.0.0.1:{port}{path}", max_size=MESSAGE_BYTES_MAX, proxy=None) as wire:
            yield Tab(wire)
    finally:
        running.kill()
        running.wait(ANSWER_SECONDS)

"""A headless Chromium, spoken to by its DevTools protocol over a pair of pipes; the standard library is enough."""

import base64
import json
import os
import pathlib
import select
import shutil
import subprocess
import sys
import time
from typing import Any

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
# Chromium reads commands from descriptor 3 and writes answers to 4.
_START = """
import fcntl, os, sys
reading, writing = (fcntl.fcntl(int(n), fcntl.F_DUPFD, 10) for n in sys.argv[1:3])
os.dup2(reading, 3), os.dup2(writing, 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--mute-audio",
         "--autoplay-policy=no-user-gesture-required", "--window-size=1100,900")  # fmt: skip
SECONDS = 120  # for any one answer


class Browser:
    """One browser with one page, as a context."""

    def __init__(self, folder: pathlib.Path):
        """Starts it; profile and downloads lie in `folder`."""
        reading, self._to = os.pipe()
        self._from, writing = os.pipe()
        command = [PROGRAM, *FLAGS, f"--user-data-dir={folder / 'profile'}", "--remote-debugging-pipe", "about:blank"]
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START, str(reading), str(writing), *command], pass_fds=(reading, writing),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(reading), os.close(writing)
        self._count, self._rest, self._session, self.events = 0, b"", None, []
        self.downloads = folder / "downloads"
        self.downloads.mkdir(parents=True, exist_ok=True)
        self.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(self.downloads))
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.call("Page.enable")
        self.call("Runtime.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """The result of one command; what happens meanwhile is in `events`. Raises RuntimeError with the reason."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": params}
        os.write(
            self._to, json.dumps(message | ({"sessionId": self._session} if self._session else {})).encode() + b"\0"
        )
        while (answer := self._read()).get("id") != self._count:
            self.events.append(answer)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def open(self, path: pathlib.Path) -> None:
        """Loads a local file."""
        self.events.clear()
        self.call("Page.navigate", url=path.resolve().as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._read())

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression, awaited if it is a promise. Raises RuntimeError for what it throws."""
        found = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in found:
            raise RuntimeError(
                found["exceptionDetails"]["exception"].get("description", found["exceptionDetails"]["text"])
            )
        return found["result"].get("value")

    def wait_for(self, condition: str) -> Any:
        """Waits until a JavaScript expression is true; returns it."""
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            if value := self.run(condition):
                return value
            time.sleep(0.05)
        raise TimeoutError(f"never true: {condition}")

    def picture(self, path: pathlib.Path) -> None:
        """Writes what the page looks like as a PNG."""
        size = self.run("[document.documentElement.scrollWidth, document.documentElement.scrollHeight]")
        clip = {"x": 0, "y": 0, "width": size[0], "height": size[1], "scale": 1}
        found = self.call("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(found["data"]))

    def downloaded(self, pattern: str) -> pathlib.Path:
        """The file that the page saved, once it is whole."""
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            if found := [path for path in self.downloads.glob(pattern) if path.suffix != ".crdownload"]:
                return found[0]
            time.sleep(0.05)
        raise TimeoutError(f"nothing like {pattern} was saved, but {list(self.downloads.iterdir())}")

    def errors(self) -> list[str]:
        """What the page's scripts threw or wrote as errors and warnings since it was opened."""
        thrown = [
            e["params"]["exceptionDetails"]["text"] for e in self.events if e.get("method") == "Runtime.exceptionThrown"
        ]
        said = [e["params"] for e in self.events if e.get("method") == "Runtime.consoleAPICalled"]
        return thrown + [str(s["args"]) for s in said if s["type"] in ("error", "warning")]

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            if not select.select([self._from], [], [], SECONDS)[0]:
                raise TimeoutError("the browser does not answer")
            part = os.read(self._from, 1 << 20)
            if not part:
                raise RuntimeError(f"the browser ended, code {self._process.wait()}")
            self._rest += part
        message, self._rest = self._rest.split(b"\0", 1)
        return json.loads(message)

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *exception: object) -> None:
        os.close(self._to)  # it ends when nobody can command it
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._from)

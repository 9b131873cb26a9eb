"""A headless Chromium driven through pipes by the DevTools protocol: keys, clicks, console, requests, pictures."""

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless --no-sandbox --disable-quic --no-first-run --disable-background-networking --disable-component-update"
    " --disable-sync --disable-dev-shm-usage --remote-debugging-pipe --window-size=1400,1000"
    " --use-angle=swiftshader --enable-unsafe-swiftshader"
)
PATIENCE = 150.0  # seconds for an answer
KEYS = {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Tab": 9}
SHIFT = 8


class Page:
    """One open page. `events` are all that the browser has told of it, by method."""

    def __init__(self, reading: int, writing: int) -> None:
        self.events: list[tuple[str, dict]] = []
        self._reading, self._writing, self._rest, self._number, self._session = reading, writing, b"", 0, ""
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **parameters: Any) -> dict:
        """The browser's answer to a command; raises RuntimeError for a refusal."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        message |= {"sessionId": self._session} if self._session else {}
        os.write(self._writing, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]

    def _next(self) -> dict:
        end = time.monotonic() + PATIENCE
        while b"\0" not in self._rest:
            if not select.select([self._reading], [], [], max(0.0, end - time.monotonic()))[0]:
                raise TimeoutError("the browser is silent")
            if not (more := os.read(self._reading, 1 << 20)):
                raise RuntimeError("the browser has ended")
            self._rest += more
        first, _, self._rest = self._rest.partition(b"\0")
        message = json.loads(first)
        if "method" in message:
            self.events.append((message["method"], message["params"]))
        return message

    def open(self, address: str) -> None:
        """Loads a page to the end."""
        self.events.clear()
        self.ask("Page.navigate", url=address)
        while not any(method == "Page.loadEventFired" for method, _ in self.events):
            self._next()

    def value(self, expression: str) -> Any:
        """What an expression of JavaScript is worth in the page; a promise is waited for."""
        found = self.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def press(self, key: str, *, shift: bool = False) -> None:
        text = {"text": key} if len(key) == 1 else {}
        code = KEYS.get(key, ord(key[0].upper()))
        common = {"key": key, "windowsVirtualKeyCode": code, "modifiers": SHIFT if shift else 0}
        self.ask("Input.dispatchKeyEvent", type="keyDown", **common, **text)
        self.ask("Input.dispatchKeyEvent", type="keyUp", **common)

    def click(self, selector: str, x: float = 0.5, y: float = 0.5) -> None:
        """Presses the mouse at shares of an element's width and height."""
        place = f"document.querySelector({json.dumps(selector)})"
        box = self.value(f"({place}.scrollIntoView({{block: 'center'}}), {place}.getBoundingClientRect().toJSON())")
        at = {"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"], "button": "left", "clickCount": 1}
        for kind in ("mousePressed", "mouseReleased"):
            self.ask("Input.dispatchMouseEvent", type=kind, **at)

    def picture(self, path: Path, *, whole: bool = True) -> None:
        found = self.ask("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(found["data"]))

    def complaints(self) -> list[str]:
        """What the page has said to the console, and its uncaught errors."""
        self.value("0")  # all before it has been told
        told = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")
        return [json.dumps(what) for method, what in self.events if method in told]

    def requests(self) -> list[str]:
        """Every address that the page has asked for."""
        self.value("0")
        return [what["request"]["url"] for method, what in self.events if method == "Network.requestWillBeSent"]


@contextmanager
def browser(profile: Path) -> Iterator[Page]:
    """A page in a browser of its own, which resolves no names; it ends with the block."""
    assert BROWSER is not None
    (read_command, write_command), (read_answer, write_answer) = os.pipe(), os.pipe()
    far = [fcntl.fcntl(end, fcntl.F_DUPFD, 20) for end in (read_command, write_answer)]

    def place() -> None:
        os.dup2(far[0], 3)
        os.dup2(far[1], 4)

    command = [BROWSER, *FLAGS.split(), "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={profile}"]
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, preexec_fn=place, pass_fds=(3, 4), **quiet)
    for end in (read_command, write_answer, *far):
        os.close(end)
    try:
        yield Page(read_answer, write_command)
    finally:
        os.write(write_command, b'{"id": 0, "method": "Browser.close"}\0')
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
        os.close(write_command)
        os.close(read_answer)

"""A real browser, headless, for what only a browser can tell: whether a page shows what it should."""

import asyncio
import base64
import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

__all__ = ["look"]

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
LIMIT_S = 60.0


def look(url: str, *until: str, picture: Path, size: tuple[int, int] = (1300, 1600)) -> list[object]:
    """Open `url`, evaluate each of the JavaScript expressions `until` it is true, take a picture; returns their values.

    Skips the test where no Chromium is, fails with the page's text where an expression stays false for a minute.
    """
    program = next((found for name in NAMES if (found := shutil.which(name))), None)
    if program is None:
        pytest.skip("no Chromium here (apt-get install chromium)")
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        _started(program, Path(folder), size) as port,
    ):
        return asyncio.run(_seen(port, url, until, picture))


@contextlib.contextmanager
def _started(program: str, folder: Path, size: tuple[int, int]) -> Iterator[int]:
    """The port of its debugger; the browser and its children end with the block."""
    words = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"]
    words += [f"--user-data-dir={folder}", f"--window-size={size[0]},{size[1]}", "--remote-debugging-port=0"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    browser = subprocess.Popen([program, *words, "about:blank"], start_new_session=True, **quiet)
    try:
        file, end = folder / "DevToolsActivePort", time.monotonic() + LIMIT_S
        while not (file.exists() and file.read_text().count("\n")):
            assert browser.poll() is None and time.monotonic() < end, "Chromium does not start"
            time.sleep(0.05)
        yield int(file.read_text().split()[0])
    finally:
        os.killpg(browser.pid, signal.SIGKILL)
        browser.wait()


async def _seen(port: int, url: str, until: tuple[str, ...], picture: Path) -> list[object]:
    import aiohttp

    async with aiohttp.ClientSession() as session:
        async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
            address = next(one for one in await answer.json() if one["type"] == "page")["webSocketDebuggerUrl"]
        async with session.ws_connect(address, max_msg_size=0) as socket:
            page = _Page(socket)
            await page.ask("Page.navigate", url=url)
            values = [await page.true(expression) for expression in until]
            shot = await page.ask("Page.captureScreenshot", format="png")
    picture.write_bytes(base64.b64decode(shot["data"]))
    return values


class _Page:
    def __init__(self, socket) -> None:
        self._socket, self._number = socket, 0

    async def ask(self, method: str, **params: object) -> dict:
        self._number += 1
        await self._socket.send_json({"id": self._number, "method": method, "params": params})
        while (answer := await self._socket.receive_json()).get("id") != self._number:
            pass
        assert "error" not in answer, answer
        return answer["result"]

    async def value(self, expression: str) -> object:
        found = await self.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        return found["result"].get("value")

    async def true(self, expression: str) -> object:
        end = time.monotonic() + LIMIT_S
        while not (value := await self.value(expression)):
            if time.monotonic() > end:
                pytest.fail(f"never true: {expression}\nthe page says: {await self.value('document.body.innerText')}")
            await asyncio.sleep(0.1)
        return value

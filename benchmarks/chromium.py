"""A page in Chromium: how long until it is there, how long until it has done what is asked of it, and what it asks for.

Needs Chromium and playwright.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ABSENT = "chromium or playwright is not installed"
QUIET = (
    "--disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update "
    "--disable-sync"
)
"""What Chromium is started with, so that it asks the network for nothing."""

TIMES = """async (prepared, values, pause) => {
  const times = [];
  for (const value of values) {
    await new Promise((done) => setTimeout(done, pause));
    const act = prepared(value);
    const began = performance.now();
    act();
    await new Promise((done) => requestAnimationFrame(() => { const { port1, port2 } = new MessageChannel();
      port1.onmessage = done; port2.postMessage(0); }));  // comes after the frame has been painted
    times.push(performance.now() - began);
  }
  return times;
}"""


@contextmanager
def browser() -> Iterator[Any]:
    """Chromium, driven by playwright, for a while; None where one of them is not installed."""
    path = shutil.which("chromium")
    if path is None or importlib.util.find_spec("playwright") is None:
        yield None
        return
    api: Any = importlib.import_module("playwright.sync_api")
    with api.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=path, args=QUIET.split(), chromium_sandbox=False)
        yield started
        started.close()


def views(
    text: str, look: Callable[[Any, Callable[[], float]], dict[str, Any]], *, quick: bool = False
) -> list[dict[str, Any]]:
    """Opens a page several times, or once if `quick`.

    Args:
      text: of the page.
      look: is given the tab, and what tells the seconds since it was opened; gives what was seen, by name.
      quick: whether to measure little.

    Returns:
      What was seen each time, and the number of `requests` and `console` messages, which should be none. Nothing where
      there is no Chromium.
    """
    with tempfile.TemporaryDirectory() as folder, browser() as started:
        if started is None:
            return []
        path = Path(folder, "report.html")
        path.write_text(text, encoding="utf-8")
        return [_view(started, path, look) for _ in range(1 if quick else 5)]


def painted_ms(tab: Any, prepared: str, values: Sequence[Any], *, pause_ms: int) -> list[float]:
    """Milliseconds until a page has painted what it was made to do, for each value.

    Args:
      tab: with the page.
      prepared: a function of JavaScript: of a value, to a function that does it.
      values: for each of which it is done.
      pause_ms: milliseconds of rest before each.
    """
    return tab.evaluate(f"({TIMES})({prepared}, {json.dumps(values)}, {pause_ms})")


def _view(started: Any, path: Path, look: Callable[[Any, Callable[[], float]], dict[str, Any]]) -> dict[str, Any]:
    tab = started.new_page(viewport={"width": 1280, "height": 900})
    requests, messages = [], []
    tab.on("request", lambda request: requests.append(request.url))
    tab.on("console", lambda message: messages.append(message.text))
    tab.on("pageerror", lambda error: messages.append(str(error)))
    began = time.perf_counter()
    tab.goto(path.as_uri())
    found = look(tab, lambda: time.perf_counter() - began)
    tab.close()
    return {**found, "requests": len(requests) - 1, "console": len(messages)}

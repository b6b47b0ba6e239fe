"""What tests of pages have in common: Chromium, a page opened from disk, and text that means harm."""

from __future__ import annotations

from contextlib import contextmanager

import pytest

from rnnjax.benchmarks.chromium import ABSENT, browser

HOSTILE = (
    "<script>hacked = 1</script>",
    "</script><script>hacked = 1</script>",
    "<img src=x onerror=hacked=1>",
    "<!-- ",
    "]]>",
    '" onfocus=hacked=1 autofocus x="',
    "' onmouseover='hacked=1",
    "&lt;b&gt; &amp; &#60;",
    "`${hacked = 1}`",
    "${title} $script $$",
    "javascript:hacked=1",
    "\\u003cscript\\u003e \\\\ \\",
    "\x00\x01\x1b[31m\x7f\x85",
    "\r\n\t\v",
    "\u202egnp.exe\u202c\u2066",
    "\ud800",
    "\udfff\ud83d",
    "\u2028\u2029",
    "\ufeff\u200b\u2060",
    "Z" + "\u0317\u0334\u0301" * 40,
    "\u0301",
    "👩\u200d👩\u200d👧🏳️\u200d🌈",
    "שלום عالم",
    "w" * 3000,
    "__proto__",
)


def chromium():
    """Yields the Chromium that there is, driven by playwright; without them the test is skipped."""
    with browser() as started:
        if started is None:
            pytest.skip(ABSENT)
        yield started


@contextmanager
def opened_until(ready, browser, path, fragment="", *, width=1280, height=900, scheme="light", **options):
    """The page in a tab of its own, once `ready` is in it; it must ask for no other file and say nothing aloud."""
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme, **options)
    context.set_default_timeout(8000)
    tab = context.new_page()
    requests, messages = [], []
    tab.on("request", lambda request: requests.append(request.url))
    tab.on("console", lambda message: messages.append(message.text))
    tab.on("pageerror", lambda error: messages.append(str(error)))
    tab.goto(path.as_uri() + fragment)
    tab.wait_for_selector(ready)
    yield tab
    context.close()
    assert [request.split("#")[0] for request in requests] == [path.as_uri()]
    assert messages == []


def settled(tab):
    """Waits until all is shown and the address is kept."""
    tab.evaluate("new Promise((done) => setTimeout(done, 300))")

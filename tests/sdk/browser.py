"""A page in Chromium that loads files of ours, without a server."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from playwright.sync_api import Page, Route, sync_playwright

ORIGIN = "http://game.test"
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def executable() -> str:
    found = os.environ.get("OKLP_TEST_CHROMIUM") or next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None:
        raise AssertionError("there is no Chromium: name one in OKLP_TEST_CHROMIUM")
    return found


@contextlib.contextmanager
def open_page(files: Mapping[str, Path]) -> Iterator[Page]:
    """An empty page of ORIGIN, where `files` are to be had by their names."""

    def answer(route: Route) -> None:
        name = route.request.url.removeprefix(f"{ORIGIN}/")
        if name == "":
            route.fulfill(body="<!doctype html><title>test</title>", content_type="text/html")
        elif name in files:
            route.fulfill(path=files[name])
        else:
            route.fulfill(status=404)

    with sync_playwright() as playwright:
        # Chromium's own sandbox does not work for root, as which tests often run in containers; the page is ours.
        browser = playwright.chromium.launch(executable_path=executable(), args=["--no-sandbox"])
        try:
            page = browser.new_page()
            page.route("**/*", answer)
            page.goto(f"{ORIGIN}/")
            yield page
        finally:
            browser.close()

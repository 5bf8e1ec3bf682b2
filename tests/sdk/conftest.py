"""The stand-in platform, and a client of each kind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.sdk.stand_in import Driver, FakeTime, Kind, MakeDriver, Platform, running_platform


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-in is on this machine, whatever proxy the environment names for the outside."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def platform() -> Iterator[Platform]:
    with running_platform() as running:
        yield running


@pytest.fixture(params=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> Kind:
    chosen: Kind = request.param
    return chosen


@pytest.fixture
def fake_time() -> FakeTime:
    return FakeTime()


@pytest.fixture
def make_driver(kind: Kind, platform: Platform, fake_time: FakeTime) -> Iterator[MakeDriver]:
    made: list[Driver] = []

    def make(config: Any = None, **options: Any) -> Driver:
        driver = Driver(kind, config if config is not None else platform.config(), fake_time, **options)
        made.append(driver)
        return driver

    yield make
    for driver in made:
        driver.close()


@pytest.fixture
def driver(make_driver: MakeDriver) -> Driver:
    return make_driver()

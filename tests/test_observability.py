"""Logs keep secrets to themselves; figures count what happened."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from prometheus_client.parser import text_string_to_metric_families

from oklp import observability

Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    yield io.StringIO()
    structlog.reset_defaults()
    root.setLevel(level)
    root.handlers[:] = handlers


@pytest.fixture
def lines(stream: io.StringIO) -> Lines:
    observability.configure_logging(level="info", stream=stream)
    return lambda: [json.loads(line) for line in stream.getvalue().splitlines()]


def figure(name: str, **labels: str) -> float:
    """A sample of what /metrics shows; 0 when it is not there."""
    families = text_string_to_metric_families(observability.render_metrics().decode())
    samples = (sample for family in families for sample in family.samples)
    return next((s.value for s in samples if s.name == name and s.labels == labels), 0.0)


def test_a_line_is_one_json_object_with_its_fields(lines: Lines) -> None:
    observability.get_logger("oklp.worker").info("match.settled", match_id="aa", amount=500)
    (line,) = lines()
    assert (line["event"], line["level"], line["logger"]) == ("match.settled", "info", "oklp.worker")
    assert (line["match_id"], line["amount"]) == ("aa", 500)
    assert line["at"].endswith("Z")


def test_the_logs_of_libraries_have_the_same_shape(lines: Lines) -> None:
    logging.getLogger("uvicorn.error").warning("port %d is taken", 8000, extra={"tries": 2})
    (line,) = lines()
    assert (line["event"], line["level"], line["tries"]) == ("port 8000 is taken", "warning", 2)


def test_what_is_below_the_level_is_not_written(lines: Lines) -> None:
    observability.get_logger("oklp").debug("noise")
    logging.getLogger("uvicorn.access").info("GET /healthz 200")
    assert lines() == []


def test_configuring_again_does_not_double_the_lines(stream: io.StringIO) -> None:
    for _ in range(2):
        observability.configure_logging(stream=stream)
    observability.get_logger("oklp").info("once")
    assert len(stream.getvalue().splitlines()) == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"client_secret": "sesame"},
        {"headers": {"Authorization": "sesame", "Set-Cookie": "sesame"}},
        {"bodies": [{"nested": {"password": "sesame"}}]},
        {"match_token": "sesame"},
        {"launch_url": "https://studio.example/?token=sesame"},
        {"OKLP_SECRET_KEY": "sesame"},
        {"detail": "sent Bearer sesame1234.x and failed"},
        {"detail": "signed with whsec_sesame"},
        {"database": "postgresql://oklp:sesame@db.example/oklp"},
        {"cause": ValueError("refused: Basic sesame1234")},
        {"deep": [[[[[[[["sesame"]]]]]]]]},
    ],
)
def test_secrets_are_taken_out(lines: Lines, stream: io.StringIO, fields: dict[str, Any]) -> None:
    observability.get_logger("oklp").info("something", **fields)
    logging.getLogger("library").info("something", extra=fields)
    assert len(lines()) == 2
    assert "sesame" not in stream.getvalue()
    assert observability.REDACTED in stream.getvalue()


@pytest.mark.parametrize("console", [False, True])
def test_secrets_are_taken_out_of_tracebacks(stream: io.StringIO, console: bool) -> None:
    observability.configure_logging(stream=stream, console=console)
    local = "sesame"
    try:
        raise RuntimeError("the header was Bearer " + local * 2)
    except RuntimeError:
        observability.get_logger("oklp").exception("failed")
    assert "RuntimeError" in stream.getvalue()
    assert "sesame" not in stream.getvalue().replace('"the header was Bearer " + local', "")


def test_what_is_no_secret_stays(lines: Lines) -> None:
    fields = {"token_url": "http://127.0.0.1/token", "tokens_issued": 3, "username": "ada", "posting_key": "match:aa"}
    observability.get_logger("oklp").info("plain", **fields)
    assert fields.items() <= lines()[0].items()


def test_lines_of_a_request_carry_its_id(lines: Lines) -> None:
    offered = observability.begin_request("from-the-proxy-1")
    observability.get_logger("oklp").info("one")
    made = observability.begin_request('not"one\n')
    observability.get_logger("oklp").info("two")
    observability.request_id.set("")
    assert [line["request_id"] for line in lines()] == [offered, made] == ["from-the-proxy-1", made]
    assert made.isalnum()


def test_requests_are_counted_by_route_and_odd_methods_share_a_series() -> None:
    labels = {"route": "/test/{id}", "method": "POST"}
    before = figure("oklp_http_requests_total", status="200", **labels)
    observability.observe_http("/test/{id}", "POST", 200, 0.02)
    observability.observe_http("/test/{id}", "BREW", 405, 0.02)
    observability.observe_http("/test/{id}", "WHEN", 405, 0.02)
    assert figure("oklp_http_requests_total", status="200", **labels) == before + 1
    assert figure("oklp_http_request_duration_seconds_count", **labels) == before + 1
    assert figure("oklp_http_requests_total", route="/test/{id}", method="other", status="405") == 2


def test_a_lane_shows_its_batches_queue_and_retries() -> None:
    metrics = observability.LaneMetrics()
    metrics.batch("test", 32, 0.004)
    metrics.retried("test")
    observability.lane_queue_jobs.labels("test").set(7)
    assert figure("oklp_lane_batch_jobs_sum", lane="test") == 32
    assert figure("oklp_lane_batch_duration_seconds_count", lane="test") == 1
    assert figure("oklp_lane_queue_jobs", lane="test") == 7
    assert figure("oklp_lane_retries_total", lane="test") == 1


def test_counters_take_labels_in_order_and_amounts() -> None:
    observability.count(observability.posting_sets, "test-settle", by=3)
    observability.observe_delivery("test", "timeout", 10.0)
    assert figure("oklp_ledger_posting_sets_total", kind="test-settle") == 3
    assert figure("oklp_deliveries_total", event="test", outcome="timeout") == 1


QUEUE = """
import sys
from oklp import observability
observability.lane_queue_jobs.labels("test").set(int(sys.argv[1]))
observability.count(observability.login_failures)
print("set", flush=True)
sys.stdin.read()
"""


def test_what_an_ended_process_was_at_is_forgotten_and_what_it_counted_is_not(tmp_path: Path) -> None:
    env = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}

    def shown() -> list[str]:
        code = "from oklp import observability; print(observability.render_metrics().decode())"
        text = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True).stdout
        ours = ("oklp_lane_queue_jobs{", "oklp_login_failures_total ")
        return sorted(line for line in text.splitlines() if line.startswith(ours))

    with contextlib.ExitStack() as stack:
        processes = []
        for jobs in ("30", "4"):
            command = [sys.executable, "-c", QUEUE, jobs]
            process = subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            stack.callback(process.communicate)
            assert process.stdout is not None
            assert process.stdout.readline() == "set\n"
            processes.append(process)
        assert shown() == ['oklp_lane_queue_jobs{lane="test"} 34.0', "oklp_login_failures_total 2.0"]
        processes[0].kill()
        processes[0].wait()
        assert shown() == ['oklp_lane_queue_jobs{lane="test"} 4.0', "oklp_login_failures_total 2.0"]


def test_every_series_of_ours_is_listed_for_the_docs() -> None:
    shown = {metric.name for metric in observability.REGISTRY.collect() if metric.name.startswith("oklp_")}
    assert shown == {spec.name.removesuffix("_total") for spec in observability.metric_specs()}

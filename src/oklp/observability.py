"""What the server says about itself: JSON logs, request ids, and figures for Prometheus (contract section B5).

Logs go to standard error, one JSON object a line, or in colour on a terminal. A processor takes secrets out of every
line, whoever wrote it: values under telling names, and bearer tokens, webhook secrets and passwords of URLs anywhere in
a text. It is the last defence, not a licence to log them.

Metrics live in a registry of their own. `labels()` takes a lock and builds a key at each call, so hot code counts by
the helpers below, which keep the labelled children. Label values come from small fixed sets (a route's template, never
a path; a lane's name), so the number of series is bounded.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import re
import sys
from collections.abc import Callable, Mapping, MutableMapping
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, Any, cast

import structlog
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

# --- request ids -----------------------------------------------------------------------------------------------------

request_id: ContextVar[str] = ContextVar("request_id", default="")

_ACCEPTABLE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")


# Not a secret, so the system is not asked for randomness at each request: that would be a call that lets go of the
# interpreter, and a busy lane takes it.
_random_bits = random.Random().getrandbits


def new_request_id() -> str:
    """Sixteen hex digits, unique enough to find one request in the logs."""
    return f"{_random_bits(64):016x}"


def begin_request(offered: str | None = None) -> str:
    """Set the context's request id: the one a proxy offers (`X-Request-ID`) where it is well-formed, else a new one."""
    chosen = offered if offered and _ACCEPTABLE_ID.match(offered) else new_request_id()
    request_id.set(chosen)
    return chosen


# --- secrets never reach a log ---------------------------------------------------------------------------------------

REDACTED = "[redacted]"

_SECRET_NAMES = frozenset(
    {
        "authorization",
        "client_assertion",
        "cookie",
        "join_code",
        "launch_url",  # has a match-token in it
        "password",
        "private_key",
        "proxy_authorization",
        "secret",
        "set_cookie",
        "token",
    }
)
_SECRET_ENDINGS = ("_password", "_secret", "_secret_key", "_token", "_tokens", "secret_key")
_SECRET_TEXTS = (
    (re.compile(r"\b(Bearer|Basic)\s+[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE), rf"\1 {REDACTED}"),
    (re.compile(r"\bwhsec_[A-Za-z0-9+/=_-]+"), f"whsec_{REDACTED}"),
    (re.compile(r"\beyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*"), REDACTED),
    (re.compile(r"(\w://[^\s:/@]*):[^\s/@]+@"), rf"\1:{REDACTED}@"),
)
_DEEPEST = 6


def _is_secret(name: object) -> bool:
    key = str(name).lower().replace("-", "_")
    return key in _SECRET_NAMES or key.endswith(_SECRET_ENDINGS)


def _without_secrets(value: Any, depth: int = 0) -> Any:
    if isinstance(value, str):
        for pattern, replacement in _SECRET_TEXTS:
            value = pattern.sub(replacement, value)
        return value
    if value is None or isinstance(value, (int, float)):
        return value
    if depth >= _DEEPEST:
        return REDACTED
    if isinstance(value, Mapping):
        return {k: REDACTED if _is_secret(k) else _without_secrets(v, depth + 1) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_without_secrets(item, depth + 1) for item in value]
    # Anything else is printed by its own words, and those may quote a secret.
    return _without_secrets(str(value), depth + 1)


def redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """structlog processor: replaces values under secret names, at any depth, and secrets inside texts.

    Names that begin with an underscore are left: they are structlog's own and never printed.
    """
    for key, value in event.items():
        if not key.startswith("_"):
            event[key] = REDACTED if _is_secret(key) else _without_secrets(value)
    return event


def _add_request_id(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    if current := request_id.get():
        event.setdefault("request_id", current)
    return event


# --- logs ------------------------------------------------------------------------------------------------------------

# Whatever the level: these write a line for each request or statement, and the metrics count those already.
_QUIET = ("aiohttp.access", "alembic", "httpcore", "httpx", "uvicorn.access")


def configure_logging(*, level: str = "info", console: bool | None = None, stream: IO[str] | None = None) -> None:
    """Send the logs of this process, its libraries' too, to `stream` (standard error).

    `level` is a name of `Settings.log_level`. `console` prints for people in place of JSON; None decides by whether
    `stream` is a terminal. May be called again, and the last call counts.
    """
    stream = stream or sys.stderr
    if console is None:
        console = stream.isatty()
    threshold = logging.getLevelNamesMapping()[level.upper()]
    shared: list[structlog.types.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        _add_request_id,
        structlog.stdlib.ExtraAdder(),
    ]
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=_rendering(console, stream.isatty()))
    )
    root = logging.getLogger()
    for old in root.handlers[:]:
        if isinstance(old.formatter, structlog.stdlib.ProcessorFormatter):
            root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(threshold)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(threshold, logging.WARNING))
    for name in ("uvicorn", "uvicorn.error"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    structlog.configure(
        processors=[*shared[:-1], structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


def _rendering(console: bool, colours: bool) -> list[structlog.types.Processor]:
    """The last processors. Tracebacks become data before secrets are taken out, and show no local variables."""
    remove_meta = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    if console:
        return [
            remove_meta,
            structlog.processors.format_exc_info,
            redact,
            structlog.dev.ConsoleRenderer(colors=colours),
        ]
    tracebacks = structlog.processors.ExceptionRenderer(
        structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    )
    return [remove_meta, tracebacks, redact, structlog.processors.JSONRenderer(sort_keys=False)]


def get_logger(name: str) -> structlog.typing.FilteringBoundLogger:
    """A logger: `log.info("match.settled", match_id=…)`. Events are nouns and verbs; the rest goes into fields."""
    return cast("structlog.typing.FilteringBoundLogger", structlog.get_logger(name))


# --- metrics ---------------------------------------------------------------------------------------------------------

REGISTRY = CollectorRegistry()
disable_created_metrics()  # type: ignore[no-untyped-call] # a second series beside each, that nothing reads


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """A metric as `docs/metrics.md` lists it."""

    name: str
    kind: str
    labels: tuple[str, ...]
    help: str


_specs: list[MetricSpec] = []


def metric_specs() -> tuple[MetricSpec, ...]:
    return tuple(_specs)


def _counter(name: str, text: str, *labels: str) -> Counter:
    _specs.append(MetricSpec(name, "counter", labels, text))
    return Counter(name, text, labels, registry=REGISTRY)


def _gauge(name: str, text: str, *labels: str, mode: str) -> Gauge:
    _specs.append(MetricSpec(name, "gauge", labels, text))
    return Gauge(name, text, labels, registry=REGISTRY, multiprocess_mode=cast("Any", mode))


def _histogram(name: str, text: str, *labels: str, buckets: tuple[float, ...]) -> Histogram:
    _specs.append(MetricSpec(name, "histogram", labels, text))
    return Histogram(name, text, labels, registry=REGISTRY, buckets=buckets)


_FAST_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_DELIVERY_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_BATCH_JOBS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)

http_requests = _counter(
    "oklp_http_requests_total", "Requests answered, by the route's template.", "route", "method", "status"
)
http_request_seconds = _histogram(
    "oklp_http_request_duration_seconds",
    "From the request's head to the answer's.",
    "route",
    "method",
    buckets=_FAST_SECONDS,
)
lane_batch_jobs = _histogram(
    "oklp_lane_batch_jobs", "Jobs that shared one transaction of a lane.", "lane", buckets=_BATCH_JOBS
)
lane_batch_seconds = _histogram(
    "oklp_lane_batch_duration_seconds",
    "From a batch's first statement to the end of its commit.",
    "lane",
    buckets=_FAST_SECONDS,
)
lane_queue_jobs = _gauge("oklp_lane_queue_jobs", "Jobs that wait for a lane.", "lane", mode="livesum")
lane_retries = _counter(
    "oklp_lane_retries_total", "Batches and jobs run again after the database refused them.", "lane"
)
deliveries = _counter("oklp_deliveries_total", "Webhook attempts, by event and by how they ended.", "event", "outcome")
delivery_seconds = _histogram(
    "oklp_delivery_duration_seconds", "One webhook exchange, connecting included.", buckets=_DELIVERY_SECONDS
)
matches = _counter("oklp_matches_total", "Matches that entered a status.", "status")
result_reports = _counter(
    "oklp_result_reports_total", "Results that games reported, by what became of them.", "outcome"
)
worker_lag_seconds = _gauge(
    "oklp_worker_lag_seconds", "How long the oldest due piece of the worker's work has been due.", mode="livemax"
)
counting_lag_seconds = _gauge(
    "oklp_counting_lag_seconds",
    "How long the oldest event has waited to be counted for players' results and told to them.",
    mode="livemax",
)
posting_sets = _counter("oklp_ledger_posting_sets_total", "Posting sets written to the ledger, by kind.", "kind")
login_failures = _counter("oklp_login_failures_total", "Log-ins refused for a wrong name or password.")
mails = _counter("oklp_mails_total", "Attempts to send a mail, by outcome.", "outcome")

ProcessCollector(registry=REGISTRY)


@cache
def _counting(metric: Counter, labels: tuple[str, ...]) -> Callable[[float], None]:
    return (metric.labels(*labels) if labels else metric).inc


def count(metric: Counter, *labels: str, by: float = 1) -> None:
    """Add to a counter; `labels` in the order of its definition."""
    _counting(metric, labels)(by)


@cache
def _http(route: str, method: str, status: int) -> tuple[Callable[[], None], Callable[[float], None]]:
    return (
        http_requests.labels(route, method, str(status)).inc,
        http_request_seconds.labels(route, method).observe,
    )


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def observe_http(route: str, method: str, status: int, seconds: float) -> None:
    """Count one answer. `route` is the template that matched, or a fixed word where none did."""
    add, observe = _http(route, method if method in _METHODS else "other", status)
    add()
    observe(seconds)


@cache
def _lane(lane: str) -> tuple[Callable[[float], None], Callable[[float], None]]:
    return lane_batch_jobs.labels(lane).observe, lane_batch_seconds.labels(lane).observe


class LaneMetrics:
    """What `storage.lanes` tells of its batches, as figures; `size` in jobs."""

    def batch(self, lane: str, size: int, seconds: float) -> None:
        observe_jobs, observe_seconds = _lane(lane)
        observe_jobs(size)
        observe_seconds(seconds)

    def retried(self, lane: str) -> None:
        count(lane_retries, lane)


def observe_delivery(event: str, outcome: str, seconds: float) -> None:
    """Count one webhook attempt; `outcome` is a word of the sender's (`delivered`, `status`, `timeout`, …)."""
    _counting(deliveries, (event, outcome))(1)
    delivery_seconds.observe(seconds)


def count_mail(outcome: str) -> None:
    """Count one attempt to send a mail: `sent`, `retried` or `failed`."""
    count(mails, outcome)


def render_metrics() -> bytes:
    """The figures in Prometheus' text format.

    With several processes behind one address, each would show its own share. Where the environment names a
    `PROMETHEUS_MULTIPROC_DIR` (it must, before this module is imported), all processes' files there are summed. What a
    process was at when it ended is forgotten; what it has counted is not.
    """
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if not folder:
        return generate_latest(REGISTRY)
    for process in {int(path.stem.rpartition("_")[2]) for path in Path(folder).glob("gauge_live*_*.db")}:
        if not _is_there(process):
            with contextlib.suppress(FileNotFoundError):  # another process is at it as well
                mark_process_dead(process, folder)  # type: ignore[no-untyped-call]
    everyone = CollectorRegistry()
    MultiProcessCollector(everyone)  # type: ignore[no-untyped-call]
    return generate_latest(everyone)


def _is_there(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it is somebody else's
        pass
    return True

"""The daemon's metrics as Prometheus' own parser reads them, and the files that name them."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

import ringfence as rf
from conftest import eventually
from ringfence.testing import PrivateDaemon, private_daemon

ROOT = Path(__file__).resolve().parents[2]
ALERTS = ROOT / "systemd" / "alerts.yml"
DASHBOARD = ROOT / "docs" / "grafana.json"
OPERATIONS = ROOT / "docs" / "operations.md"

# Every method whose overhead is judged needs some 250 calls a window.
CALLS = 300


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=30)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Exporter:
    """A daemon with the engine `trial`, and where it serves its metrics."""

    def __init__(self, daemon: PrivateDaemon, path: Path) -> None:
        self.daemon = daemon
        self.path = path

    def families(self) -> dict[str, Metric]:
        connection = UnixConnection(self.path)
        connection.request("GET", "/metrics")
        response = connection.getresponse()
        assert response.status == 200
        assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        text = response.read().decode()
        connection.close()
        # Prometheus' parser gives counters without their `_total`.
        return {family.name: family for family in text_string_to_metric_families(text)}

    def value(self, name: str, **labels: str) -> float | None:
        for family in self.families().values():
            for sample in family.samples:
                if sample.name == name and sample.labels == labels:
                    return float(sample.value)
        return None

    def overhead(self, method: str) -> float | None:
        return self.value("ringfence_overhead_ratio", engine="trial", method=method)


@contextmanager
def exporting() -> Iterator[Exporter]:
    for build in ("release", "debug"):
        binary = ROOT / "target" / build / "examples" / "testd"
        if os.access(binary, os.X_OK):
            break
    else:
        pytest.skip("not built: cargo build -p ringfenced --example testd")
    with tempfile.TemporaryDirectory(prefix="rf-") as folder:
        path, config = Path(folder, "metrics.sock"), Path(folder, "ringfence.toml")
        config.write_text(f'[metrics]\nlisten = "{path}"\noverhead_window_ms = 1000\n')
        with private_daemon(binary, ["--config", str(config)]) as daemon:
            yield Exporter(daemon, path)
        assert not path.exists()


@pytest.fixture(scope="module")
def exporter() -> Iterator[Exporter]:
    """One that has been used enough for every metric to have a value."""
    with exporting() as running, running.daemon.connect() as client:
        trial = client.engine("trial")

        def used() -> bool:
            for _ in range(CALLS):
                trial.burn(value=100)
            return running.overhead("burn") is not None

        eventually(used, "the overhead of a method is known")
        yield running


def table() -> dict[str, str]:
    """Names and types, as docs/operations.md has them."""
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \|", OPERATIONS.read_text(), re.MULTILINE)
    return dict(rows)


def test_the_documentation_has_every_metric_with_its_type(exporter: Exporter) -> None:
    exported = {
        family.name + "_total" * (family.type == "counter"): family.type
        for family in exporter.families().values()
    }
    assert exported == table()
    assert all(family.documentation for family in exporter.families().values())


def test_the_numbers_are_those_of_the_calls(exporter: Exporter) -> None:
    with exporter.daemon.connect() as client:
        before = exporter.value("ringfence_calls_total", engine="system", method="echo") or 0
        for _ in range(640):
            client.echo(b"0123456789")
        labels = {"engine": "system", "method": "echo"}
        eventually(
            lambda: exporter.value("ringfence_calls_total", **labels) == before + 640,
            "640 calls are counted",
        )
    families = exporter.families()
    [resident] = families["memory_usage_mb"].samples
    assert 1 < resident.value < 10_000
    [build] = families["ringfence_build_info"].samples
    assert build.labels["daemon"] == exporter.daemon.instance
    assert exporter.value("ffi_call_duration_seconds_count") is not None


def test_a_histogram_is_one(exporter: Exporter) -> None:
    samples = exporter.families()["ringfence_service_seconds"].samples
    burn = [sample for sample in samples if sample.labels["method"] == "burn"]
    buckets = [s for s in burn if s.name.endswith("_bucket")]
    bounds = [float(s.labels["le"]) for s in buckets]
    counts = [s.value for s in buckets]
    assert bounds == sorted(bounds) and bounds[-1] == float("inf")
    assert counts == sorted(counts)
    [total] = [s.value for s in burn if s.name.endswith("_count")]
    assert counts[-1] == total > 0
    # It burns 100 us, and never less.
    assert [c for b, c in zip(bounds, counts) if b < 100e-6][-1] == 0


KEYWORDS = {"and", "or", "unless", "on", "ignoring", "group_left", "group_right", "bool", "offset"}


def metrics_of(expression: str) -> set[str]:
    """The metrics that a PromQL expression names: what is no function, keyword, label or number."""
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]|\"[^\"]*\"", "", expression)
    bare = re.sub(r"\b(?:by|without|on|ignoring)\s*\([^)]*\)", "", bare)
    words = re.findall(r"(?<![\w.$])([a-zA-Z_:][\w:]*)\b(?!\s*\()", bare)
    return set(words) - KEYWORDS


def test_the_finder_of_names_finds_them() -> None:
    found = metrics_of(
        'sum by (a, b) (rate(x_total{job="y", le!="z"}[5m])) / 1e6 > 2 * q and on (c) r_sum'
    )
    assert found == {"x_total", "q", "r_sum"}


def exported(exporter: Exporter) -> set[str]:
    families = exporter.families().values()
    return {sample.name for family in families for sample in family.samples}


def test_alerts_are_rules_over_metrics_that_there_are(exporter: Exporter) -> None:
    [group] = yaml.safe_load(ALERTS.read_text())["groups"]
    names = exported(exporter) | {"up"}
    alerts: list[dict[str, Any]] = group["rules"]
    assert len({rule["alert"] for rule in alerts}) == len(alerts) > 5
    for rule in alerts:
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert set(rule["annotations"]) == {"summary", "description"}
        used = metrics_of(rule["expr"])
        assert used and used <= names, f"{rule['alert']}: {used - names}"


def test_the_dashboard_shows_metrics_that_there_are(exporter: Exporter) -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    names, used = exported(exporter), set[str]()
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            in_target = metrics_of(target["expr"])
            assert in_target and in_target <= names, f"{panel['title']}: {in_target - names}"
            used |= in_target
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    # What nobody looks at need not be exported.
    stems = {re.sub(r"_(sum|count|bucket)$", "", name) for name in used}
    shown = {name for name in table() if name in stems}
    assert shown == set(table())


def hold_the_interpreter(stop: threading.Event) -> None:
    while not stop.is_set():
        sum(range(1000))


def test_overhead_rises_while_another_thread_computes_and_falls_when_it_ends() -> None:
    with exporting() as exporter, exporter.daemon.connect() as client:
        trial = client.engine("trial")
        stop = threading.Event()
        hog = threading.Thread(target=hold_the_interpreter, args=[stop])
        hog.start()
        try:
            # Each call waits for the hog's turn to end after its answer.
            deadline = time.monotonic() + 60
            while (exporter.overhead("nap") or 0) < 0.3:
                for _ in range(32):
                    trial.nap(value=1)
                assert time.monotonic() < deadline
        finally:
            stop.set()
            hog.join()
        waits = exporter.value("python_gil_acquisition_seconds_count")
        waited = exporter.value("python_gil_acquisition_seconds_sum")
        calls = exporter.value("ffi_call_duration_seconds_sum")
        assert waits and waited and calls and waited < calls
        # Half of the interpreter's switch interval is less than what a hog makes one wait.
        assert waited / waits > sys.getswitchinterval() / 2
        high = exporter.overhead("nap")
        assert high is not None
        warning = "% of the time of trial.nap is not its engine's"
        eventually(lambda: warning in exporter.daemon.log.read_text(), "it is warned of")
        deadline = time.monotonic() + 60
        while (exporter.overhead("nap") or 1) > min(0.15, high / 2):
            for _ in range(32):
                trial.nap(value=10)
            assert time.monotonic() < deadline, exporter.overhead("nap")

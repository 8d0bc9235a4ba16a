"""Without an SDK there is nothing: no import, no span, next to no cost. With one configured late, there is."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest
from listening import Script, listening
from opentelemetry import metrics, trace
from opentelemetry.metrics import _internal as metrics_internal

from ascend_guard import governed, telemetry
from ascend_guard.model import AgentAction

ACTION = AgentAction("agent", "Agent", "read", "rows", "database")

CALLS = """
import sys
from ascend_guard import governed
from ascend_guard.testing import ScriptedControlPlane

plane = ScriptedControlPlane()
plane.approve("read")

@governed("read", control_plane=plane)
def outer(value):
    return list(inner(value))

@governed("read", control_plane=plane)
def inner(value):
    yield value

assert outer(3) == [3]
try:
    governed("write", control_plane=plane)(outer.__wrapped__)(3)
except PermissionError:
    pass
else:
    raise AssertionError("not denied")
"""


def run(program: str) -> str:
    """Run a program in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_nothing_is_imported_while_nobody_listens() -> None:
    """Governed calls load no part of OpenTelemetry, and not the half of this package that uses it."""
    run(f"""{CALLS}
loaded = [name for name in sys.modules if name.startswith("opentelemetry")]
assert not loaded, loaded
assert "ascend_guard.telemetry.observer" not in sys.modules
""")


def test_it_works_where_opentelemetry_is_not_installed() -> None:
    """An import blocker stands for an environment without it."""
    run(f"""
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "opentelemetry":
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Blocker())
{CALLS}
try:
    import opentelemetry
except ModuleNotFoundError:
    pass
else:
    raise AssertionError("the blocker does not block")
""")


def test_the_api_alone_makes_no_observer() -> None:
    """Frameworks import the API without anybody listening."""
    run(f"""
import opentelemetry.metrics, opentelemetry.trace
{CALLS}
assert "ascend_guard.telemetry.observer" not in sys.modules
assert not any(name.startswith("opentelemetry.sdk") for name in sys.modules)
""")


def test_a_disabled_sdk_makes_no_observer() -> None:
    """``OTEL_SDK_DISABLED`` leaves providers that throw everything away."""
    run(f"""
import os
os.environ["OTEL_SDK_DISABLED"] = "true"
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider
trace.set_tracer_provider(TracerProvider())
metrics.set_meter_provider(MeterProvider())
{CALLS}
from ascend_guard import telemetry
assert telemetry.observe(plane.asked[0]) is None
""")


def test_the_public_setters_turn_it_on_between_two_calls() -> None:
    """What is set after the first governed call is heard from the next one on."""
    out = run(f"""{CALLS}
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)
outer(4)
print(sorted(span.name for span in exporter.get_finished_spans() if span.name.startswith("execute_tool")))
""")
    assert out.strip() == "['execute_tool inner', 'execute_tool outer']"


def test_providers_are_looked_up_on_every_call() -> None:
    """One set later is seen, one replaced is not used any more, one taken away is forgotten."""

    @governed("read", "database", control_plane=Script())
    def read() -> None: ...

    read()
    with listening() as first:
        read()
        with listening() as second:
            read()
            read()
        read()
    read()
    assert len(first.spans("execute_tool database")) == 2
    assert len(second.spans("execute_tool database")) == 2
    assert telemetry.observe(ACTION) is None


def test_providers_that_throw_everything_away_count_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """The API's own no-op providers, set on purpose, are nobody."""
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", trace.NoOpTracerProvider())
    monkeypatch.setattr(metrics_internal, "_METER_PROVIDER", metrics.NoOpMeterProvider())
    assert telemetry.observe(ACTION) is None


def test_it_survives_an_api_that_keeps_its_providers_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fast look at the API's globals falls back to its public getters."""
    with listening() as heard:
        tracers = trace._TRACER_PROVIDER
        monkeypatch.delattr(trace, "_TRACER_PROVIDER")
        monkeypatch.delattr(metrics_internal, "_METER_PROVIDER")
        monkeypatch.setattr(trace, "get_tracer_provider", lambda: tracers)
        monkeypatch.setattr(metrics, "get_meter_provider", lambda: heard.meters)
        assert telemetry.observe(ACTION) is not None
        monkeypatch.setattr(trace, "get_tracer_provider", lambda: trace._PROXY_TRACER_PROVIDER)
        monkeypatch.setattr(metrics, "get_meter_provider", lambda: metrics_internal._PROXY_METER_PROVIDER)
        assert telemetry.observe(ACTION) is None
        monkeypatch.undo()


def test_the_fast_look_fits_the_installed_api() -> None:
    """If these names go, every call takes the slow way: remedy ``observe``."""
    assert hasattr(trace, "_TRACER_PROVIDER")
    assert hasattr(metrics_internal, "_METER_PROVIDER")

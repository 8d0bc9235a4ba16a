"""Governed calls in OpenTelemetry: spans and metrics on the console.

Run it from anywhere, with the SDK (``pip install 'ascend-guard[otel]'``)::

    python examples/telemetry.py

ascend-guard needs no switch for it: it uses the SDK that the process has configured. In production this is your
OTLP exporter, or ``opentelemetry-instrument``; here it is the console, with one line for each span and measurement.
"""

import sys
import tempfile
from pathlib import Path

from opentelemetry import metrics, trace

try:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import (
        ConsoleMetricExporter,
        MetricsData,
        PeriodicExportingMetricReader,
    )
    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
    from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor
except ModuleNotFoundError as error:
    sys.exit(f"This needs {error.name}. Install it: pip install 'ascend-guard[otel]'")

import ascend_guard
from ascend_guard import AuthorizationDeniedError, EmbeddedControlPlane, governed

POLICY = """\
version: 1
default: deny
rules:
  - name: cancellations
    actions: [order_cancel]
    tools: [orders]
    when: |
      args.amount > 0 && args.amount <= 1000 && risk.score < 70 && args.order_id.matches("^[0-9]{1,9}$")
      && args.all(name, name in ["order_id", "amount"])
    effect: allow
  - name: small-refunds
    actions: [refund]
    tools: [payments]
    when: |
      args.amount > 0 && args.amount <= 100 && risk.score < 70
      && args.order_id.matches("^[0-9]{1,9}$") && args.all(name, name in ["order_id", "amount"])
    effect: allow
"""


@governed("refund", "payments", resource="orders/{order_id}")
def refund(order_id: str, amount: float) -> str:
    """Makes a span ``execute_tool payments``."""
    return f"refunded {amount:.2f}"


@governed("order_cancel", "orders", resource="orders/{order_id}")
def cancel(order_id: str, amount: float) -> str:
    """Makes a span ``execute_tool orders``; the refund inside it is its child, whatever its outcome."""
    return refund(order_id, amount)


def describe_span(span: ReadableSpan) -> str:
    """Return one line: the span, its parent, its result. It never contains the order's number or the amount."""
    assert span.context is not None
    told = {name.removeprefix("ascend."): value for name, value in (span.attributes or {}).items()}
    kept = ("decision", "policy.rule", "risk.level", "outcome", "orchestration.depth", "error.type")
    parent = f"{span.parent.span_id:x}"[:4] if span.parent else "-"
    facts = "  ".join(f"{name}={told[name]}" for name in kept if name in told)
    return f"  {span.context.span_id:016x}"[:6] + f"  in {parent:4}  {span.name:22}  {facts}\n"


def describe_metrics(data: MetricsData) -> str:
    """Return one line for each series."""
    lines = []
    for resource in data.resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                for point in metric.data.data_points:
                    times = getattr(point, "value", None) or getattr(point, "count", 0)
                    facts = "  ".join(f"{name}={told!s}" for name, told in (point.attributes or {}).items())
                    lines.append(f"  {metric.name:29} {times} x  {facts}\n")
    return "".join(lines)


def main(folder: Path) -> None:
    tracers = TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter(formatter=describe_span)))
    trace.set_tracer_provider(tracers)
    exporter = ConsoleMetricExporter(formatter=describe_metrics)
    metrics.set_meter_provider(MeterProvider([PeriodicExportingMetricReader(exporter)]))

    (folder / "policy.yaml").write_text(POLICY)
    plane = ascend_guard.configure(
        policy=folder / "policy.yaml", database_url=f"sqlite:///{folder}/ascend.db", agent_id="support"
    )
    assert isinstance(plane, EmbeddedControlPlane)

    print("Allowed, and so is the refund inside it; spans appear as they end, children first:")
    cancel("7731", amount=40.0)

    print("Allowed, but the refund inside it is not, so both spans are errors:")
    try:
        cancel("7764", amount=940.0)
    except AuthorizationDeniedError as error:
        print("  the agent reads:", error)

    print("What was measured:")
    metrics.get_meter_provider().shutdown()  # type: ignore[attr-defined]
    plane.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        main(Path(temporary))

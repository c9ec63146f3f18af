"""Powertools (logger, metrics, tracer by X-Ray's datagrams) and OpenTelemetry with its exporter's own thread."""

from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

logger, metrics, tracer = Logger(), Metrics(), Tracer()
provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter("http://collector.example:4318/v1/traces", timeout=5)))
trace.set_tracer_provider(provider)
spans = trace.get_tracer("shop")


@logger.inject_lambda_context
@tracer.capture_lambda_handler
@metrics.log_metrics(capture_cold_start_metric=True)
def handler(event, context: LambdaContext):
    with spans.start_as_current_span("order") as span:
        span.set_attribute("id", 3)
        metrics.add_metric("orders", MetricUnit.Count, 1)
        logger.info("order taken")
    return {"recording": span.get_span_context().is_valid, "flushed": provider.force_flush(5000)}

from opentelemetry import trace


def handler(event, context):
    span = trace.get_current_span().get_span_context()
    return {"traced": span.is_valid, "provider": type(trace.get_tracer_provider()).__name__}

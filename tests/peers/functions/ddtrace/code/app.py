import ddtrace.auto  # noqa: F401
import ddtrace.profiling.auto  # noqa: F401
from ddtrace import tracer


@tracer.wrap()
def work():
    # Long enough for the profiler to take samples.
    return sum(i * i for i in range(400_000))


def handler(event, context):
    return {"sum": work(), "traced": tracer.enabled}

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit

logger = Logger()
metrics = Metrics()


@metrics.log_metrics(capture_cold_start_metric=True)
@logger.inject_lambda_context
def handler(event, context):
    logger.info("a line with the context")
    metrics.add_metric(name="calls", unit=MetricUnit.Count, value=1)
    return {"name": context.function_name}

"""Errors, logs and traces that the SDK's own thread sends to a collector."""

import time

import sentry_sdk
from sentry_sdk.integrations.aws_lambda import AwsLambdaIntegration

sentry_sdk.init(
    dsn="https://key@collector.example/1", integrations=[AwsLambdaIntegration(timeout_warning=True)], traces_sample_rate=1.0,
    send_default_pii=True,
)


def handler(event, context):
    began = time.monotonic()
    try:
        1 / 0
    except ZeroDivisionError as error:
        known = sentry_sdk.capture_exception(error)
    sentry_sdk.flush(timeout=5)
    return [len(known), time.monotonic() - began < 4]

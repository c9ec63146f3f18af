"""Segments that go to X-Ray's daemon as datagrams."""

import os

from aws_xray_sdk.core import patch_all, xray_recorder

patch_all()


@xray_recorder.capture("work")
def work(event):
    with xray_recorder.in_subsegment("inner") as inner:
        inner.put_annotation("number", event.get("number", 0))
    return "done"


def handler(event, context):
    # The local Lambda samples nothing.
    os.environ["_X_AMZN_TRACE_ID"] = os.environ["_X_AMZN_TRACE_ID"].replace("Sampled=0", "Sampled=1")
    return work(event)

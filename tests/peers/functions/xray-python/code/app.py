"""Segments that go to X-Ray's daemon as datagrams."""

import urllib.request

from aws_xray_sdk.core import patch_all, xray_recorder

patch_all()


@xray_recorder.capture("work")
def work(event):
    with xray_recorder.in_subsegment("inner") as inner:
        inner.put_annotation("number", event.get("number", 0))
    return "done"


def handler(event, context):
    return work(event)

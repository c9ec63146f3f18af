"""Two services that the policy allows, and one that it does not: its client gives up as without the layer."""

import time

import boto3
from botocore.config import Config

s3 = boto3.client("s3")
dynamodb = boto3.client("dynamodb")
refused = [boto3.client("sns", config=Config(retries={"mode": mode, "max_attempts": 3})) for mode in ("legacy", "standard", "adaptive")]


def publish(client):
    try:
        client.publish(TopicArn="arn:aws:sns:eu-west-1:123456789012:t", Message="m")
    except Exception as error:
        return type(error).__name__


def handler(event, context):
    began = time.monotonic()
    item = dynamodb.get_item(TableName="notes", Key={"id": {"S": "1"}})["Item"]
    letter = s3.get_object(Bucket="documents", Key="letter.txt")["Body"].read().decode()
    url = s3.generate_presigned_url("get_object", {"Bucket": "documents", "Key": "x"}).split("?")[0]
    own = boto3.Session().get_credentials().get_frozen_credentials()
    return [item, letter, url, bool(own.secret_key), [publish(client) for client in refused] if event.get("refused") else [],
            time.monotonic() - began < 25]

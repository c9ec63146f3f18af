"""Records each conversion in DynamoDB, for the bill."""

import boto3
from botocore.config import Config

TABLE = "conversions"

client = boto3.client(
    "dynamodb",
    config=Config(connect_timeout=3, read_timeout=3, retries={"max_attempts": 1}),
)


def add(job, name, size):
    item = {"job": {"S": job}, "name": {"S": name}, "size": {"N": str(size)}}
    response = client.put_item(TableName=TABLE, Item=item)
    return response["ResponseMetadata"]["HTTPStatusCode"] == 200

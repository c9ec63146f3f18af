"""S3 and DynamoDB through boto3, clients made at import as is usual, and a thread pool on top."""

from concurrent.futures import ThreadPoolExecutor

import boto3

s3 = boto3.client("s3")
table = boto3.resource("dynamodb").Table("notes")


def letter(_):
    return s3.get_object(Bucket="documents", Key="letter.txt")["Body"].read().decode()


def handler(event, context):
    table.put_item(Item={"id": "1", "note": "kept"})
    with ThreadPoolExecutor(8) as pool:
        letters = list(pool.map(letter, range(16)))
    s3.download_file("documents", "letter.txt", "/tmp/letter.txt")
    with open("/tmp/letter.txt") as file:
        return {"item": table.get_item(Key={"id": "1"})["Item"], "letters": letters, "file": file.read(),
                "signed": s3.generate_presigned_url("get_object", {"Bucket": "documents", "Key": "x"}).split("?")[0]}

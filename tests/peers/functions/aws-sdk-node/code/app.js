// Two services that the policy allows, and one that it does not: its client gives up as without the layer.
const { S3Client, GetObjectCommand } = require('@aws-sdk/client-s3');
const { DynamoDBClient, GetItemCommand } = require('@aws-sdk/client-dynamodb');
const { SNSClient, PublishCommand } = require('@aws-sdk/client-sns');
const s3 = new S3Client(), dynamodb = new DynamoDBClient(), sns = new SNSClient();
exports.handler = async (event) => {
  const began = Date.now();
  const { Item } = await dynamodb.send(new GetItemCommand({ TableName: 'notes', Key: { id: { S: '1' } } }));
  const { Body } = await s3.send(new GetObjectCommand({ Bucket: 'documents', Key: 'letter.txt' }));
  const letter = await Body.transformToString();
  const own = await s3.config.credentials();
  let refused = null;
  if (event.refused) {
    refused = await sns.send(new PublishCommand({ TopicArn: 'arn:aws:sns:eu-west-1:123456789012:t', Message: 'm' })).catch((error) => error.code ?? error.name);
  }
  return [Item, letter, own.secretAccessKey.length > 0, refused, Date.now() - began < 25000];
};

package peer;

import java.net.URI;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import software.amazon.awssdk.auth.credentials.AwsCredentials;
import software.amazon.awssdk.auth.credentials.DefaultCredentialsProvider;
import software.amazon.awssdk.core.exception.SdkClientException;
import software.amazon.awssdk.services.dynamodb.DynamoDbClient;
import software.amazon.awssdk.services.dynamodb.model.AttributeValue;
import software.amazon.awssdk.services.s3.S3Client;
import software.amazon.awssdk.services.sns.SnsClient;

/** Two services that the policy allows, and one that it does not: its client gives up as without the layer. */
public final class Handler {
  private static final DynamoDbClient TABLE = DynamoDbClient.builder().endpointOverride(at("dynamodb")).build();
  private static final S3Client DOCUMENTS = S3Client.builder().endpointOverride(at("s3")).build();
  private static final SnsClient TOPICS = SnsClient.builder().endpointOverride(at("sns")).build();

  private static URI at(String service) {
    return URI.create("http://" + service + ".eu-west-1.amazonaws.com");
  }

  public List<Object> handle(Map<String, Object> event) {
    long began = System.nanoTime();
    List<Object> answer = new ArrayList<>();
    Map<String, AttributeValue> key = Map.of("id", AttributeValue.fromS("1"));
    answer.add(TABLE.getItem(request -> request.tableName("notes").key(key)).item().get("note").s());
    answer.add(DOCUMENTS.getObjectAsBytes(request -> request.bucket("documents").key("letter.txt")).asUtf8String());
    AwsCredentials own = DefaultCredentialsProvider.create().resolveCredentials();
    answer.add(!own.secretAccessKey().isEmpty());
    if (event.containsKey("refused")) {
      answer.add(refused());
    }
    answer.add(System.nanoTime() - began < 25_000_000_000L);
    return answer;
  }

  private static String refused() {
    try {
      TOPICS.publish(request -> request.topicArn("arn:aws:sns:eu-west-1:123456789012:t").message("m"));
      return "published";
    } catch (SdkClientException error) {
      Throwable cause = error;
      while (cause.getCause() != null) {
        cause = cause.getCause();
      }
      return cause.getClass().getName();
    }
  }
}

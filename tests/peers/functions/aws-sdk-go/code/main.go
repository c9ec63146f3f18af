// Two services that the policy allows, and one that it does not: its client gives up as without the layer.
package main

import (
	"context"
	"errors"
	"io"
	"net"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sns"
)

type event struct{ Refused bool }

func main() {
	configuration, err := config.LoadDefaultConfig(context.Background())
	if err != nil {
		panic(err)
	}
	documents, table, topics := s3.NewFromConfig(configuration), dynamodb.NewFromConfig(configuration), sns.NewFromConfig(configuration)
	lambda.Start(func(ctx context.Context, event event) ([]any, error) {
		began := time.Now()
		item, err := table.GetItem(ctx, &dynamodb.GetItemInput{TableName: aws.String("notes"), Key: map[string]types.AttributeValue{"id": &types.AttributeValueMemberS{Value: "1"}}})
		if err != nil {
			return nil, err
		}
		letter, err := documents.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String("documents"), Key: aws.String("letter.txt")})
		if err != nil {
			return nil, err
		}
		text, err := io.ReadAll(letter.Body)
		if err != nil {
			return nil, err
		}
		refused := ""
		if event.Refused {
			_, err = topics.Publish(ctx, &sns.PublishInput{TopicArn: aws.String("arn:aws:sns:eu-west-1:123456789012:t"), Message: aws.String("m")})
			var unknown *net.DNSError
			if errors.As(err, &unknown) && unknown.IsNotFound {
				refused = "not found"
			} else if err != nil {
				refused = "another error"
			}
		}
		return []any{len(item.Item), string(text), refused, time.Since(began) < 25*time.Second}, nil
	})
}

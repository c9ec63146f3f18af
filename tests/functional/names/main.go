// Looks a name up with Go's own resolver. Serves one event after another.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
)

func main() {
	api := "http://" + os.Getenv("AWS_LAMBDA_RUNTIME_API") + "/2018-06-01/runtime/invocation/"
	for {
		next, err := http.Get(api + "next")
		if err != nil {
			os.Exit(1)
		}
		request := next.Header.Get("Lambda-Runtime-Aws-Request-Id")
		next.Body.Close()
		resolver := &net.Resolver{PreferGo: true}
		_, err = resolver.LookupHost(context.Background(), "evil.example")
		var refused *net.DNSError
		final := errors.As(err, &refused) && refused.IsNotFound && !refused.IsTemporary
		answer, err := http.Post(api+request+"/response", "application/json", strings.NewReader(fmt.Sprintf(`{"final":%t}`, final)))
		if err == nil {
			answer.Body.Close()
		}
	}
}

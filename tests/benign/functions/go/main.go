// A static Go program: no libc, so no library of the layer can be in it.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"

	"github.com/aws/aws-lambda-go/lambda"
)

func handle() (map[string]any, error) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.URL.Path) }))
	defer server.Close()
	answers := make([]string, 64)
	var group sync.WaitGroup
	for number := range answers {
		group.Add(1)
		go func(number int) {
			defer group.Done()
			answer, err := http.Get(fmt.Sprintf("%s/%d", server.URL, number))
			if err != nil {
				answers[number] = err.Error()
				return
			}
			defer answer.Body.Close()
			text, _ := io.ReadAll(answer.Body)
			answers[number] = string(text)
		}(number)
	}
	group.Wait()
	if err := os.WriteFile("/tmp/go.txt", []byte("text"), 0o600); err != nil {
		return nil, err
	}
	_, err := net.Dial("unix", "/tmp/none.sock")
	return map[string]any{"answers": answers, "unix": fmt.Sprint(err)}, nil
}

func main() { lambda.Start(handle) }

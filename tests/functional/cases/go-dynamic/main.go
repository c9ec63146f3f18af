// A function without AWS's library, linked dynamically: its own calls do not go through libc all the same.
package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/user"
)

func main() {
	// What links it to libc.
	_, _ = user.Current()
	api := "http://" + os.Getenv("AWS_LAMBDA_RUNTIME_API") + "/2018-06-01/runtime/invocation/"
	for {
		event, err := http.Get(api + "next")
		if err != nil {
			panic(err)
		}
		io.ReadAll(event.Body)
		event.Body.Close()
		id := event.Header.Get("Lambda-Runtime-Aws-Request-Id")
		_, execed := exec.Command("/usr/bin/sleep", "0.3").Output()
		_, read := os.ReadFile("/proc/self/environ")
		answer := fmt.Sprintf(`{"exec": %t, "environ": %t}`, execed == nil, read == nil)
		sent, err := http.Post(api+id+"/response", "application/json", bytes.NewBufferString(answer))
		if err == nil {
			io.ReadAll(sent.Body)
			sent.Body.Close()
		}
	}
}

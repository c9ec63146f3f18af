# A runtime client and a function in one: tries what the policy forbids, and what it allows.
require "json"
require "net/http"
require "socket"

def attempt
  yield
  "done"
rescue SystemCallError, SocketError => fault
  fault.class.name
end

ATTEMPTS = {
  "shell" => -> { system("/bin/sh", "-c", "id", exception: true, out: File::NULL) },
  "spawn" => -> { `/bin/sh -c id` },
  "connect" => -> { TCPSocket.new("203.0.113.9", 4444) },
  "datagram" => -> { UDPSocket.new.send("x", 0, "203.0.113.9", 53) },
  "environ" => -> { File.read("/proc/self/environ") },
  "secret" => -> { ENV["AWS_SECRET_ACCESS_KEY"].length },
  "file" => -> { File.write("/tmp/allowed", "x") },
}.freeze

host, port = ENV["AWS_LAMBDA_RUNTIME_API"].split(":")
Net::HTTP.start(host, port.to_i, nil, read_timeout: nil) do |http|
  loop do
    event = http.get("/2018-06-01/runtime/invocation/next")
    answer = ATTEMPTS.transform_values { |work| attempt(&work) }
    http.post("/2018-06-01/runtime/invocation/#{event["Lambda-Runtime-Aws-Request-Id"]}/response", JSON.generate(answer))
  end
end

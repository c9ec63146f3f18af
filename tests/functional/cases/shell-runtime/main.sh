#!/bin/bash
# A runtime written in shell: it asks and answers by curl.
base="http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime/invocation"
while true; do
  answer=$(curl -sS -i "$base/next" | tr -d '\r')
  id=$(sed -n 's/^lambda-runtime-aws-request-id: //Ip' <<<"$answer")
  event=${answer##*$'\n'}
  case $event in
    *steal*) bash -c "curl -sS -m 2 -X POST '$base/$id/response' -d '{\"stolen\": true}'; true" >/dev/null ;;
    *python*) /usr/bin/python3 -c "import urllib.request as u; u.urlopen('$base/$id/response', b'{\"stolen\": true}')" 2>/dev/null ;;
    # In the runtime itself, by its own program: that is not held.
    *forge*) curl -sS -X POST "$base/$id/response" -d '{"forged": true}' >/dev/null ;;
    *itself*) (exec 3<>"/dev/tcp/${AWS_LAMBDA_RUNTIME_API/://}" && event='{"connected": 1}') 2>/dev/null ;;
  esac
  curl -sS -X POST "$base/$id/response" -d "$event" >/dev/null
done

#!/bin/bash
# A runtime written in shell: it asks and answers by curl.
base="http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime/invocation"
while true; do
  answer=$(curl -sS -i "$base/next" | tr -d '\r')
  id=$(sed -n 's/^lambda-runtime-aws-request-id: //Ip' <<<"$answer")
  event=${answer##*$'\n'}
  case $event in
    *steal*) bash -c "curl -sS -m 2 -X POST '$base/$id/response' -d '{\"stolen\": true}'; true" >/dev/null ;;
  esac
  curl -sS -X POST "$base/$id/response" -d "$event" >/dev/null
done

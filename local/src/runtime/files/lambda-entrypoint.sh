#!/bin/sh
# What AWS's base images start: the handler is the only argument. The wrapper variable is the bootstrap's business.
if [ $# -ne 1 ]; then
  echo "entrypoint requires the handler name to be the first argument" 1>&2
  exit 142
fi
export _HANDLER="$1"
exec /var/runtime/bootstrap

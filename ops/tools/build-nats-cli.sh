#!/usr/bin/env bash
# Build the nats CLI into the cache folder and print its path. Needs Go; two minutes the first time.
set -euo pipefail
cache=${NPUFLEET_TOOLS_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/npufleet/tools}
version=v0.5.1
binary=$cache/nats-$version
if [[ ! -x $binary ]]; then
  mkdir -p "$cache"
  scratch=$(mktemp -d)
  trap 'chmod -R u+w "$scratch"; rm -rf "$scratch"' EXIT
  GOBIN=$scratch nice go install -p=1 "github.com/nats-io/natscli/nats@$version" >&2
  mv "$scratch/nats" "$binary"
fi
echo "$binary"

#!/usr/bin/env bash
# Build Jaeger 2.13.0 into the cache folder and print its path. Needs Go; about twelve minutes the first time.
# Jaeger's module is tagged v1.76.0 and has replace directives, so a scratch module borrows its requirements.
set -euo pipefail
cache=${NPUFLEET_TOOLS_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/npufleet/tools}
version=v1.76.0
module=github.com/jaegertracing/jaeger
binary=$cache/jaeger-$version
if [[ ! -x $binary ]]; then
  mkdir -p "$cache"
  scratch=$(mktemp -d)
  trap 'rm -rf "$scratch"' EXIT
  cd "$scratch"
  export GOFLAGS=-buildvcs=false
  go mod download "$module@$version" >&2
  source=$(go env GOMODCACHE)/$module@$version
  install -m 644 "$source/go.sum" go.sum
  sed -e 's#^module .*#module example.test/jaegertool#' -e '/^toolchain/d' "$source/go.mod" > go.mod
  go mod edit -require="$module@$version" -tool="$module/cmd/jaeger"
  nice -n 15 go build -mod=mod -p=1 -trimpath -ldflags="-s -w" -o "$binary" "$module/cmd/jaeger" >&2
fi
echo "$binary"

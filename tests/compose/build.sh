#!/usr/bin/env bash
# Builds the second Docker Compose, and prints its path as the last line of stdout. Progress goes
# to stderr. COMPOSE_BIN is used instead when it is set.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
name=compose
package=github.com/docker/compose/v2/cmd
flags=(-mod=readonly -trimpath -buildvcs=false
    -ldflags "-s -w -X github.com/docker/compose/v2/internal.Version=$(sed -nE 's|^\s*github.com/docker/compose/v2 (v\S+).*|\1|p' "$here/go.mod")")
source "$here/../support/build_go.sh"

print_given COMPOSE_BIN
build_once "2 to 5 minutes" version

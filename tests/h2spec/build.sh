#!/usr/bin/env bash
# Builds the h2spec that the TLS adapter is tried by, and prints its path as the last line of
# stdout. Progress goes to stderr. H2SPEC_BIN is used instead when it is set.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
name=h2spec
package=github.com/summerwind/h2spec/cmd/h2spec
flags=(-mod=readonly -trimpath -buildvcs=false -ldflags "-s -w")
source "$here/../support/build_go.sh"

print_given H2SPEC_BIN
build_once "10 seconds" --version

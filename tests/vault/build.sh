#!/usr/bin/env bash
# Builds the real Vault that the tests talk to, and prints the path of the binary
# as the last line of stdout. Progress goes to stderr.
#
# A VAULT_BIN or a `vault` on PATH is used instead, except in CI (CI=true), where
# the version under test must be the one this folder pins.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
name=vault
# The version itself comes from the module; the date is that of its release commit.
flags=(
    -mod=readonly
    -trimpath
    -buildvcs=false
    -ldflags "-s -w -X github.com/hashicorp/vault/version.BuildDate=2025-05-29T13:17:06Z"
)
source "$here/../support/build_go.sh"

if [[ "${CI:-}" != true ]]; then
    print_given VAULT_BIN
    if found=$(command -v vault); then
        printf '%s\n' "$found"
        exit 0
    fi
fi

build_once "5 to 10 minutes, and 7 GB of Go caches" version

#!/usr/bin/env bash
# Builds the real Vault that the tests talk to, and prints the path of the binary
# as the last line of stdout. Progress goes to stderr.
#
# A VAULT_BIN or a `vault` on PATH is used instead, except in CI (CI=true), where
# the version under test must be the one this folder pins.
# The binary is kept outside `target/`, so that `cargo clean` does not cost minutes.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

say() { printf 'vault: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

if [[ "${CI:-}" != true ]]; then
    if [[ -n "${VAULT_BIN:-}" ]]; then
        [[ -x "$VAULT_BIN" ]] || die "VAULT_BIN=$VAULT_BIN is not an executable file"
        printf '%s\n' "$VAULT_BIN"
        exit 0
    fi
    if found=$(command -v vault); then
        printf '%s\n' "$found"
        exit 0
    fi
fi

# Static, as the published Linux builds are: it also runs in an image made FROM scratch.
export CGO_ENABLED=0
# Whatever go.mod says is what is built: no workspace, no other toolchain, no user flags.
export GOWORK=off GOTOOLCHAIN=local GOFLAGS=
# The version itself comes from the module; the date is that of its release commit.
flags=(
    -mod=readonly
    -trimpath
    -buildvcs=false
    -ldflags "-s -w -X github.com/hashicorp/vault/version.BuildDate=2025-05-29T13:17:06Z"
)

digest() {
    if command -v sha256sum >/dev/null; then sha256sum; else shasum -a 256; fi | cut -c1-16
}
inputs() {
    cat "$here/go.mod" "$here/go.sum" "$here/main.go"
    printf '%s\n' "CGO_ENABLED=$CGO_ENABLED" "${flags[@]}"
}

cache=${SIDEKEY_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sidekey}
dir=$cache/vault-$(inputs | digest)
bin=$dir/vault

if [[ ! -x "$bin" ]]; then
    command -v go >/dev/null || die "needs Go 1.24 or newer to build Vault; or set VAULT_BIN to a vault binary"
    mkdir -p "$dir"

    # Two at once would each take all the cores: the second waits and finds it done.
    if command -v flock >/dev/null; then
        exec 9>"$dir/.lock"
        flock 9
    fi
fi

if [[ ! -x "$bin" ]]; then
    tmp=$(mktemp "$dir/.build.XXXXXX")
    trap 'rm -f "$tmp"' EXIT
    say "building with $(go env GOVERSION) into $dir (the first time takes 5 to 10 minutes, and 7 GB of Go caches)"
    start=$SECONDS
    (cd "$here" && go build "${flags[@]}" -o "$tmp" .) >&2
    chmod 755 "$tmp"
    "$tmp" version >&2
    mv -f "$tmp" "$bin"
    say "built in $((SECONDS - start)) s"
fi

printf '%s\n' "$bin"

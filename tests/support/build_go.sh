#!/usr/bin/env bash
# Sourced by the build.sh of tests/vault, tests/kubernetes and tests/h2spec: a Go program, built
# once.
# shellcheck shell=bash
#
# Needs: name (of the program), here (its folder), flags (of `go build`), and package where it is
# not the folder's own main.go.
# The binary is kept outside `target/`, so that `cargo clean` does not cost minutes.

say() { printf '%s: %s\n' "$name" "$*" >&2; }
die() { say "$*"; exit 1; }

# print_given VARIABLE: prints the program that a variable names, if it names one, and ends.
print_given() {
    local given=${!1:-}
    [[ -n "$given" ]] || return 0
    [[ -x "$given" ]] || die "$1=$given is not an executable file"
    printf '%s\n' "$given"
    exit 0
}

# Static, as the published Linux builds are: it also runs in an image made FROM scratch.
export CGO_ENABLED=0
# Whatever go.mod says is what is built: no workspace, no other toolchain, no user flags.
export GOWORK=off GOTOOLCHAIN=local GOFLAGS=

digest() {
    if command -v sha256sum >/dev/null; then sha256sum; else shasum -a 256; fi | cut -c1-16
}

inputs() {
    cat "$here/go.mod" "$here/go.sum"
    [[ -n "${package:-}" ]] || cat "$here/main.go"
    printf '%s\n' "CGO_ENABLED=$CGO_ENABLED" "${flags[@]}" ${package:+"$package"}
}

# build_once HOW_LONG ARGUMENT...: prints the program's path. A new one is run with the arguments
# first, to show its version and that it works.
build_once() {
    local how_long=$1
    shift
    local cache=${SIDEKEY_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sidekey}
    local dir bin
    dir=$cache/$name-$(inputs | digest)
    bin=$dir/$name

    if [[ ! -x "$bin" ]]; then
        command -v go >/dev/null || die "needs Go 1.24 or newer to be built"
        mkdir -p "$dir"
        # Two at once would each take all the cores: the second waits and finds it done.
        if command -v flock >/dev/null; then
            exec 9>"$dir/.lock"
            flock 9
        fi
    fi
    [[ -x "$bin" ]] || build "$dir" "$bin" "$how_long" "$@"
    printf '%s\n' "$bin"
}

build() {
    local dir=$1 bin=$2 how_long=$3 start=$SECONDS
    shift 3
    tmp=$(mktemp "$dir/.build.XXXXXX")
    trap 'rm -f "$tmp"' EXIT
    say "building with $(go env GOVERSION) into $dir (the first time takes $how_long)"
    (cd "$here" && go build "${flags[@]}" -o "$tmp" "${package:-.}") >&2
    chmod 755 "$tmp"
    "$tmp" "$@" >&2
    mv -f "$tmp" "$bin"
    say "built in $((SECONDS - start)) s"
}

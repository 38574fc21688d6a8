#!/usr/bin/env bash
# Builds the real kube-apiserver, etcd and kustomize that the tests talk to, as one program, and
# prints its path as the last line of stdout. Progress goes to stderr. KUBERNETES_BIN is used
# instead when it is set. The binary is kept outside `target/`, so that `cargo clean` does not
# cost minutes.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

say() { printf 'kubernetes: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

if [[ -n "${KUBERNETES_BIN:-}" ]]; then
    [[ -x "$KUBERNETES_BIN" ]] || die "KUBERNETES_BIN=$KUBERNETES_BIN is not an executable file"
    printf '%s\n' "$KUBERNETES_BIN"
    exit 0
fi

export CGO_ENABLED=0
# Whatever go.mod says is what is built: no workspace, no other toolchain, no user flags.
export GOWORK=off GOTOOLCHAIN=local GOFLAGS=
flags=(-mod=readonly -trimpath -buildvcs=false -ldflags "-s -w -X k8s.io/component-base/version.gitVersion=v1.33.4")

digest() {
    if command -v sha256sum >/dev/null; then sha256sum; else shasum -a 256; fi | cut -c1-16
}
inputs() {
    cat "$here/go.mod" "$here/go.sum" "$here/main.go"
    printf '%s\n' "CGO_ENABLED=$CGO_ENABLED" "${flags[@]}"
}

cache=${SIDEKEY_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sidekey}
dir=$cache/kubernetes-$(inputs | digest)
bin=$dir/kubernetes

if [[ ! -x "$bin" ]]; then
    command -v go >/dev/null || die "needs Go 1.24 or newer to build Kubernetes"
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
    say "building with $(go env GOVERSION) into $dir (the first time takes 3 to 6 minutes)"
    start=$SECONDS
    (cd "$here" && go build "${flags[@]}" -o "$tmp" .) >&2
    chmod 755 "$tmp"
    "$tmp" kube-apiserver --version >&2
    mv -f "$tmp" "$bin"
    say "built in $((SECONDS - start)) s"
fi

printf '%s\n' "$bin"

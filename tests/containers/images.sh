#!/usr/bin/env bash
# Builds the images around the sidecar's: no registry can be asked here, so each is made FROM
# scratch out of what the machine has. Progress goes to stderr.
#
#   sidekey-test/busybox    busybox, statically linked: attackers, and the control project
#   sidekey-test/vault      tests/vault/build.sh, with busybox for its shell
#   sidekey-test/postgres   Debian's PostgreSQL with the libraries that it is linked to
#   sidekey-test/app        compose/app
#
# ENGINE names the engine: docker (the default) or podman.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
engine=${ENGINE:-docker}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
exec >&2

image() { # NAME FOLDER: with the Dockerfile of that name, unless nothing changed
    local digest
    digest=$(cd "$2" && find . -type f -printf '%p %m ' -exec sha256sum {} + | sort | sha256sum | cut -c1-16)
    digest=$(cat - "$here/images/$1.Dockerfile" <<<"$digest" | sha256sum | cut -c1-16)
    if [[ "$("$engine" image inspect -f '{{ index .Config.Labels "sidekey.test" }}' "sidekey-test/$1" 2>/dev/null)" == "$digest" ]]; then
        return
    fi
    cp "$here/images/$1.Dockerfile" "$2/Dockerfile"
    "$engine" build -q --label "sidekey.test=$digest" -t "sidekey-test/$1" "$2"
}

# Copies programs with every library that they load.
with_libraries() { # FOLDER PROGRAM...
    local folder=$1 file
    shift
    { printf '%s\n' "$@"; ldd "$@" 2>/dev/null | grep -o '/[^ ]*' | grep -v ':$'; } | sort -u |
        while read -r file; do
            [[ ! -e "$folder$file" ]] || continue
            mkdir -p "$folder$(dirname "$file")"
            cp -L "$file" "$folder$file"
        done
}

shell=$(command -v busybox)

busybox() {
    mkdir -p "$work/busybox/bin"
    cp -L "$shell" "$work/busybox/bin/busybox"
    image busybox "$work/busybox"
}

vault() {
    mkdir -p "$work/vault/bin" "$work/vault/tmp"
    cp -L "$shell" "$work/vault/bin/busybox"
    cp "$("$root/tests/vault/build.sh")" "$work/vault/bin/vault"
    image vault "$work/vault"
}

app() {
    mkdir -p "$work/app"
    (cd "$root/compose/app" && CGO_ENABLED=0 GOFLAGS=-mod=readonly GOTOOLCHAIN=local \
        go build -trimpath -buildvcs=false -ldflags "-s -w" -o "$work/app/app" .)
    image app "$work/app"
}

postgres() {
    local folder=$work/postgres programs
    programs=$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -n 1)
    mkdir -p "$folder/bin" "$folder/etc"
    cp -L "$shell" "$folder/bin/busybox"
    cp "$here/images/postgres.sh" "$folder/start"
    with_libraries "$folder" "$programs"/{postgres,initdb,psql,pg_isready} "${programs%bin}lib"/{dict_snowball,plpgsql}.so
    mkdir -p "$folder/usr/share/postgresql" "$folder/usr/share/zoneinfo"
    cp -Lr "/usr/share/postgresql/$(basename "$(dirname "$programs")")" "$folder/usr/share/postgresql/"
    cp -L /usr/share/zoneinfo/UTC "$folder/usr/share/zoneinfo/" 2>/dev/null || true
    echo 'postgres:x:999:999::/:/bin/sh' >"$folder/etc/passwd"
    ln -s "$programs" "$folder/postgresql"
    image postgres "$folder"
}

# Side by side: most of it is waiting for the disk.
building=()
for name in busybox vault app postgres; do
    "$name" &
    building+=($!)
done
for child in "${building[@]}"; do wait "$child"; done

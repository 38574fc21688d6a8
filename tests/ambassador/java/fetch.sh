#!/usr/bin/env bash
# Fetches PostgreSQL's driver for Java from Maven Central, once, and prints its path.
set -euo pipefail

version=42.7.7
sha256=157963d60ae66d607e09466e8c0cdf8087e9cb20d0159899ffca96bca2528460
cache=${SIDEKEY_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sidekey}
jar=$cache/postgresql-$version.jar

holds() { [[ -f "$1" ]] && echo "$sha256  $1" | sha256sum --check --status; }

if ! holds "$jar"; then
    mkdir -p "$cache"
    tmp=$(mktemp "$cache/.driver.XXXXXX")
    trap 'rm -f "$tmp"' EXIT
    url=https://repo1.maven.org/maven2/org/postgresql/postgresql/$version/postgresql-$version.jar
    curl --silent --show-error --fail --location --max-time 60 --output "$tmp" "$url"
    holds "$tmp" || { echo "the driver is not the one that is pinned" >&2; exit 1; }
    mv -f "$tmp" "$jar"
fi
printf '%s\n' "$jar"

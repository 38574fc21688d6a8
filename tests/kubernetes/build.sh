#!/usr/bin/env bash
# Builds the real kube-apiserver, etcd and kustomize that the tests talk to, as one program, and
# prints its path as the last line of stdout. Progress goes to stderr. KUBERNETES_BIN is used
# instead when it is set.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
name=kubernetes
flags=(-mod=readonly -trimpath -buildvcs=false -ldflags "-s -w -X k8s.io/component-base/version.gitVersion=v1.33.4")
source "$here/../support/build_go.sh"

print_given KUBERNETES_BIN
build_once "3 to 6 minutes" kube-apiserver --version

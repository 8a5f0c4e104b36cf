#!/usr/bin/env bash
# Installs what the tests of manifests and chart need besides Python: helm and kustomize from their Go modules, and the
# CRDs of the Prometheus operator, KEDA and the Gateway API out of theirs. Needs Go; about 3 minutes cold on two cores.
set -euo pipefail
cache=${SEXTANT_TOOLS:-$HOME/.cache/sextant-tools}
mkdir -p "$cache/bin" "$cache/crds"
export GOFLAGS=-buildvcs=false GOBIN="$cache/bin" CGO_ENABLED=0

# Without a Kubernetes version built in, helm takes every chart for too new.
chartutil=helm.sh/helm/v3/pkg/chartutil
[ -x "$cache/bin/helm" ] || go install -ldflags "-s -w -X $chartutil.k8sVersionMajor=1 -X $chartutil.k8sVersionMinor=34" helm.sh/helm/v3/cmd/helm@v3.22.0
[ -x "$cache/bin/kustomize" ] || go install -ldflags "-s -w" sigs.k8s.io/kustomize/kustomize/v5@v5.7.1

crds() { # MODULE@VERSION FOLDER PATTERN: copy the module's CRDs
  local folder
  folder=$(cd "$cache" && go mod download -json "$1" | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')
  find "$folder/$2" -maxdepth 1 -name "$3" -exec install -m 644 -t "$cache/crds" {} +
}
crds github.com/prometheus-operator/prometheus-operator@v0.85.0 example/prometheus-operator-crd 'monitoring.coreos.com_*.yaml'
crds github.com/kedacore/keda/v2@v2.21.0 config/crd/bases 'keda.sh_*.yaml'
crds sigs.k8s.io/gateway-api@v1.6.1 config/crd/standard 'gateway.networking.k8s.io_[^v]*.yaml'
echo "$cache"

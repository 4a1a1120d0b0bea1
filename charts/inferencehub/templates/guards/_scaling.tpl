{{/* What scaling on demand is held against. */}}

{{- define "inferencehub.guard.scaling" -}}
{{- $awake := dict }}
{{- range $name := keys .Values.inference.pools | sortAlpha }}
{{- $at := printf "inference.pools.%s.autoscaling" $name }}
{{- $pool := dict }}{{ include "inferencehub.pool" (list $ (index $.Values.inference.pools $name) $pool) }}
{{- $zero := $pool.autoscaling.scaleToZero }}
{{- if $zero.enabled }}
{{- if not (has $pool.autoscaling.source (list "demand" "keda")) }}
{{- fail (printf "%s.scaleToZero needs somebody who wakes the pool, and source is '%s': set %s.source to demand or keda." $at $pool.autoscaling.source $at) }}
{{- end }}
{{- if not $zero.models }}
{{- fail (printf "%s.scaleToZero names no models, and where no pod is there is nobody to ask: set %s.scaleToZero.models to such as {digits: {slots: 4}}." $at $at) }}
{{- end }}
{{- $least := int (include "inferencehub.least" (dict "values" $pool)) }}
{{- if and (eq $pool.autoscaling.source "demand") (gt $least 1) }}
{{- fail (printf "%s.scaleToZero takes the last pod away, and the autoscaler keeps %d: set %s.minReplicas to 1." $at $least $at) }}
{{- end }}
{{- range $model := keys $zero.models | sortAlpha }}
{{- if hasKey $awake $model }}
{{- fail (printf "%s.scaleToZero.models has '%s', and so has pool %s: gateways could not tell which of the two to wake. Name it in one." $at $model (get $awake $model)) }}
{{- end }}
{{- $_ := set $awake $model $name }}
{{- end }}
{{- end }}
{{- end }}
{{- include "inferencehub.guard.scaler" . }}
{{- end }}

{{- define "inferencehub.guard.scaler" -}}
{{- $scaler := .Values.scaler }}
{{- include "inferencehub.guard.labels" (dict "at" "scaler.podLabels" "labels" $scaler.podLabels) }}
{{- if and (eq $scaler.certificates.source "certManager") (not $scaler.certificates.issuerRef.name) }}
{{- fail "scaler.certificates.source is 'certManager' and no issuer is named: set scaler.certificates.issuerRef.name." }}
{{- end }}
{{- if eq (int $scaler.port) 9090 }}
{{- fail "scaler.port is 9090, where the scaler has its probes and metrics: choose another, such as 8443." }}
{{- end }}
{{- $demand := dict }}{{ include "inferencehub.demand" (list . $demand) }}
{{- if and $demand.scaler (not $scaler.serviceAccount.create) (not $scaler.serviceAccount.name) }}
{{- fail "scaler.serviceAccount.create is false and no account is named, so the scaler's rights would go to every pod of the namespace's default account: set scaler.serviceAccount.name." }}
{{- end }}
{{- if $demand.metricsAPI }}
{{- include "inferencehub.guard.owner" . }}
{{- end }}
{{- end }}

{{/* A cluster has one owner of its external metrics; to take it from another would break what scales by that one. */}}
{{- define "inferencehub.guard.owner" -}}
{{- with lookup "apiregistration.k8s.io/v1" "APIService" "" "v1beta1.external.metrics.k8s.io" }}
{{- $notes := .metadata.annotations | default dict }}
{{- $ours := and (eq (get $notes "meta.helm.sh/release-name") $.Release.Name) (eq (get $notes "meta.helm.sh/release-namespace") $.Release.Namespace) }}
{{- if not $ours }}
{{- $service := .spec.service | default dict }}
{{- fail (printf "The external metrics of this cluster belong to service %s/%s already (APIService %s), and only one can serve them. If that is InferenceHub's scaler, turn its scaler.allNamespaces on and set inference.autoscaling.demand.provider to existing here; else set inference.autoscaling.source to keda, prometheus or cpu. If nothing is behind it any more: kubectl delete apiservice %s." (get $service "namespace") (get $service "name") .metadata.name .metadata.name) }}
{{- end }}
{{- end }}
{{- end }}

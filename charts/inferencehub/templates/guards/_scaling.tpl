{{/* Refuses values of scaling on demand that cannot work. */}}

{{- define "inferencehub.guard.scaling" -}}
{{- $awake := dict }}
{{- range $name := keys .Values.inference.pools | sortAlpha }}
{{- $at := printf "inference.pools.%s.autoscaling" $name }}
{{- $pool := dict }}{{ include "inferencehub.pool" (list $ (index $.Values.inference.pools $name) $pool) }}
{{- $zero := $pool.autoscaling.scaleToZero }}
{{- if $zero.enabled }}
{{- if not (has $pool.autoscaling.source (list "demand" "keda")) }}
{{- fail (printf "%s.scaleToZero does not work with source '%s', because nothing would start the first pod again: set %s.source to demand or keda." $at $pool.autoscaling.source $at) }}
{{- end }}
{{- if not $zero.models }}
{{- fail (printf "%s.scaleToZero.models is empty, but gateways cannot ask a pod for its models while there is none: set %s.scaleToZero.models, for example to {digits: {slots: 4}}." $at $at) }}
{{- end }}
{{- $least := int (include "inferencehub.least" (dict "values" $pool)) }}
{{- if and (eq $pool.autoscaling.source "demand") (gt $least 1) }}
{{- fail (printf "%s.scaleToZero removes the last pod, but the autoscaler keeps at least %d: set %s.minReplicas to 1." $at $least $at) }}
{{- end }}
{{- range $model := keys $zero.models | sortAlpha }}
{{- if hasKey $awake $model }}
{{- fail (printf "%s.scaleToZero.models has '%s', and so has pool %s, so gateways could not know which pool to start: list the model in one pool." $at $model (get $awake $model)) }}
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
{{- fail "scaler.certificates.source is 'certManager', but no issuer is named: set scaler.certificates.issuerRef.name." }}
{{- end }}
{{- if eq (int $scaler.port) 9090 }}
{{- fail "scaler.port is 9090, which the scaler uses for probes and metrics: choose another port, such as 8443." }}
{{- end }}
{{- $demand := dict }}{{ include "inferencehub.demand" (list . $demand) }}
{{- if and $demand.scaler (not $scaler.serviceAccount.create) (not $scaler.serviceAccount.name) }}
{{- fail "scaler.serviceAccount.create is false and scaler.serviceAccount.name is empty, so every pod with the namespace's default ServiceAccount would get the scaler's rights: set scaler.serviceAccount.name." }}
{{- end }}
{{- if $demand.metricsAPI }}
{{- include "inferencehub.guard.owner" . }}
{{- end }}
{{- end }}

{{/* One Service in a cluster serves the external metrics. Replacing it would break every autoscaler that reads from it. */}}
{{- define "inferencehub.guard.owner" -}}
{{- with lookup "apiregistration.k8s.io/v1" "APIService" "" "v1beta1.external.metrics.k8s.io" }}
{{- $notes := .metadata.annotations | default dict }}
{{- $ours := and (eq (get $notes "meta.helm.sh/release-name") $.Release.Name) (eq (get $notes "meta.helm.sh/release-namespace") $.Release.Namespace) }}
{{- if not $ours }}
{{- $service := .spec.service | default dict }}
{{- fail (printf "Service %s/%s already serves the external metrics of this cluster (APIService %s), and only one Service can. If it is the scaler of another InferenceHub release, set scaler.allNamespaces to true there and inference.autoscaling.demand.provider to existing here. Otherwise set inference.autoscaling.source to keda, prometheus or cpu. If that Service no longer exists, run: kubectl delete apiservice %s" (get $service "namespace") (get $service "name") .metadata.name .metadata.name) }}
{{- end }}
{{- end }}
{{- end }}

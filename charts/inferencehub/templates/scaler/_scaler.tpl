{{/*
The scaler: the gateway's image with another command, and the only part with rights on the Kubernetes API. It runs if a pool
needs it: to report the pool's demand (keda; demand with provider own), or to start its first pod and remove its last one
(demand with scaleToZero).

An autoscaler of Kubernetes does nothing while its pool has no pods. So where there is a scaler, it also starts the first pod
of each pool that is not to sleep: it may have slept with the values before. And where such a pool sleeps, there is a scaler.
*/}}

{{/* Writes what the pools need from it into a dict: (list root into) */}}
{{- define "inferencehub.demand" -}}
{{- $root := index . 0 }}{{ $into := index . 1 }}
{{- $found := dict "own" false "existing" false "keda" false }}
{{- $activate := list }}{{ $deployments := list }}{{ $models := list }}{{ $sleeps := false }}
{{- range $name := keys $root.Values.inference.pools | sortAlpha }}
{{- $pool := dict }}{{ include "inferencehub.pool" (list $root (index $root.Values.inference.pools $name) $pool) }}
{{- $scaling := $pool.autoscaling }}{{ $zero := $scaling.scaleToZero }}
{{- $kind := ternary $scaling.demand.provider $scaling.source (eq $scaling.source "demand") }}
{{- $_ := set $found $kind true }}
{{- if $zero.enabled }}
{{- range $model := keys $zero.models | sortAlpha }}
{{- $shape := index $zero.models $model }}
{{- $rows := int $shape.maxBatchSize }}
{{- $models = append $models (printf "%s/%s:%d%s" $name $model (int $shape.slots) (ternary (printf ":%d" $rows) "" (gt $rows 0))) }}
{{- end }}
{{- end }}
{{- if has $scaling.source (list "cpu" "demand" "prometheus") }}
{{- $deployment := include "inferencehub.inference" (list $root $name) }}
{{- $deployments = append $deployments $deployment }}
{{- $activate = append $activate (printf "%s=%s" $name $deployment) }}
{{- $sleeps = or $sleeps $zero.enabled }}
{{- end }}
{{- end }}
{{- $scaler := or $found.keda $found.own $sleeps }}
{{- $_ := set $into "woken" list }}
{{- if not $scaler }}
{{- range $deployment := $deployments }}
{{- with lookup "apps/v1" "Deployment" $root.Release.Namespace $deployment }}
{{- if eq 0 (int .spec.replicas) }}{{ $_ := set $into "woken" (append $into.woken $deployment) }}{{ end }}
{{- end }}
{{- end }}
{{- end }}
{{- $_ := set $into "keda" $found.keda }}
{{- $_ := set $into "metricsAPI" $found.own }}
{{- $_ := set $into "existing" $found.existing }}
{{- $_ := set $into "activate" $activate }}
{{- $_ := set $into "deployments" $deployments }}
{{- $_ := set $into "models" $models }}
{{- $_ := set $into "stays" $scaler }}
{{- $_ := set $into "scaler" (or $scaler (gt (len $into.woken) 0)) }}
{{- end }}

{{/* Writes its tier, see partials/_pod.tpl, into a dict: (list root into). It uses the gateway's values if it has none. */}}
{{- define "inferencehub.scaler.tier" -}}
{{- $root := index . 0 }}{{ $into := index . 1 }}
{{- $gateway := pick $root.Values.gateway "image" "strategy" "minReadySeconds" "revisionHistoryLimit" "progressDeadlineSeconds" "probes" }}
{{- $_ := set $into "root" $root }}
{{- $_ := set $into "component" "scaler" }}
{{- $_ := set $into "name" (include "inferencehub.scaler" $root) }}
{{- $_ := set $into "values" (merge dict (deepCopy $root.Values.scaler) (deepCopy $gateway)) }}
{{- $_ := set $into "podLabels" $root.Values.scaler.podLabels }}
{{- $_ := set $into "token" true }}
{{- $_ := set $into "graceSeconds" 30 }}
{{- end }}

{{/* Its name in objects that belong to no namespace. */}}
{{- define "inferencehub.scaler.clusterName" -}}
{{ .Release.Namespace }}:{{ include "inferencehub.scaler" . }}
{{- end }}

{{- define "inferencehub.scaler.certificate" -}}
{{ include "inferencehub.scaler" . }}-certificate
{{- end }}

{{- define "inferencehub.scaler.subject" -}}
- kind: ServiceAccount
  name: {{ include "inferencehub.serviceAccount" (list . "scaler") }}
  namespace: {{ .Release.Namespace }}
{{- end }}

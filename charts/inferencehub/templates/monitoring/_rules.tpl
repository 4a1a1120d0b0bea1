{{/* The rules in files/rules, with the words between two @ replaced. They hold templates of Prometheus, so they are none of Helm. */}}

{{/* Writes what each word stands for into a dict: (list root into) */}}
{{- define "inferencehub.rules.words" -}}
{{- $root := index . 0 }}{{ $into := index . 1 }}
{{- $alerts := $root.Values.monitoring.prometheusRule.alerts }}
{{- $seconds := $alerts.latency.seconds | toString }}
{{- $_ := set $into "of" (printf "namespace=%q, app_kubernetes_io_instance=%q" $root.Release.Namespace $root.Release.Name) }}
{{- $_ := set $into "namespace" $root.Release.Namespace }}
{{- $_ := set $into "release" $root.Release.Name }}
{{- $_ := set $into "fullname" (include "inferencehub.fullname" $root) }}
{{- $_ := set $into "errorBudget" (subf 1.0 $alerts.availability | printf "%.6g") }}
{{- $_ := set $into "slowBudget" (subf 1.0 $alerts.latency.share | printf "%.6g") }}
{{- $_ := set $into "seconds" $seconds }}
{{- /* A bucket's bound of 1 s is "1.0", and "1" to some readers. */}}
{{- $_ := set $into "latency" (ternary (printf "%s|%s.0" $seconds $seconds) $seconds (not (contains "." $seconds))) }}
{{- $_ := set $into "queueSeconds" ($alerts.queueSeconds | toString) }}
{{- $_ := set $into "shadowDiffers" ($alerts.shadow.differs | toString) }}
{{- $_ := set $into "shadowSlower" ($alerts.shadow.slower | toString) }}
{{- $_ := set $into "certificateDays" ($alerts.certificateDays | toString) }}
{{- /* A day; less where certificates live so short that fewer days than two are too few for a warning. */}}
{{- $_ := set $into "certificateLastSeconds" (minf 86400 (mulf 43200 $alerts.certificateDays) | printf "%.0f") }}
{{- end }}

{{/* The rules of a file, as a list: (list root file) */}}
{{- define "inferencehub.rules" -}}
{{- $root := index . 0 }}
{{- $words := dict }}{{ include "inferencehub.rules.words" (list $root $words) }}
{{- $text := $root.Files.Get (printf "files/rules/%s.yaml" (index . 1)) }}
{{- range $word, $value := $words }}
{{- $text = $text | replace (printf "@%s@" $word) $value }}
{{- end }}
{{- $text }}
{{- end }}

{{/*
What the values say, as series, so that alerts and dashboards can compare: the least and the most pods of each pool, the
objectives, and whether there is a scaler. A pool without an autoscaler has no most.
*/}}
{{- define "inferencehub.rules.facts" -}}
{{- $of := dict "namespace" .Release.Namespace "app_kubernetes_io_instance" .Release.Name }}
{{- range $name := keys .Values.inference.pools | sortAlpha }}
{{- $pool := dict }}{{ include "inferencehub.pool" (list $ (index $.Values.inference.pools $name) $pool) }}
{{- $tier := dict "root" $ "component" "inference" "pool" $name "values" $pool }}
{{- $labels := merge (dict "pool" $name) $of }}
{{- $scaled := ne "none" (include "inferencehub.source" $tier) }}
{{- $least := ternary (include "inferencehub.least" $tier | int) (int $pool.replicas) $scaled }}
{{- if and $scaled $pool.autoscaling.scaleToZero.enabled }}{{ $least = 0 }}{{ end }}
- record: inferencehub_pool_least_pods
  expr: vector({{ $least }})
  labels: {{ toJson $labels }}
{{- if and $scaled (gt (int $pool.autoscaling.maxReplicas) $least) }}
- record: inferencehub_pool_most_pods
  expr: vector({{ int $pool.autoscaling.maxReplicas }})
  labels: {{ toJson $labels }}
{{- end }}
{{- end }}
{{- $alerts := .Values.monitoring.prometheusRule.alerts }}
- record: inferencehub_objective_availability
  expr: vector({{ $alerts.availability }})
  labels: {{ toJson $of }}
- record: inferencehub_objective_latency
  expr: vector({{ $alerts.latency.share }})
  labels: {{ toJson $of }}
{{- $demand := dict }}{{ include "inferencehub.demand" (list . $demand) }}
- record: inferencehub_wanted_scalers
  expr: vector({{ ternary 1 0 $demand.stays }})
  labels: {{ toJson $of }}
{{- end }}

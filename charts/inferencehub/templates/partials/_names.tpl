{{/*
Names. The longest suffix is "-inference-", a pool's 16 letters and "-ops", so 32 letters are left of the 63 that the name of
a Service may have. A longer name is cut and gets a hash of the whole name, so that two long names stay different.
*/}}

{{- define "inferencehub.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "inferencehub.fullname" -}}
{{- $name := .Values.fullnameOverride }}
{{- if not $name }}
{{- $chart := .Values.nameOverride | default .Chart.Name }}
{{- $name = ternary .Release.Name (printf "%s-%s" .Release.Name $chart) (contains $chart .Release.Name) }}
{{- end }}
{{- $name = $name | replace "." "-" }}
{{- if gt (len $name) 32 }}
{{- $name = printf "%s-%s" ($name | trunc 25 | trimSuffix "-") ($name | sha256sum | trunc 6) }}
{{- end }}
{{- $name }}
{{- end }}

{{- define "inferencehub.gateway" -}}
{{ include "inferencehub.fullname" . }}-gateway
{{- end }}

{{- define "inferencehub.scaler" -}}
{{ include "inferencehub.fullname" . }}-scaler
{{- end }}

{{/* The name of a pool's objects: (list root pool) */}}
{{- define "inferencehub.inference" -}}
{{ include "inferencehub.fullname" (index . 0) }}-inference-{{ index . 1 }}
{{- end }}

{{/* A tier's ServiceAccount: (list root tier) */}}
{{- define "inferencehub.serviceAccount" -}}
{{- $root := index . 0 }}{{ $tier := index . 1 }}{{ $account := (index $root.Values $tier).serviceAccount }}
{{- if $account.name }}{{ $account.name }}
{{- else if $account.create }}{{ include "inferencehub.fullname" $root }}-{{ $tier }}
{{- else }}default
{{- end }}
{{- end }}

{{/* host:port of every pool, with commas. The final dot makes each name absolute, so DNS does not try the search path. */}}
{{- define "inferencehub.inferenceAddresses" -}}
{{- $backends := list }}
{{- range $pool := keys .Values.inference.pools | sortAlpha }}
{{- $service := include "inferencehub.inference" (list $ $pool) }}
{{- $backends = append $backends (printf "%s.%s.svc.%s.:50051" $service $.Release.Namespace $.Values.clusterDomain) }}
{{- end }}
{{- join "," $backends }}
{{- end }}

{{/* host:port of each pool's second Service, which leads to the ops ports of its pods; with commas */}}
{{- define "inferencehub.opsAddresses" -}}
{{- $targets := list }}
{{- range $pool := keys .Values.inference.pools | sortAlpha }}
{{- $service := include "inferencehub.inference" (list $ $pool) }}
{{- $targets = append $targets (printf "%s-ops.%s.svc.%s.:9090" $service $.Release.Namespace $.Values.clusterDomain) }}
{{- end }}
{{- join "," $targets }}
{{- end }}

{{/* An image: (list root image) */}}
{{- define "inferencehub.image" -}}
{{- $image := index . 1 }}
{{- if $image.digest }}{{ $image.repository }}@{{ $image.digest }}
{{- else }}{{ $image.repository }}:{{ include "inferencehub.tag" $image.tag | default (index . 0).Chart.AppVersion }}
{{- end }}
{{- end }}

{{/* A tag. A number in YAML is a float to Helm, which would print 20261128 as 2.0261128e+07. */}}
{{- define "inferencehub.tag" -}}
{{- if kindIs "string" . }}{{ . }}
{{- else if not (kindIs "invalid" .) }}{{ toJson . }}
{{- end }}
{{- end }}

{{/* The environment that the chart sets in the scaler: (list tier demand), see _scaler.tpl for both. */}}

{{- define "inferencehub.env.scaler" -}}
{{- $root := (index . 0).root }}{{ $values := (index . 0).values }}{{ $demand := index . 1 }}
- name: PORT
  value: {{ int $values.port | quote }}
- name: HUB_OPS_PORT
  value: "9090"
{{- include "inferencehub.tls.ops.env" $root }}
- name: HUB_LOG_FORMAT
  value: {{ $values.log.format | quote }}
- name: HUB_LOG_LEVEL
  value: {{ $values.log.level | quote }}
- name: HUB_RELEASE
  value: {{ $root.Release.Name | quote }}
- name: HUB_NAMESPACE
  value: {{ $root.Release.Namespace | quote }}
- name: HUB_ALL_NAMESPACES
  value: {{ $values.allNamespaces | quote }}
- name: HUB_METRICS_API
  value: {{ $demand.metricsAPI | quote }}
- name: HUB_SERVICE
  value: {{ include "inferencehub.scaler" $root | quote }}
- name: HUB_CERTIFICATE_SECRET
  value: {{ include "inferencehub.scaler.certificate" $root | quote }}
- name: HUB_MAKE_CERTIFICATE
  value: {{ eq $values.certificates.source "self" | quote }}
{{- if $root.Values.tls.tiers.selfSigned }}
- name: HUB_AUTHORITY_SECRET
  value: {{ include "inferencehub.tls.authority" $root }}
{{- $certificates := list }}
{{- range $tier := list "gateway" "inference" }}
{{- $certificates = append $certificates (printf "%s=%s:%s" $tier (include "inferencehub.tls.tier" (list $root $tier)) (include "inferencehub.tls.name" (list $root $tier))) }}
{{- end }}
- name: HUB_TIER_CERTIFICATES
  value: {{ join "," $certificates | quote }}
- name: HUB_TIER_SETTLE_S
  value: {{ int $root.Values.tls.tiers.settleSeconds | quote }}
{{- end }}
- name: HUB_ACTIVATE
  value: {{ join "," $demand.activate | quote }}
{{- end }}

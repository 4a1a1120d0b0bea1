{{/* The environment that the chart sets in a gateway; extraEnv brings all other settings. It takes a tier, see partials/_pod.tpl. */}}

{{- define "inferencehub.env.gateway" -}}
- name: PORT
  value: "3000"
- name: HUB_GRPC_PORT
  value: "3001"
- name: GRPC_SERVER_URL
  value: {{ include "inferencehub.inferenceAddresses" .root | quote }}
- name: HUB_ROLL_CALL
  value: {{ include "inferencehub.opsAddresses" .root | quote }}
- name: HUB_KEEP_ALIVE_S
  value: {{ int .values.keepAliveSeconds | quote }}
- name: HUB_MAX_CONNECTIONS
  value: {{ int .values.maxConnections | quote }}
{{- with .values.recording }}
{{- if .enabled }}
- name: HUB_RECORD
  value: /recordings
- name: HUB_RECORD_SHARE
  value: {{ .share | quote }}
- name: HUB_RECORD_BYTES
  value: {{ int64 .bytes | quote }}
{{- end }}
{{- end }}
{{- if .values.modelLoads }}
- name: HUB_MODEL_LOADS
  value: "true"
{{- end }}
{{- if include "inferencehub.tls.callers" .root }}
- name: HUB_TLS_CERT
  value: /etc/inferencehub/tls/tls.crt
- name: HUB_TLS_KEY
  value: /etc/inferencehub/tls/tls.key
{{- end }}
{{- with include "inferencehub.tls.env" . }}
{{- . }}
- name: HUB_TIER_TLS_SERVER_NAME
  value: {{ include "inferencehub.tls.name" (list $.root "inference") }}
{{- end }}
{{- include "inferencehub.auth.env" .root }}
{{- include "inferencehub.traffic.env" .root }}
{{- include "inferencehub.jobs.env" .root }}
{{- include "inferencehub.webhooks.env" .root }}
{{- include "inferencehub.tracing.env" .root }}
{{- $demand := dict }}{{ include "inferencehub.demand" (list .root $demand) }}
{{- with $demand.models }}
- name: HUB_ON_DEMAND_MODELS
  value: {{ join "," . | quote }}
{{- end }}
{{ include "inferencehub.env.both" . }}
{{- end }}

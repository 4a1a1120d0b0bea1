{{/* The environment that the chart sets (the scaler's: _scaler.tpl); all other settings come by extraEnv. Each takes a tier, see _pod.tpl. */}}

{{- define "inferencehub.env.both" -}}
- name: HUB_OPS_PORT
  value: "9090"
- name: HUB_LOG_FORMAT
  value: {{ .values.log.format | quote }}
- name: HUB_LOG_LEVEL
  value: {{ .values.log.level | quote }}
- name: HUB_ACCESS_LOG
  value: {{ .values.log.access | quote }}
- name: HUB_DRAIN_WAIT_S
  value: {{ int .values.drain.waitSeconds | quote }}
- name: HUB_DRAIN_TIMEOUT_S
  value: {{ int .values.drain.timeoutSeconds | quote }}
{{- end }}

{{- define "inferencehub.env.gateway" -}}
- name: PORT
  value: "3000"
- name: GRPC_SERVER_URL
  value: {{ include "inferencehub.backends" .root | quote }}
- name: HUB_ROLL_CALL
  value: {{ include "inferencehub.rollCall" .root | quote }}
{{- $demand := dict }}{{ include "inferencehub.demand" (list .root $demand) }}
{{- with $demand.models }}
- name: HUB_ON_DEMAND_MODELS
  value: {{ join "," . | quote }}
{{- end }}
{{ include "inferencehub.env.both" . }}
{{- end }}

{{- define "inferencehub.env.inference" -}}
- name: PORT
  value: "50051"
- name: HUB_STREAM_PORT
  value: "50052"
- name: HUB_POOL
  value: {{ .pool | quote }}
- name: HUB_MODELS
  value: /models
{{- with .values.requiredModels }}
- name: HUB_REQUIRED_MODELS
  value: {{ join "," . | quote }}
{{- end }}
{{ include "inferencehub.env.both" . }}
{{- end }}

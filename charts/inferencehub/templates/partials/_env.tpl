{{/* The environment of both tiers. It takes a tier, see _pod.tpl. */}}

{{- define "inferencehub.env.both" -}}
- name: HUB_OPS_PORT
  value: "9090"
{{- include "inferencehub.tls.ops.env" .root }}
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

{{/* Which version of a model a call gets that names none: the gateway's setting, and the file that it names. */}}

{{- define "inferencehub.traffic.env" -}}
{{- if .Values.traffic.models }}
- name: HUB_TRAFFIC
  value: /etc/inferencehub/traffic/traffic.json
{{- end }}
{{- end }}

{{/* Mounted as a whole: a file of its own (subPath) would never change. */}}
{{- define "inferencehub.traffic.volume" -}}
{{- if .Values.traffic.models }}
- name: traffic
  configMap:
    name: {{ include "inferencehub.gateway" . }}-traffic
{{- end }}
{{- end }}

{{- define "inferencehub.traffic.mount" -}}
{{- if .Values.traffic.models }}
- name: traffic
  mountPath: /etc/inferencehub/traffic
  readOnly: true
{{- end }}
{{- end }}

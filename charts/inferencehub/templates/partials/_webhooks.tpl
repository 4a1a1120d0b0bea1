{{/* Webhooks of jobs: whom gateways may tell, and what signs it. */}}

{{- define "inferencehub.webhooks.env" -}}
{{- $webhooks := .Values.jobs.webhooks }}
{{- if $webhooks.hosts }}
- name: HUB_WEBHOOK_HOSTS
  value: {{ join "," $webhooks.hosts | quote }}
- name: HUB_WEBHOOK_SECRET
  value: /etc/inferencehub/webhooks/secrets
{{- if $webhooks.caConfigMap }}
- name: HUB_WEBHOOK_CA
  value: /etc/inferencehub/webhooks-ca/ca.crt
{{- end }}
{{- end }}
{{- end }}

{{- define "inferencehub.webhooks.volume" -}}
{{- with .Values.jobs.webhooks }}
{{- if .hosts }}
- name: webhooks
  secret:
    secretName: {{ .existingSecret }}
    defaultMode: 0400
{{- if .caConfigMap }}
- name: webhooks-ca
  configMap:
    name: {{ .caConfigMap }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "inferencehub.webhooks.mount" -}}
{{- with .Values.jobs.webhooks }}
{{- if .hosts }}
- name: webhooks
  mountPath: /etc/inferencehub/webhooks
  readOnly: true
{{- if .caConfigMap }}
- name: webhooks-ca
  mountPath: /etc/inferencehub/webhooks-ca
  readOnly: true
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* A NetworkPolicy's rule for reaching the receivers: a host without a port has that of its scheme. */}}
{{- define "inferencehub.webhooks.egress" -}}
{{- with .Values.jobs.webhooks }}
{{- if .hosts }}
{{- $ports := list }}
{{- range .hosts }}
{{- $usual := ternary "80" "443" (hasPrefix "http://" .) }}
{{- $ports = append $ports (regexFind ":[0-9]+$" . | trimPrefix ":" | default $usual | int) }}
{{- end }}
- ports:
    {{- range $ports | uniq }}
    - {protocol: TCP, port: {{ . }}}
    {{- end }}
  {{- with .egressTo }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- end }}
{{- end }}

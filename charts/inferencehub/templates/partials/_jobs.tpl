{{/* Calls that may take their time: where gateways keep them. */}}

{{- define "inferencehub.jobs.name" -}}
{{ include "inferencehub.fullname" . }}-jobs
{{- end }}

{{/* Whether there are jobs; empty if not. */}}
{{- define "inferencehub.jobs" -}}
{{- $redis := .Values.jobs.redis }}
{{- if or $redis.url $redis.existingSecret $redis.embedded.enabled }}yes{{ end }}
{{- end }}

{{- define "inferencehub.jobs.env" -}}
{{- $redis := .Values.jobs.redis }}
{{- if include "inferencehub.jobs" . }}
- name: HUB_JOBS
  {{- if $redis.existingSecret }}
  value: file:/etc/inferencehub/jobs/url
  {{- else if $redis.url }}
  value: {{ $redis.url | quote }}
  {{- else }}
  value: {{ printf "redis://%s.%s.svc.%s.:6379/0" (include "inferencehub.jobs.name" .) .Release.Namespace .Values.clusterDomain | quote }}
  {{- end }}
{{- if $redis.caConfigMap }}
- name: HUB_JOBS_CA
  value: /etc/inferencehub/jobs-ca/ca.crt
{{- end }}
- name: HUB_JOBS_QUEUE_LENGTH
  value: {{ int .Values.jobs.queueLength | quote }}
- name: HUB_JOB_TTL_S
  value: {{ int .Values.jobs.ttlSeconds | quote }}
- name: HUB_JOBS_DRAIN_S
  value: {{ int .Values.jobs.drainSeconds | quote }}
- name: HUB_JOBS_FLOOR
  value: {{ .Values.jobs.floor | quote }}
- name: HUB_QUOTAS_FAIL_OPEN
  value: {{ .Values.jobs.quotasFailOpen | quote }}
{{- end }}
{{- end }}

{{- define "inferencehub.jobs.volume" -}}
{{- with .Values.jobs.redis.existingSecret }}
- name: jobs
  secret:
    secretName: {{ . }}
    defaultMode: 0400
{{- end }}
{{- with .Values.jobs.redis.caConfigMap }}
- name: jobs-ca
  configMap:
    name: {{ . }}
{{- end }}
{{- end }}

{{- define "inferencehub.jobs.mount" -}}
{{- if .Values.jobs.redis.existingSecret }}
- name: jobs
  mountPath: /etc/inferencehub/jobs
  readOnly: true
{{- end }}
{{- if .Values.jobs.redis.caConfigMap }}
- name: jobs-ca
  mountPath: /etc/inferencehub/jobs-ca
  readOnly: true
{{- end }}
{{- end }}

{{/* The ports of a store elsewhere, and of its sentinels, as a list. */}}
{{- define "inferencehub.jobs.ports" -}}
{{- $redis := .Values.jobs.redis }}
{{- $port := $redis.port }}
{{- $ports := list }}
{{- if contains "+sentinel://" $redis.url }}
{{- range regexReplaceAll "^[^/]*//([^/]*)/.*$" $redis.url "${1}" | splitList "," }}
{{- $ports = append $ports (regexFind ":[0-9]+$" . | trimPrefix ":" | default "26379" | int) }}
{{- end }}
{{- else if $redis.url }}
{{- $port = $port | default ((urlParse $redis.url).host | regexFind ":[0-9]+$" | trimPrefix ":") }}
{{- end }}
{{- with $redis.sentinelPort }}{{ $ports = append $ports (int .) }}{{ end }}
{{- prepend $ports ($port | default "6379" | int) | uniq | toJson }}
{{- end }}

{{/* A NetworkPolicy's rule for reaching the store. */}}
{{- define "inferencehub.jobs.egress" -}}
{{- $redis := .Values.jobs.redis }}
{{- if $redis.embedded.enabled }}
- ports:
    - {protocol: TCP, port: 6379}
  to:
    - podSelector:
        matchLabels:
          {{- include "inferencehub.selector" (dict "root" . "component" "jobs") | nindent 10 }}
{{- else if include "inferencehub.jobs" . }}
- ports:
    {{- range include "inferencehub.jobs.ports" . | fromJsonArray }}
    - {protocol: TCP, port: {{ . }}}
    {{- end }}
  {{- with $redis.egressTo }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- end }}

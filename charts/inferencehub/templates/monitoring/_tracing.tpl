{{/* Traces: where gateways send them, and which ones. */}}

{{- define "inferencehub.tracing.env" -}}
{{- with .Values.tracing }}
{{- if .endpoint }}
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ .endpoint | quote }}
{{- with .existingSecret }}
- name: OTEL_EXPORTER_OTLP_HEADERS
  valueFrom:
    secretKeyRef:
      name: {{ . }}
      key: headers
{{- end }}
- name: OTEL_TRACES_SAMPLER
  value: {{ .sampler }}
- name: OTEL_TRACES_SAMPLER_ARG
  value: {{ .samplerArg | quote }}
- name: HUB_TRACE_SLOW_MS
  value: {{ int .slowMilliseconds | quote }}
{{- end }}
{{- end }}
{{- end }}

{{/* Lets gateways reach the collector, at the port of its URL. */}}
{{- define "inferencehub.tracing.egress" -}}
{{- with .Values.tracing }}
{{- if .endpoint }}
{{- $url := urlParse .endpoint }}
{{- $port := regexFind ":[0-9]+$" $url.host | trimPrefix ":" }}
- ports:
    - {protocol: TCP, port: {{ $port | default (ternary "443" "80" (eq $url.scheme "https")) | int }}}
  {{- with .egressTo }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* Rules that several NetworkPolicies have in common. */}}

{{- define "inferencehub.policy.dns" -}}
- ports:
    {{- range .Values.networkPolicy.dns.ports }}
    - {protocol: UDP, port: {{ int . }}}
    - {protocol: TCP, port: {{ int . }}}
    {{- end }}
  {{- with .Values.networkPolicy.dns.to }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{/* Who may read metrics. A rule without peers would allow everyone, so without peers there is no rule. */}}
{{- define "inferencehub.policy.metrics" -}}
{{- with .Values.networkPolicy.metricsFrom }}
- ports:
    - {protocol: TCP, port: 9090}
  from:
    {{- toYaml . | nindent 4 }}
{{- end }}
{{- end }}

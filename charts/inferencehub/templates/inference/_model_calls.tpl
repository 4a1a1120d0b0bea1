{{/* Calls of other models that Python models make: a pod's settings, the files that they name, and who may reach the gateway. */}}

{{/* It takes a tier, see partials/_pod.tpl. */}}
{{- define "inferencehub.modelCalls.env" -}}
{{- if .values.modelCalls.enabled }}
- name: HUB_GATEWAY
  value: {{ printf "%s.%s.svc.%s:%d" (include "inferencehub.gateway" .root) .root.Release.Namespace .root.Values.clusterDomain (int .root.Values.gateway.service.grpcPort) }}
{{- if .values.modelCalls.existingSecret }}
- name: HUB_GATEWAY_KEY
  value: /etc/inferencehub/gateway-key/key
{{- end }}
{{- if include "inferencehub.tls.callers" .root }}
- name: HUB_GATEWAY_TLS_CA
  value: /etc/inferencehub/gateway-tls/ca.crt
{{- with include "inferencehub.modelCalls.serverName" . }}
- name: HUB_GATEWAY_TLS_SERVER_NAME
  value: {{ . | quote }}
{{- end }}
{{- if .values.modelCalls.certificateSecret }}
- name: HUB_GATEWAY_TLS_CERT
  value: /etc/inferencehub/gateway-tls/tls.crt
- name: HUB_GATEWAY_TLS_KEY
  value: /etc/inferencehub/gateway-tls/tls.key
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/*
The name by which pods know the gateway's certificate for callers; empty for the host of its Service. Public issuers sign no
name of a Service, so that of callers is taken; a name with * is none. It takes a tier.
*/}}
{{- define "inferencehub.modelCalls.serverName" -}}
{{- $names := list }}
{{- range .root.Values.tls.callers.certManager.dnsNames }}
{{- if not (contains "*" .) }}{{ $names = append $names . }}{{ end }}
{{- end }}
{{- .values.modelCalls.serverName | default (first (append $names "")) }}
{{- end }}

{{/*
The volumes and the mounts: the key, and the files for TLS. They take a tier. Of the gateway's own Secret, pods get the
authorities and not its key.
*/}}
{{- define "inferencehub.modelCalls.volumes" -}}
{{- $calls := .values.modelCalls }}{{ $callers := include "inferencehub.tls.callers" .root }}
{{- if and $calls.enabled $calls.existingSecret }}
- name: gateway-key
  secret:
    secretName: {{ $calls.existingSecret }}
    defaultMode: 0400
{{- end }}
{{- if and $calls.enabled $callers }}
- name: gateway-tls
  projected:
    defaultMode: 0400
    sources:
      {{- if $calls.caConfigMap }}
      - configMap:
          name: {{ $calls.caConfigMap }}
          items: [{key: ca.crt, path: ca.crt}]
      {{- else }}
      - secret:
          name: {{ $callers }}
          items: [{key: ca.crt, path: ca.crt}]
      {{- end }}
      {{- with $calls.certificateSecret }}
      - secret:
          name: {{ . }}
          items: [{key: tls.crt, path: tls.crt}, {key: tls.key, path: tls.key}]
      {{- end }}
{{- end }}
{{- end }}

{{- define "inferencehub.modelCalls.mounts" -}}
{{- $calls := .values.modelCalls }}
{{- if and $calls.enabled $calls.existingSecret }}
- name: gateway-key
  mountPath: /etc/inferencehub/gateway-key
  readOnly: true
{{- end }}
{{- if and $calls.enabled (include "inferencehub.tls.callers" .root) }}
- name: gateway-tls
  mountPath: /etc/inferencehub/gateway-tls
  readOnly: true
{{- end }}
{{- end }}

{{/* The pools whose models may call others, with commas between. It takes the root. */}}
{{- define "inferencehub.modelCalls.pools" -}}
{{- $names := list }}
{{- range $name, $override := .Values.inference.pools }}
{{- $pool := dict }}{{ include "inferencehub.pool" (list $ $override $pool) }}
{{- if $pool.modelCalls.enabled }}{{ $names = append $names $name }}{{ end }}
{{- end }}
{{- join "," $names }}
{{- end }}

{{/* A NetworkPolicy's rule for inference pods, which is that of all pools, and that for gateways. They take the root. */}}
{{- define "inferencehub.modelCalls.egress" -}}
{{- if include "inferencehub.modelCalls.pools" . }}
# Models that call others.
- ports:
    - {protocol: TCP, port: 3001}
  to:
    - podSelector:
        matchLabels:
          {{- include "inferencehub.selector" (dict "root" $ "component" "gateway") | nindent 10 }}
{{- end }}
{{- end }}

{{- define "inferencehub.modelCalls.ingress" -}}
{{- if include "inferencehub.modelCalls.pools" . }}
# Models that call others.
- ports:
    - {protocol: TCP, port: 3001}
  from:
    - podSelector:
        matchLabels:
          {{- include "inferencehub.selector" (dict "root" $ "component" "inference") | nindent 10 }}
{{- end }}
{{- end }}

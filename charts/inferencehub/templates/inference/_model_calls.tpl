{{/* Calls of other models that Python models make: a pod's settings, the file with its key, and who may reach the gateway. */}}

{{/* It takes a tier, see partials/_pod.tpl. */}}
{{- define "inferencehub.modelCalls.env" -}}
{{- if .values.modelCalls.enabled }}
- name: HUB_GATEWAY
  value: {{ printf "%s.%s.svc.%s:%d" (include "inferencehub.gateway" .root) .root.Release.Namespace .root.Values.clusterDomain (int .root.Values.gateway.service.grpcPort) }}
{{- if .values.modelCalls.existingSecret }}
- name: HUB_GATEWAY_KEY
  value: /etc/inferencehub/gateway-key/key
{{- end }}
{{- end }}
{{- end }}

{{/* The volume and the mount of the key. They take a pool's values; empty without a Secret. */}}
{{- define "inferencehub.modelCalls.volume" -}}
{{- if and .modelCalls.enabled .modelCalls.existingSecret }}
- name: gateway-key
  secret:
    secretName: {{ .modelCalls.existingSecret }}
    defaultMode: 0400
{{- end }}
{{- end }}

{{- define "inferencehub.modelCalls.mount" -}}
{{- if and .modelCalls.enabled .modelCalls.existingSecret }}
- name: gateway-key
  mountPath: /etc/inferencehub/gateway-key
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

{{/* Callers: who they are and what they may use. The gateway's settings, and the files that they name. */}}

{{/* The file of limits, as JSON; empty if there are none. */}}
{{- define "inferencehub.limits" -}}
{{- with omit .Values.limits "trustedProxies" }}
{{- if or .tenants .models .addresses }}{{ toJson . }}{{ end }}
{{- end }}
{{- end }}

{{/* What callers must send: "key", "token" or "key or token"; empty if nobody is asked. */}}
{{- define "inferencehub.auth.asked" -}}
{{- $auth := .Values.auth }}{{ $asked := list }}
{{- if $auth.apiKeys.existingSecret }}{{ $asked = append $asked "key" }}{{ end }}
{{- if $auth.jwt.issuer }}{{ $asked = append $asked "token" }}{{ end }}
{{- join " or " $asked }}
{{- end }}

{{/* The file of API keys in a Secret: its setting, its volume and its mount. Each takes the Secret's name; empty without one. */}}
{{- define "inferencehub.auth.keysEnv" -}}
{{- if . }}
- name: HUB_API_KEYS
  value: /etc/inferencehub/auth/keys.json
{{- end }}
{{- end }}

{{- define "inferencehub.auth.keysVolume" -}}
{{- if . }}
- name: auth
  secret:
    secretName: {{ . }}
    defaultMode: 0400
{{- end }}
{{- end }}

{{- define "inferencehub.auth.keysMount" -}}
{{- if . }}
- name: auth
  mountPath: /etc/inferencehub/auth
  readOnly: true
{{- end }}
{{- end }}

{{/* The pools that take direct callers, with commas between. */}}
{{- define "inferencehub.auth.direct" -}}
{{- $names := list }}
{{- range $name, $override := .Values.inference.pools }}
{{- $pool := dict }}{{ include "inferencehub.pool" (list $ $override $pool) }}
{{- if $pool.directCalls.existingSecret }}{{ $names = append $names $name }}{{ end }}
{{- end }}
{{- join "," $names }}
{{- end }}

{{- define "inferencehub.auth.env" -}}
{{- $jwt := .Values.auth.jwt }}
{{- include "inferencehub.auth.keysEnv" .Values.auth.apiKeys.existingSecret }}
{{- if $jwt.issuer }}
- name: HUB_JWT_KEYS
  value: {{ $jwt.keys.url | default "/etc/inferencehub/jwt/jwks.json" | quote }}
{{- if $jwt.keys.caConfigMap }}
- name: HUB_JWT_CA
  value: /etc/inferencehub/jwt/ca.crt
{{- end }}
- name: HUB_JWT_ISSUER
  value: {{ $jwt.issuer | quote }}
- name: HUB_JWT_AUDIENCE
  value: {{ join "," $jwt.audiences | quote }}
- name: HUB_JWT_ALGORITHMS
  value: {{ join "," $jwt.algorithms | quote }}
- name: HUB_JWT_CLAIMS
  value: {{ toJson $jwt.claims | quote }}
{{- end }}
{{- if .Values.tls.callers.clientAuthorities }}
- name: HUB_TLS_CA
  value: /etc/inferencehub/callers-ca/ca.crt
{{- end }}
{{- if include "inferencehub.limits" . }}
- name: HUB_LIMITS
  value: /etc/inferencehub/limits/limits.json
{{- end }}
{{- with .Values.limits.trustedProxies }}
- name: HUB_TRUSTED_PROXIES
  value: {{ join "," . | quote }}
{{- end }}
{{- if or (include "inferencehub.auth.asked" .) (include "inferencehub.limits" .) }}
- name: HUB_GATEWAYS
  value: {{ printf "%s-ops.%s.svc.%s." (include "inferencehub.gateway" .) .Release.Namespace .Values.clusterDomain }}
{{- end }}
{{- end }}

{{/* Mounted as a whole: a file of its own (subPath) would never change. */}}
{{- define "inferencehub.auth.volumes" -}}
{{- if include "inferencehub.limits" . }}
- name: limits
  configMap:
    name: {{ include "inferencehub.gateway" . }}-limits
{{- end }}
{{- with .Values.tls.callers.clientAuthorities }}
- name: callers-ca
  configMap:
    name: {{ . }}
{{- end }}
{{- include "inferencehub.auth.keysVolume" .Values.auth.apiKeys.existingSecret }}
{{- with .Values.auth.jwt.keys }}
{{- if or .configMap .caConfigMap }}
- name: jwt
  projected:
    sources:
      {{- with .configMap }}
      - configMap:
          name: {{ . }}
          items: [{key: jwks.json, path: jwks.json}]
      {{- end }}
      {{- with .caConfigMap }}
      - configMap:
          name: {{ . }}
          items: [{key: ca.crt, path: ca.crt}]
      {{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "inferencehub.auth.mounts" -}}
{{- if include "inferencehub.limits" . }}
- name: limits
  mountPath: /etc/inferencehub/limits
  readOnly: true
{{- end }}
{{- if .Values.tls.callers.clientAuthorities }}
- name: callers-ca
  mountPath: /etc/inferencehub/callers-ca
  readOnly: true
{{- end }}
{{- include "inferencehub.auth.keysMount" .Values.auth.apiKeys.existingSecret }}
{{- if or .Values.auth.jwt.keys.configMap .Values.auth.jwt.keys.caConfigMap }}
- name: jwt
  mountPath: /etc/inferencehub/jwt
  readOnly: true
{{- end }}
{{- end }}

{{/* A NetworkPolicy's rule for fetching the keys of tokens. */}}
{{- define "inferencehub.auth.egress" -}}
{{- with .Values.auth.jwt.keys }}
{{- if .url }}
- ports:
    - {protocol: TCP, port: {{ (urlParse .url).host | regexFind ":[0-9]+$" | trimPrefix ":" | default "443" }}}
  {{- with .egressTo }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- end }}
{{- end }}

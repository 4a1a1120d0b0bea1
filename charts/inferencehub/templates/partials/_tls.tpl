{{/* Certificates: which Secret a port has them from, where they are mounted, and the names in them. */}}

{{/* The Secret with the certificate for callers; empty without one. */}}
{{- define "inferencehub.tls.callers" -}}
{{- $callers := .Values.tls.callers }}
{{- if $callers.existingSecret }}{{ $callers.existingSecret }}
{{- else if $callers.certManager.issuerRef.name }}{{ include "inferencehub.gateway" . }}-callers-tls
{{- end }}
{{- end }}

{{/* The Secret with what a tier shows to the other one; empty if the tiers speak in plain: (list root tier) */}}
{{- define "inferencehub.tls.tier" -}}
{{- $root := index . 0 }}{{ $tier := index . 1 }}{{ $tiers := $root.Values.tls.tiers }}
{{- with (index $tiers $tier).existingSecret }}{{ . }}
{{- else }}
{{- if or $tiers.certManager.issuerRef.name $tiers.selfSigned }}{{ include "inferencehub.fullname" $root }}-{{ $tier }}-tls{{ end }}
{{- end }}
{{- end }}

{{/* The Secret with the authority that the scaler makes. No pod mounts it. */}}
{{- define "inferencehub.tls.authority" -}}
{{ include "inferencehub.fullname" . }}-tiers-authority
{{- end }}

{{/* The name in a tier's certificate, by which the other one knows it: (list root tier) */}}
{{- define "inferencehub.tls.name" -}}
{{- $root := index . 0 }}
{{- include "inferencehub.fullname" $root }}-{{ index . 1 }}.{{ $root.Release.Namespace }}.svc
{{- end }}

{{/* The settings of a tier's certificate. It takes a tier, see partials/_pod.tpl. */}}
{{- define "inferencehub.tls.env" -}}
{{- if include "inferencehub.tls.tier" (list .root .component) }}
- name: HUB_TIER_TLS_CERT
  value: /etc/inferencehub/tier-tls/tls.crt
- name: HUB_TIER_TLS_KEY
  value: /etc/inferencehub/tier-tls/tls.key
- name: HUB_TIER_TLS_CA
  value: /etc/inferencehub/tier-tls/ca.crt
{{- end }}
{{- end }}

{{/*
Its volume and its mount. The Secret is mounted as a whole: a file of its own (subPath) would never change. Its keys are named,
so a pod waits until it has all of them, and keeps the files it has if they are removed.
*/}}
{{- define "inferencehub.tls.volume" -}}
{{- with include "inferencehub.tls.tier" (list .root .component) }}
- name: tier-tls
  secret:
    secretName: {{ . }}
    defaultMode: 0400
    items:
      - {key: tls.crt, path: tls.crt}
      - {key: tls.key, path: tls.key}
      - {key: ca.crt, path: ca.crt}
{{- end }}
{{- end }}

{{- define "inferencehub.tls.mount" -}}
{{- if include "inferencehub.tls.tier" (list .root .component) }}
- name: tier-tls
  mountPath: /etc/inferencehub/tier-tls
  readOnly: true
{{- end }}
{{- end }}

{{/* A Certificate of cert-manager: (dict "root" "tier" "secret" "names" "usages" "issuerRef") */}}
{{- define "inferencehub.tls.certificate" -}}
apiVersion: cert-manager.io/v1
kind: Certificate
metadata:
  name: {{ .secret }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "inferencehub.labels" (dict "root" .root "component" .tier) | nindent 4 }}
spec:
  secretName: {{ .secret }}
  dnsNames:
    {{- toYaml .names | nindent 4 }}
  usages:
    - digital signature
    {{- toYaml .usages | nindent 4 }}
  privateKey:
    algorithm: ECDSA
    size: 256
    rotationPolicy: Always
  issuerRef:
    {{- toYaml .issuerRef | nindent 4 }}
{{- end }}

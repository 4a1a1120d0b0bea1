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

{{/* The Secret of the ops port of all pods; empty if it speaks in plain. */}}
{{- define "inferencehub.tls.ops" -}}
{{- $ops := .Values.tls.ops }}
{{- if $ops.existingSecret }}{{ $ops.existingSecret }}
{{- else if $ops.certManager.issuerRef.name }}{{ include "inferencehub.fullname" . }}-ops-tls
{{- end }}
{{- end }}

{{/* A name in a certificate: that of a tier, by which the other one knows it, or that of ops ports: (list root tier or "ops") */}}
{{- define "inferencehub.tls.name" -}}
{{- $root := index . 0 }}
{{- include "inferencehub.fullname" $root }}-{{ index . 1 }}.{{ $root.Release.Namespace }}.svc
{{- end }}

{{/* The settings of the ops port's certificate, its volume and its mount, for all pods. They take the root. */}}
{{- define "inferencehub.tls.ops.env" -}}
{{- if include "inferencehub.tls.ops" . }}
- name: HUB_OPS_TLS_CERT
  value: /etc/inferencehub/ops-tls/tls.crt
- name: HUB_OPS_TLS_KEY
  value: /etc/inferencehub/ops-tls/tls.key
- name: HUB_OPS_TLS_CA
  value: /etc/inferencehub/ops-tls/ca.crt
{{- end }}
{{- end }}

{{- define "inferencehub.tls.ops.volume" -}}
{{- with include "inferencehub.tls.ops" . }}
- name: ops-tls
  secret:
    secretName: {{ . }}
    defaultMode: 0400
{{- end }}
{{- end }}

{{- define "inferencehub.tls.ops.mount" -}}
{{- if include "inferencehub.tls.ops" . }}
- name: ops-tls
  mountPath: /etc/inferencehub/ops-tls
  readOnly: true
{{- end }}
{{- end }}

{{/* A port of a Service that leads to ops ports. A scaler, which may be that of another release, reads here how they speak. */}}
{{- define "inferencehub.tls.ops.port" -}}
- name: ops
  port: 9090
  targetPort: ops
  {{- if include "inferencehub.tls.ops" . }}
  appProtocol: https
  {{- end }}
{{- end }}

{{/* A probe of the ops port; kubelets check no certificate and show none: (list root path) */}}
{{- define "inferencehub.tls.ops.probe" -}}
httpGet: {path: {{ index . 1 }}, port: ops{{ if include "inferencehub.tls.ops" (index . 0) }}, scheme: HTTPS{{ end }}}
{{- end }}

{{/* The names in the certificate of ops ports: by the first one Prometheus knows them, by the second one KEDA the scaler. */}}
{{- define "inferencehub.tls.ops.names" -}}
- {{ include "inferencehub.tls.name" (list . "ops") }}
- {{ include "inferencehub.scaler" . }}.{{ .Release.Namespace }}.svc
{{- end }}

{{/* How Prometheus reads metrics: the fields of a monitor's endpoint. */}}
{{- define "inferencehub.tls.ops.scrape" -}}
{{- with include "inferencehub.tls.ops" . }}
scheme: https
tlsConfig:
  serverName: {{ include "inferencehub.tls.name" (list $ "ops") }}
  ca:
    secret: {name: {{ . }}, key: ca.crt}
  cert:
    secret: {name: {{ . }}, key: tls.crt}
  keySecret: {name: {{ . }}, key: tls.key}
{{- end }}
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

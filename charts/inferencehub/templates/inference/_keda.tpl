{{/*
KEDA's ScaledObject of a pool. It takes a tier, see partials/_pod.tpl. KEDA creates the HorizontalPodAutoscaler itself and
reads the scaler's JSON. There is no fallback: while the scaler does not answer, the number of pods does not change. Besides,
KEDA would multiply a fallback by the target cut to a whole number, which is 0 for a target below 1.
*/}}

{{- define "inferencehub.scaledObject" -}}
{{- $scaling := .values.autoscaling }}{{ $zero := $scaling.scaleToZero }}
{{- $least := include "inferencehub.least" . | int }}
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  name: {{ .name }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "inferencehub.labels" . | nindent 4 }}
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: {{ .name }}
  pollingInterval: 5
  {{- if $zero.enabled }}
  cooldownPeriod: {{ int $zero.quietSeconds }}
  {{- end }}
  {{- if and $zero.enabled (gt $least 1) }}
  # No pod, or at least this many.
  idleReplicaCount: 0
  {{- end }}
  minReplicaCount: {{ ternary 0 $least (and $zero.enabled (eq $least 1)) }}
  maxReplicaCount: {{ int $scaling.maxReplicas }}
  {{- with $scaling.behavior }}
  advanced:
    horizontalPodAutoscalerConfig:
      behavior:
        {{- toYaml . | nindent 8 }}
  {{- end }}
  triggers:
    - type: metrics-api
      metricType: AverageValue
      metadata:
        url: {{ include "inferencehub.demand.url" . | quote }}
        {{- if include "inferencehub.tls.ops" .root }}
        authMode: tls
        {{- end }}
        valueLocation: demand
        targetValue: {{ divf $scaling.targetDemand 100 | toString | quote }}
        activationTargetValue: "0"
      {{- if include "inferencehub.tls.ops" .root }}
      authenticationRef:
        name: {{ include "inferencehub.fullname" .root }}-ops-tls
      {{- end }}
{{- end }}

{{- define "inferencehub.demand.url" -}}
{{- $query := printf "namespace=%s&release=%s&pool=%s" .root.Release.Namespace .root.Release.Name .pool }}
{{- $scheme := ternary "https" "http" (not (empty (include "inferencehub.tls.ops" .root))) }}
{{- printf "%s://%s.%s.svc:9090/demand?%s" $scheme (include "inferencehub.scaler" .root) .root.Release.Namespace $query }}
{{- end }}

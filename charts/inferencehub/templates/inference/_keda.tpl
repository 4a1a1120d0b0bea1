{{/*
KEDA's ScaledObject of a pool, see partials/_pod.tpl for the tier. KEDA makes the HorizontalPodAutoscaler itself and reads the scaler's
JSON. No fallback: where the scaler says nothing, KEDA says nothing, and the number of pods stays. A fallback would be wrong
besides: KEDA multiplies it by the target cut to a whole number, and ours is below 1.
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
  # None, or at least so many.
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
        valueLocation: demand
        targetValue: {{ divf $scaling.targetDemand 100 | toString | quote }}
        activationTargetValue: "0"
{{- end }}

{{- define "inferencehub.demand.url" -}}
{{- $query := printf "namespace=%s&release=%s&pool=%s" .root.Release.Namespace .root.Release.Name .pool }}
{{- printf "http://%s.%s.svc:9090/demand?%s" (include "inferencehub.scaler" .root) .root.Release.Namespace $query }}
{{- end }}

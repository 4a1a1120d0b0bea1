{{/* The number of pods: autoscaler and disruption budget. Each partial takes a tier with "name", see _pod.tpl. */}}

{{/* What the number of pods follows: cpu, demand, prometheus, keda or none. */}}
{{- define "inferencehub.source" -}}
{{- $scaling := .values.autoscaling | default dict }}
{{- $scaling.source | default (ternary "cpu" "none" ($scaling.enabled | default false)) }}
{{- end }}

{{/* The smallest number of pods that an autoscaler keeps, at least 1. Only the scaler or KEDA removes the last pod. */}}
{{- define "inferencehub.least" -}}
{{- $least := .values.autoscaling.minReplicas }}
{{- max 1 (int (ternary .values.replicas $least (kindIs "invalid" $least))) }}
{{- end }}

{{- define "inferencehub.autoscaler" -}}
{{- $scaling := .values.autoscaling }}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
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
  minReplicas: {{ include "inferencehub.least" . }}
  maxReplicas: {{ int $scaling.maxReplicas }}
  metrics:
    {{- if eq "cpu" (include "inferencehub.source" .) }}
    - type: Resource
      resource:
        name: cpu
        target:
          type: Utilization
          averageUtilization: {{ int $scaling.targetCPU }}
    {{- else }}
    # The demand as a number of busy pods. Divided by the target it is the number of pods to run.
    - type: External
      external:
        metric:
          name: inferencehub_demand
          selector:
            matchLabels:
              release: {{ .root.Release.Name | quote }}
              pool: {{ .pool | quote }}
        target:
          type: AverageValue
          averageValue: {{ mul 10 $scaling.targetDemand }}m
    {{- end }}
  {{- with $scaling.behavior }}
  behavior:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{- define "inferencehub.budget" -}}
{{- $budget := .values.podDisruptionBudget }}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ .name }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "inferencehub.labels" . | nindent 4 }}
spec:
  {{- if not (kindIs "invalid" $budget.minAvailable) }}
  minAvailable: {{ $budget.minAvailable }}
  {{- else if not (kindIs "invalid" $budget.maxUnavailable) }}
  maxUnavailable: {{ $budget.maxUnavailable }}
  {{- else }}
  maxUnavailable: 1
  {{- end }}
  # A pod that is not ready does not block the drain of a node.
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "inferencehub.selector" . | nindent 6 }}
{{- end }}

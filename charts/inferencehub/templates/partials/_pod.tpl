{{/*
What the pods of both tiers and of the scaler have in common.
A tier is (dict "root" $ "component" "gateway", "inference" or "scaler" "pool" name "values" the tier's or the pool's values).
*/}}

{{/* Writes the values of a pool into a dict: (list root override into) */}}
{{- define "inferencehub.pool" -}}
{{- $root := index . 0 }}{{ $override := index . 1 | default dict }}{{ $into := index . 2 }}
{{- $defaults := omit (deepCopy $root.Values.inference) "pools" "serviceAccount" }}
{{- $_ := mustMergeOverwrite $into $defaults (omit (deepCopy $override) "models") }}
{{- $sources := dict "configMap" dict "pvc" dict "initContainer" dict "fetch" (deepCopy ($root.Values.models.fetch | default dict)) }}
{{- $_ := set $into "models" (mustMergeOverwrite $sources (deepCopy ($override.models | default $root.Values.models))) }}
{{- end }}

{{/* The part of a Deployment that says how pods are replaced. It sets no replicas if an autoscaler does. */}}
{{- define "inferencehub.rollout" -}}
{{- if eq "none" (include "inferencehub.source" .) }}
replicas: {{ int .values.replicas }}
{{- end }}
minReadySeconds: {{ int .values.minReadySeconds }}
revisionHistoryLimit: {{ int .values.revisionHistoryLimit }}
progressDeadlineSeconds: {{ int .values.progressDeadlineSeconds }}
strategy:
  type: RollingUpdate
  rollingUpdate:
    maxUnavailable: {{ .values.strategy.maxUnavailable }}
    maxSurge: {{ .values.strategy.maxSurge }}
selector:
  matchLabels:
    {{- include "inferencehub.selector" . | nindent 4 }}
{{- end }}

{{/* The part of a pod's spec before its containers. */}}
{{- define "inferencehub.podSpec" -}}
serviceAccountName: {{ include "inferencehub.serviceAccount" (list .root .component) }}
automountServiceAccountToken: {{ .token | default false }}
enableServiceLinks: false
{{- if .graceSeconds }}
terminationGracePeriodSeconds: {{ .graceSeconds }}
{{- else }}
# drain.waitSeconds + drain.timeoutSeconds, and time to unload
terminationGracePeriodSeconds: {{ add .values.drain.waitSeconds .values.drain.timeoutSeconds 10 }}
{{- end }}
securityContext:
  {{- toYaml .root.Values.securityContext.pod | nindent 2 }}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .values.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- with .values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with include "inferencehub.tolerations" . | fromYamlArray }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.dnsConfig }}
dnsConfig:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.hostAliases }}
hostAliases:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with include "inferencehub.spread" . }}
{{ . | trim }}
{{- end }}
{{- end }}

{{/* The part that all containers have in common. */}}
{{- define "inferencehub.container" -}}
image: {{ include "inferencehub.image" (list .root .values.image) | quote }}
imagePullPolicy: {{ .values.image.pullPolicy }}
securityContext:
  {{- toYaml .root.Values.securityContext.container | nindent 2 }}
resources:
  {{- toYaml .values.resources | nindent 2 }}
{{- with .values.envFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "inferencehub.tmpVolume" -}}
- name: tmp
  emptyDir:
    sizeLimit: {{ .tmpSize }}
{{- end }}

{{/*
Labels. The selector of a Deployment cannot be changed, so it holds only labels that no upgrade changes.
Each partial takes (dict "root" $ "component" ... "pool" ...), the pool if there is one.
*/}}

{{- define "inferencehub.selector" -}}
app.kubernetes.io/name: {{ include "inferencehub.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- with .pool }}
inferencehub/pool: {{ . }}
{{- end }}
{{- end }}

{{- define "inferencehub.labels" -}}
{{ include "inferencehub.selector" . }}
app.kubernetes.io/part-of: inferencehub
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Labels of a pod. None of them changes with the chart's version, or every upgrade would replace all pods. */}}
{{- define "inferencehub.podLabels" -}}
{{ include "inferencehub.selector" . }}
app.kubernetes.io/part-of: inferencehub
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- with .podLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

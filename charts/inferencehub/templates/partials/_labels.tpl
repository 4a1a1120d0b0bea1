{{/*
Labels. A Deployment's selector can never be changed, so it holds only what no upgrade changes.
Each takes (dict "root" $ "component" ... "pool" ...), the pool where there is one.
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

{{/* A pod's: nothing that changes with the chart's version, or every upgrade would replace every pod. */}}
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

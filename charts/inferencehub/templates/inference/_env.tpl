{{/* The environment that the chart sets in a pool's pods; extraEnv brings all other settings. It takes a tier, see partials/_pod.tpl. */}}

{{- define "inferencehub.env.inference" -}}
- name: PORT
  value: "50051"
- name: HUB_STREAM_PORT
  value: "50052"
- name: HUB_POOL
  value: {{ .pool | quote }}
{{- with include "inferencehub.tls.env" . }}
{{- . }}
- name: HUB_TIER_TLS_CLIENT_NAMES
  value: {{ include "inferencehub.tls.name" (list $.root "gateway") }}
- name: HUB_HEALTH_PORT
  value: "50053"
{{- end }}
{{- with .values.directCalls.existingSecret }}
- name: HUB_DIRECT_CALLS
  value: "true"
{{- include "inferencehub.auth.keysEnv" . }}
{{- end }}
{{- include "inferencehub.modelCalls.env" . }}
{{- if ne .values.models.source "image" }}
- name: HUB_MODELS
  value: {{ include "inferencehub.models.path" . }}
{{- end }}
{{- if ne .values.readyAfter "all" }}
- name: HUB_READY_AFTER
  value: {{ .values.readyAfter }}
{{- end }}
{{- if ne .values.modelControl "none" }}
- name: HUB_MODEL_CONTROL
  value: {{ .values.modelControl }}
{{- end }}
{{- with .values.loadModels }}
- name: HUB_LOAD_MODELS
  value: {{ join "," . | quote }}
{{- end }}
{{- with .values.requiredModels }}
- name: HUB_REQUIRED_MODELS
  value: {{ join "," . | quote }}
{{- end }}
{{- with include "inferencehub.modelEnv" .values.extraEnv }}
- name: HUB_MODEL_ENV
  value: {{ . | quote }}
{{- end }}
{{ include "inferencehub.env.both" . }}
{{- end }}

{{/* The files that these settings name. */}}
{{- define "inferencehub.mounts.inference" -}}
{{- include "inferencehub.tls.mount" . }}
{{- include "inferencehub.tls.ops.mount" .root }}
{{- include "inferencehub.auth.keysMount" .values.directCalls.existingSecret }}
{{- include "inferencehub.modelCalls.mounts" . }}
{{- end }}

{{/*
The names in extraEnv that are no settings, with commas between: Python models get these variables, too.
Empty if extraEnv sets HUB_MODEL_ENV itself.
*/}}
{{- define "inferencehub.modelEnv" -}}
{{- $names := list }}{{ $own := false }}
{{- range . }}
{{- if eq .name "HUB_MODEL_ENV" }}{{ $own = true }}{{ end }}
{{- if not (hasPrefix "HUB_" .name) }}{{ $names = append $names .name }}{{ end }}
{{- end }}
{{- if not $own }}{{ join "," $names }}{{ end }}
{{- end }}

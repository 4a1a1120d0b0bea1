{{/* Where a pool's models come from. Each partial takes a tier with "pool", see partials/_pod.tpl. An image may have models at /models; ours has samples in another directory. */}}

{{- define "inferencehub.models.name" -}}
{{ include "inferencehub.fullname" .root }}-models-{{ .pool }}
{{- end }}

{{/* A path as a key of a ConfigMap, which cannot contain "/". */}}
{{- define "inferencehub.models.key" -}}
{{ . | replace "/" "__" }}
{{- end }}

{{/* The files in the values by path, texts and binary ones; none for another source: a pool's models */}}
{{- define "inferencehub.models.files" -}}
{{- if eq .source "configMap" }}
{{- merge dict (.configMap.files | default dict) (.configMap.binaryFiles | default dict) | toYaml }}
{{- end }}
{{- end }}

{{- define "inferencehub.models.volume" -}}
{{- $models := .values.models }}
{{- if eq $models.source "configMap" }}
- name: models
  configMap:
    {{- if $models.configMap.name }}
    name: {{ $models.configMap.name }}
    items:
      {{- toYaml $models.configMap.items | nindent 6 }}
    {{- else }}
    name: {{ include "inferencehub.models.name" . }}
    items:
      {{- range $path, $_ := include "inferencehub.models.files" $models | fromYaml }}
      - key: {{ include "inferencehub.models.key" $path }}
        path: {{ $path | quote }}
      {{- end }}
    {{- end }}
{{- else if eq $models.source "pvc" }}
- name: models
  persistentVolumeClaim:
    claimName: {{ $models.pvc.claimName }}
    readOnly: true
{{- else if eq $models.source "initContainer" }}
- name: models
  emptyDir:
    sizeLimit: {{ $models.initContainer.size | default "2Gi" }}
{{- end }}
{{- end }}

{{- define "inferencehub.models.mount" -}}
{{- $models := .values.models }}
{{- if ne $models.source "image" }}
- name: models
  mountPath: /models
  readOnly: true
  {{- if and (eq $models.source "pvc") $models.pvc.subPath }}
  subPath: {{ $models.pvc.subPath | quote }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "inferencehub.models.initContainer" -}}
{{- $init := .values.models.initContainer }}
- name: models
  image: {{ $init.image | quote }}
  imagePullPolicy: {{ .values.image.pullPolicy }}
  {{- with $init.command }}
  command:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $init.args }}
  args:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $init.env }}
  env:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    {{- toYaml .root.Values.securityContext.container | nindent 4 }}
  {{- with $init.resources }}
  resources:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  volumeMounts:
    - name: models
      mountPath: /models
    - name: tmp
      mountPath: /tmp
{{- end }}

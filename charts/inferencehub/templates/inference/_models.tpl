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

{{/* The directory of the repository. What a URI names has one of its own: a pod of another release or URI may share the volume. */}}
{{- define "inferencehub.models.path" -}}
{{- if eq .values.models.source "uri" -}}
/models/{{ include "inferencehub.inference" (list .root .pool) }}/{{ .values.models.uri | sha256sum | trunc 16 }}
{{- else -}}
/models
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
{{- else if eq $models.source "uri" }}
- name: models
  {{- if $models.fetch.cache.claimName }}
  persistentVolumeClaim:
    claimName: {{ $models.fetch.cache.claimName }}
  {{- else }}
  emptyDir:
    # The fetch itself stops before; the kubelet would evict the pod.
    sizeLimit: {{ $models.fetch.size }}
  {{- end }}
{{- with $models.fetch.caConfigMap }}
- name: models-ca
  configMap:
    name: {{ . }}
{{- end }}
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

{{/*
Fetches what a URI names. The sentence of the first fetch that fails is the container's termination message; after that the
container tells gateways why, as the service that it is then, with its settings and certificates.
*/}}
{{- define "inferencehub.models.fetch" -}}
{{- $models := .values.models }}{{ $fetch := $models.fetch }}
- name: models
  image: {{ include "inferencehub.image" (list .root .values.image) | quote }}
  imagePullPolicy: {{ .values.image.pullPolicy }}
  args:
    - refetch
    - /tmp/unfetched
    - {{ $models.uri | replace "$(" "$$(" | quote }}
    - --into={{ include "inferencehub.models.path" . }}
    - --size={{ $fetch.size }}
    - --timeout={{ int $fetch.timeoutSeconds }}
    # The one that serves, and those that a rollback may want.
    - --keep=3
    - --message=/dev/termination-log
    - --log-format={{ .values.log.format }}
  {{- $region := $fetch.region }}
  env:
    {{- include "inferencehub.env.inference" . | nindent 4 }}
    {{- with $fetch.endpoint }}
    - name: AWS_ENDPOINT_URL
      value: {{ . | quote }}
    {{- end }}
    {{- with $region }}
    - name: AWS_REGION
      value: {{ . | quote }}
    - name: AWS_DEFAULT_REGION
      value: {{ . | quote }}
    {{- end }}
    {{- if $fetch.caConfigMap }}
    - name: SSL_CERT_FILE
      value: /etc/inferencehub/models-ca/ca.crt
    - name: AWS_CA_BUNDLE
      value: /etc/inferencehub/models-ca/ca.crt
    {{- end }}
    {{- with $fetch.env }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with $models.secretName }}
  envFrom:
    - secretRef:
        name: {{ . }}
  {{- end }}
  terminationMessagePolicy: FallbackToLogsOnError
  securityContext:
    {{- toYaml .root.Values.securityContext.container | nindent 4 }}
  {{- with $fetch.resources }}
  resources:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  volumeMounts:
    - name: models
      mountPath: /models
    - name: tmp
      mountPath: /tmp
    {{- include "inferencehub.mounts.inference" . | indent 4 }}
    {{- if $fetch.caConfigMap }}
    - name: models-ca
      mountPath: /etc/inferencehub/models-ca
      readOnly: true
    {{- end }}
{{- end }}

{{/* A NetworkPolicy's rule for reaching the server of a URI: its port, and for S3 that of the endpoint. It takes a pool's models. */}}
{{- define "inferencehub.models.egress" -}}
{{- $url := ternary (.fetch.endpoint | default "https://s3") .uri (hasPrefix "s3://" .uri) }}
{{- $usual := ternary "80" "443" (hasPrefix "http://" $url) }}
- ports:
    - {protocol: TCP, port: {{ (urlParse $url).host | regexFind ":[0-9]+$" | trimPrefix ":" | default $usual | int }}}
  {{- with .fetch.egressTo }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{/* A model source needs what it needs, and what belongs to another one is a mistake: (dict "at" path "models" values) */}}

{{- define "inferencehub.guard.models" -}}
{{- $at := .at }}{{ $models := .models }}{{ $source := $models.source }}
{{- $files := $models.configMap.files }}{{ $name := $models.configMap.name }}
{{- $given := dict "configMap" (or $files $name) "pvc" $models.pvc.claimName "initContainer" $models.initContainer.image }}
{{- range $other, $set := $given }}
{{- if and $set (ne $other $source) }}
{{- fail (printf "%s.%s is set but %s.source is '%s': set %s.source to '%s', or leave the other out." $at $other $at $source $at $other) }}
{{- end }}
{{- end }}
{{- if and (eq $source "pvc") (not $given.pvc) }}
{{- fail (printf "%s.source is 'pvc' and no claim is named: set %s.pvc.claimName." $at $at) }}
{{- end }}
{{- if and (eq $source "initContainer") (not $given.initContainer) }}
{{- fail (printf "%s.source is 'initContainer' and there is no image for it: set %s.initContainer.image." $at $at) }}
{{- end }}
{{- if eq $source "configMap" }}
{{- if and $files $name }}
{{- fail (printf "%s.configMap has both files and the name of a ConfigMap: keep one." $at) }}
{{- end }}
{{- if not (or $files $name) }}
{{- fail (printf "%s.source is 'configMap' and there are no models: set %s.configMap.files, or name and items." $at $at) }}
{{- end }}
{{- if and $name (not $models.configMap.items) }}
{{- fail (printf "%s.configMap.name needs %s.configMap.items: a ConfigMap's keys hold no '/', so each needs its path, such as digits/1/model.onnx." $at $at) }}
{{- end }}
{{- include "inferencehub.guard.files" (dict "at" (printf "%s.configMap.files" $at) "files" ($files | default dict)) }}
{{- end }}
{{- end }}

{{- define "inferencehub.guard.files" -}}
{{- $keys := list }}
{{- range $path, $_ := .files }}
{{- if not (regexMatch "^[A-Za-z0-9][-._A-Za-z0-9]*(/[A-Za-z0-9_][-._A-Za-z0-9]*)+$" $path) }}
{{- fail (printf "%s: '%s' is no path in a model repository, such as digits/config.pbtxt or digits/1/model.onnx." $.at $path) }}
{{- end }}
{{- $keys = append $keys (include "inferencehub.models.key" $path) }}
{{- end }}
{{- if ne (len $keys) (len (uniq $keys)) }}
{{- fail (printf "%s: two paths differ only in '/' and '__', which a ConfigMap can't tell apart: rename one." .at) }}
{{- end }}
{{- if gt (len (toJson .files)) 1000000 }}
{{- fail (printf "%s holds more than a ConfigMap can, 1 MiB: use a pvc, an initContainer or an image." .at) }}
{{- end }}
{{- end }}

{{/* Refuses a model source that lacks a value, and values of another source: (dict "at" path "models" values) */}}

{{- define "inferencehub.guard.models" -}}
{{- $at := .at }}{{ $models := .models }}{{ $source := $models.source }}
{{- $files := $models.configMap.files }}{{ $name := $models.configMap.name }}
{{- $given := dict "configMap" (or $files $name) "pvc" $models.pvc.claimName "initContainer" $models.initContainer.image }}
{{- range $other, $set := $given }}
{{- if and $set (ne $other $source) }}
{{- fail (printf "%s.%s is set, but %s.source is '%s': set %s.source to '%s', or remove %s.%s." $at $other $at $source $at $other $at $other) }}
{{- end }}
{{- end }}
{{- if and (eq $source "pvc") (not $given.pvc) }}
{{- fail (printf "%s.source is 'pvc', but no claim is named: set %s.pvc.claimName." $at $at) }}
{{- end }}
{{- if and (eq $source "initContainer") (not $given.initContainer) }}
{{- fail (printf "%s.source is 'initContainer', but it has no image: set %s.initContainer.image." $at $at) }}
{{- end }}
{{- if eq $source "configMap" }}
{{- if and $files $name }}
{{- fail (printf "%s.configMap has both files and the name of a ConfigMap: remove one of them." $at) }}
{{- end }}
{{- if not (or $files $name) }}
{{- fail (printf "%s.source is 'configMap', but there are no models: set %s.configMap.files, or name and items." $at $at) }}
{{- end }}
{{- if and $name (not $models.configMap.items) }}
{{- fail (printf "%s.configMap.name needs %s.configMap.items: the keys of a ConfigMap cannot contain '/', so each key needs a path, such as digits/1/model.onnx." $at $at) }}
{{- end }}
{{- include "inferencehub.guard.files" (dict "at" (printf "%s.configMap.files" $at) "files" ($files | default dict)) }}
{{- end }}
{{- end }}

{{- define "inferencehub.guard.files" -}}
{{- $keys := list }}
{{- range $path, $_ := .files }}
{{- if not (regexMatch "^[A-Za-z0-9][-._A-Za-z0-9]*(/[A-Za-z0-9_][-._A-Za-z0-9]*)+$" $path) }}
{{- fail (printf "%s: '%s' is not a path in a model repository; expected a path such as digits/config.pbtxt or digits/1/model.onnx." $.at $path) }}
{{- end }}
{{- $keys = append $keys (include "inferencehub.models.key" $path) }}
{{- end }}
{{- if ne (len $keys) (len (uniq $keys)) }}
{{- fail (printf "%s: two paths differ only in '/' and '__', so both would get the same key in the ConfigMap: rename one of them." .at) }}
{{- end }}
{{- if gt (len (toJson .files)) 1000000 }}
{{- fail (printf "%s is larger than a ConfigMap can be, 1 MiB: use a pvc, an initContainer or an image." .at) }}
{{- end }}
{{- end }}

{{/* Refuses a model source that lacks a value, and values of another source: (dict "at" path "models" values) */}}

{{- define "inferencehub.guard.models" -}}
{{- $at := .at }}{{ $models := .models }}{{ $source := $models.source }}
{{- $texts := $models.configMap.files | default dict }}{{ $binaries := $models.configMap.binaryFiles | default dict }}
{{- $files := or $texts $binaries }}{{ $name := $models.configMap.name }}
{{- $given := dict "configMap" (or $files $name) "pvc" $models.pvc.claimName "initContainer" $models.initContainer.image "uri" $models.uri }}
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
{{- if and (eq $source "uri") (not $models.uri) }}
{{- fail (printf "%s.source is 'uri', but it names none: set %s.uri, such as https://models.example.com/models.tar.gz#sha256=..." $at $at) }}
{{- end }}
{{- if and (hasPrefix "http://" ($models.uri | default "")) (not (contains "sha256=" $models.uri)) }}
{{- fail (printf "%s.uri is plain http, over which anybody on the way can change models: add #sha256=..., or use https." $at) }}
{{- end }}
{{- if and (regexMatch "[#&]sha256=" ($models.uri | default "")) (not (regexMatch "[#&]sha256=[0-9A-Fa-f]{64}(&|$)" $models.uri)) }}
{{- fail (printf "%s.uri has a checksum that is none: expected #sha256= and 64 hexadecimal digits, as `sha256sum FILE` prints them." $at) }}
{{- end }}
{{- if and $models.secretName (ne $source "uri") }}
{{- fail (printf "%s.secretName is set, but %s.source is '%s': it is for source 'uri' alone, so remove it." $at $at $source) }}
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
{{- include "inferencehub.guard.files" (dict "at" (printf "%s.configMap" $at) "texts" $texts "binaries" $binaries) }}
{{- end }}
{{- end }}

{{- define "inferencehub.guard.files" -}}
{{- $keys := list }}
{{- range $path := concat (keys .texts) (keys .binaries) | sortAlpha }}
{{- if not (regexMatch "^[A-Za-z0-9][-._A-Za-z0-9]*(/[A-Za-z0-9_][-._A-Za-z0-9]*)+$" $path) }}
{{- fail (printf "%s.files: '%s' is not a path in a model repository; expected a path such as digits/config.pbtxt or digits/1/model.onnx." $.at $path) }}
{{- end }}
{{- $keys = append $keys (include "inferencehub.models.key" $path) }}
{{- end }}
{{- if ne (len $keys) (len (uniq $keys)) }}
{{- fail (printf "%s.files: two paths are equal or differ only in '/' and '__', so both would get the same key in the ConfigMap: rename one of them." .at) }}
{{- end }}
{{- $size := 0 }}
{{- range $path, $content := .texts }}
{{- if or (hasSuffix ".onnx" $path) (regexMatch "[\\x00-\\x08\\x0e-\\x1a\\x{fffd}]" $content) }}
{{- fail (printf "%s.files: '%s' is binary, and values are text: put it in base64 into %s.binaryFiles, or use a pvc, an initContainer, an image or a ConfigMap of your own." $.at $path $.at) }}
{{- end }}
{{- $size = add $size (len $content) }}
{{- end }}
{{- range $path, $content := .binaries }}
{{- $packed := regexReplaceAll "\\s" $content "" }}
{{- if not (regexMatch "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$" $packed) }}
{{- fail (printf "%s.binaryFiles: '%s' is not base64: write it as `base64 < FILE` prints it." $.at $path) }}
{{- end }}
{{- $size = add $size (div (mul 3 (len $packed)) 4) }}
{{- end }}
{{- if gt (int $size) 1000000 }}
{{- fail (printf "%s.files is larger than a ConfigMap can be, 1 MiB: use a pvc, an initContainer or an image." .at) }}
{{- end }}
{{- end }}

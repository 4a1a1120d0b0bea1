{{/* Refuses stores of jobs that are named twice, and passwords where everybody who sees the release reads them. */}}

{{- define "inferencehub.guard.jobs" -}}
{{- $redis := .Values.jobs.redis }}
{{- $named := list }}
{{- if $redis.url }}{{ $named = append $named "url" }}{{ end }}
{{- if $redis.existingSecret }}{{ $named = append $named "existingSecret" }}{{ end }}
{{- if $redis.embedded.enabled }}{{ $named = append $named "embedded.enabled" }}{{ end }}
{{- if gt (len $named) 1 }}
{{- fail (printf "jobs.redis has %s, but jobs are kept in one place: set one of them." (join " and " $named)) }}
{{- end }}
{{- if $redis.url }}
{{- if not (regexMatch "^rediss?://[^/@]+(/[0-9]*)?$" $redis.url) }}
{{- fail "jobs.redis.url is not redis://host:port/database or rediss://…, without user and password: a URL with a password belongs into a Secret, see jobs.redis.existingSecret." }}
{{- end }}
{{- if and $redis.caConfigMap (hasPrefix "redis:" $redis.url) }}
{{- fail "jobs.redis.caConfigMap verifies a store with TLS, but jobs.redis.url begins with redis://: use rediss://." }}
{{- end }}
{{- end }}
{{- if and $redis.embedded.enabled (or $redis.caConfigMap $redis.egressTo $redis.port) }}
{{- fail "jobs.redis.caConfigMap, egressTo and port are for a store elsewhere, but jobs.redis.embedded.enabled is true: leave them out." }}
{{- end }}
{{- if and $redis.embedded.enabled (not .Values.networkPolicy.enabled) }}
{{- fail "jobs.redis.embedded asks nobody for a password, so a NetworkPolicy must keep others out: set networkPolicy.enabled, or use a store of your own with jobs.redis.existingSecret." }}
{{- end }}
{{- end }}

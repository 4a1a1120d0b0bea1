{{/* Refuses stores of jobs that are named twice or missing, passwords where everybody who sees the release reads them, and half a webhook. */}}

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
{{- if not (regexMatch "^rediss?(://[^/@?]+|[+]sentinel://[^/@?]+/[^/@?]+)(/[0-9]*)?$" $redis.url) }}
{{- fail "jobs.redis.url is not redis://host:port/database, rediss://… or redis+sentinel://host:port,…/name/database, without user and password: a URL with a password belongs into a Secret, see jobs.redis.existingSecret." }}
{{- end }}
{{- if and $redis.caConfigMap (not (hasPrefix "rediss" $redis.url)) }}
{{- fail "jobs.redis.caConfigMap verifies a store with TLS, but jobs.redis.url begins with redis: use rediss://, or rediss+sentinel://." }}
{{- end }}
{{- if and $redis.sentinelPort (not (contains "+sentinel://" $redis.url)) }}
{{- fail "jobs.redis.sentinelPort is that of sentinels, but jobs.redis.url names none: use redis+sentinel://, or leave it out." }}
{{- end }}
{{- end }}
{{- if and $redis.embedded.enabled (or $redis.caConfigMap $redis.egressTo $redis.port $redis.sentinelPort) }}
{{- fail "jobs.redis.caConfigMap, egressTo, port and sentinelPort are for a store elsewhere, but jobs.redis.embedded.enabled is true: leave them out." }}
{{- end }}
{{- if and $redis.embedded.enabled (not .Values.networkPolicy.enabled) }}
{{- fail "jobs.redis.embedded asks nobody for a password, so a NetworkPolicy must keep others out: set networkPolicy.enabled, or use a store of your own with jobs.redis.existingSecret." }}
{{- end }}
{{- if and .Values.gateway.modelLoads (not (include "inferencehub.jobs" .)) }}
{{- fail "gateway.modelLoads lets calls load models, but there is no store that keeps which ones for pods that start later: set jobs.redis." }}
{{- end }}
{{- $webhooks := .Values.jobs.webhooks }}
{{- if and $webhooks.hosts (not $webhooks.existingSecret) }}
{{- fail "jobs.webhooks.hosts is there without jobs.webhooks.existingSecret: receivers know by the signature who calls, so name the Secret with what signs." }}
{{- end }}
{{- if and $webhooks.hosts (not (include "inferencehub.jobs" .)) }}
{{- fail "jobs.webhooks tells the end of jobs, but there are none: set jobs.redis." }}
{{- end }}
{{- if and (not $webhooks.hosts) (or $webhooks.existingSecret $webhooks.caConfigMap $webhooks.egressTo) }}
{{- fail "jobs.webhooks has no hosts: name those that webhooks may go to." }}
{{- end }}
{{- end }}

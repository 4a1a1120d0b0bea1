{{/* Refuses values of a tier or a pool that cannot work: (dict "at" path "values" merged values "env" what the chart sets) */}}

{{- define "inferencehub.guard.tier" -}}
{{- include "inferencehub.guard.labels" (dict "at" (printf "%s.podLabels" .at) "labels" .values.podLabels) }}
{{- include "inferencehub.guard.env" . }}
{{- include "inferencehub.guard.replicas" . }}
{{- include "inferencehub.guard.rollout" . }}
{{- with .values.image.digest }}
{{- if not (regexMatch "^sha256:[0-9a-f]{64}$" .) }}
{{- fail (printf "%s.image.digest is '%s', expected sha256: and 64 hexadecimal digits." $.at .) }}
{{- end }}
{{- end }}
{{- if and .values.loadModels (ne .values.modelControl "explicit") }}
{{- fail (printf "%s.loadModels names models to load at the start, but %s.modelControl is '%s', and all are loaded: set it to 'explicit', or leave loadModels out." .at .at .values.modelControl) }}
{{- end }}
{{- range concat (.values.extraInitContainers | default list) (.values.extraContainers | default list) }}
{{- if has .name (list "gateway" "inference" "models") }}
{{- fail (printf "%s has a further container '%s', but the chart uses that name itself: choose another name." $.at .name) }}
{{- end }}
{{- end }}
{{- $taken := list "tmp" "models" }}
{{- range .env }}{{ if eq .name "HUB_TLS_CERT" }}{{ $taken = append $taken "tls" }}{{ end }}{{ if eq .name "HUB_TIER_TLS_CERT" }}{{ $taken = append $taken "tier-tls" }}{{ end }}{{ if eq .name "HUB_OPS_TLS_CERT" }}{{ $taken = append $taken "ops-tls" }}{{ end }}{{ if eq .name "HUB_API_KEYS" }}{{ $taken = append $taken "auth" }}{{ end }}{{ if eq .name "HUB_TLS_CA" }}{{ $taken = append $taken "callers-ca" }}{{ end }}{{ if eq .name "HUB_GATEWAY_KEY" }}{{ $taken = append $taken "gateway-key" }}{{ end }}{{ if eq .name "HUB_GATEWAY_TLS_CA" }}{{ $taken = append $taken "gateway-tls" }}{{ end }}{{ if eq .name "HUB_JWT_KEYS" }}{{ $taken = append $taken "jwt" }}{{ end }}{{ if eq .name "HUB_LIMITS" }}{{ $taken = append $taken "limits" }}{{ end }}{{ if eq .name "HUB_TRAFFIC" }}{{ $taken = append $taken "traffic" }}{{ end }}{{ if eq .name "HUB_JOBS_CA" }}{{ $taken = append $taken "jobs-ca" }}{{ end }}{{ if eq .name "HUB_JOBS" }}{{ $taken = append $taken "jobs" }}{{ end }}{{ end }}
{{- range .values.extraVolumes }}
{{- if has .name $taken }}
{{- fail (printf "%s.extraVolumes has a volume '%s', but the chart uses that name itself: choose another name." $.at .name) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "inferencehub.guard.env" -}}
{{- $own := list "HUB_MODELS" "HUB_REQUIRED_MODELS" "HUB_READY_AFTER" "HUB_ON_DEMAND_MODELS" "HUB_TLS_CERT" "HUB_TLS_KEY" "HUB_TLS_CA" "HUB_API_KEYS" "HUB_DIRECT_CALLS" "HUB_JWT_KEYS" "HUB_JWT_CA" "HUB_JWT_ISSUER" "HUB_JWT_AUDIENCE" "HUB_JWT_ALGORITHMS" "HUB_JWT_CLAIMS" "HUB_GATEWAYS" "HUB_LIMITS" "HUB_TRAFFIC" "HUB_JOBS" "HUB_JOBS_CA" "HUB_JOBS_QUEUE_LENGTH" "HUB_JOB_TTL_S" "HUB_JOBS_DRAIN_S" "HUB_JOBS_FLOOR" "HUB_QUOTAS_FAIL_OPEN" "HUB_TRUSTED_PROXIES" "HUB_TIER_TLS_CERT" "HUB_TIER_TLS_KEY" "HUB_TIER_TLS_CA" "HUB_TIER_TLS_SERVER_NAME" "HUB_TIER_TLS_CLIENT_NAMES" "HUB_HEALTH_PORT" "HUB_OPS_TLS_CERT" "HUB_OPS_TLS_KEY" "HUB_OPS_TLS_CA" }}
{{- range .env }}{{ $own = append $own .name }}{{ end }}
{{- $seen := list }}
{{- range .values.extraEnv }}
{{- if has .name $own }}
{{- fail (printf "%s.extraEnv sets %s, which the chart sets itself from other values: set those values instead." $.at .name) }}
{{- end }}
{{- if has .name $seen }}
{{- fail (printf "%s.extraEnv has %s twice: remove one of them." $.at .name) }}
{{- end }}
{{- $seen = append $seen .name }}
{{- end }}
{{- end }}

{{- define "inferencehub.guard.replicas" -}}
{{- $scaling := .values.autoscaling }}{{ $source := include "inferencehub.source" . }}
{{- $least := int .values.replicas }}
{{- if ne $source "none" }}
{{- $asleep := dig "scaleToZero" "enabled" false $scaling }}
{{- if and (eq $least 0) (kindIs "invalid" $scaling.minReplicas) (not $asleep) }}
{{- fail (printf "%s.replicas is 0, but an autoscaler keeps at least 1 pod: set %s.autoscaling.source to none, or enable %s.autoscaling.scaleToZero." .at .at .at) }}
{{- end }}
{{- $least = include "inferencehub.least" . | int }}
{{- if gt $least (int $scaling.maxReplicas) }}
{{- fail (printf "%s.autoscaling.minReplicas is %d, which is more than maxReplicas, %d: lower the one or raise the other." .at $least (int $scaling.maxReplicas)) }}
{{- end }}
{{- if and (eq $source "cpu") (not (dig "requests" "cpu" "" .values.resources)) }}
{{- fail (printf "%s.autoscaling measures CPU usage in percent of the CPU request, but there is none: set %s.resources.requests.cpu." .at .at) }}
{{- end }}
{{- end }}
{{- $budget := .values.podDisruptionBudget }}
{{- if $budget.enabled }}
{{- $min := not (kindIs "invalid" $budget.minAvailable) }}
{{- $max := not (kindIs "invalid" $budget.maxUnavailable) }}
{{- if and $min $max }}
{{- fail (printf "%s.podDisruptionBudget has both minAvailable and maxUnavailable, but Kubernetes accepts only one: set the other to null." .at) }}
{{- end }}
{{- if and $max (eq 0 (include "inferencehub.share" (list $budget.maxUnavailable $least) | int)) (gt $least 0) }}
{{- fail (printf "%s.podDisruptionBudget.maxUnavailable is %v, so a node with such a pod could never be drained: set it to 1 or more." .at $budget.maxUnavailable) }}
{{- end }}
{{- if and $min (gt $least 0) (ge (include "inferencehub.share" (list $budget.minAvailable $least) | int) $least) }}
{{- fail (printf "%s.podDisruptionBudget.minAvailable is %v of %d pods, so a node with such a pod could never be drained: lower it, or run more pods." .at $budget.minAvailable $least) }}
{{- end }}
{{- end }}
{{- end }}

{{/* A number, or a percent of a number of pods rounded up, as Kubernetes does: (list share pods) */}}
{{- define "inferencehub.share" -}}
{{- $share := index . 0 | toString }}
{{- if hasSuffix "%" $share }}
{{- div (add (mul (trimSuffix "%" $share | int) (index . 1)) 99) 100 }}
{{- else }}
{{- int $share }}
{{- end }}
{{- end }}

{{- define "inferencehub.guard.rollout" -}}
{{- $values := .values }}
{{- if and (has (toString $values.strategy.maxUnavailable) (list "0" "0%")) (has (toString $values.strategy.maxSurge) (list "0" "0%")) }}
{{- fail (printf "%s.strategy allows neither a missing nor an additional pod, so no rollout could begin: set maxUnavailable or maxSurge to 1." .at) }}
{{- end }}
{{- $startup := mul (int $values.probes.startup.periodSeconds) (int $values.probes.startup.failureThreshold) }}
{{- $needed := add $startup $values.minReadySeconds }}
{{- if le (int $values.progressDeadlineSeconds) (int $needed) }}
{{- fail (printf "%s.progressDeadlineSeconds is %d, but a pod may take %d seconds to start (probes.startup) and to be ready (minReadySeconds), so a rollout would count as failed too early: set a larger number." .at (int $values.progressDeadlineSeconds) (int $needed)) }}
{{- end }}
{{- end }}

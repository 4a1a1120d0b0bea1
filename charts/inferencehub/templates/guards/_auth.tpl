{{/* Refuses settings of tokens that are named by halves, or twice, and direct callers who could not be told apart from gateways. */}}

{{- define "inferencehub.guard.auth" -}}
{{- $asked := or (include "inferencehub.auth.asked" .) .Values.tls.callers.clientAuthorities }}
{{- if and .Values.limits.tenants (not $asked) }}
{{- fail "limits.tenants is set, but nobody is asked who they are, so no caller has a tenant: set auth.apiKeys or auth.jwt, or use limits.addresses." }}
{{- end }}
{{- range .Values.limits.tenants }}
{{- if and (or .calls_per_day .rows_per_day) (not (include "inferencehub.jobs" $)) }}
{{- fail (printf "limits.tenants has a quota of a day for %s, but there is no store that counts it for all gateways: set jobs.redis, or leave calls_per_day and rows_per_day out." .tenant) }}
{{- end }}
{{- end }}
{{- if and .Values.limits.addresses $asked }}
{{- fail "limits.addresses is set, but callers are asked who they are, and the limit is for those who are not: use limits.tenants." }}
{{- end }}
{{- $jwt := .Values.auth.jwt }}{{ $keys := $jwt.keys }}
{{- if $jwt.issuer }}
{{- if not $jwt.audiences }}
{{- fail "auth.jwt.audiences is empty, so tokens for other services would be taken: set the audience that tokens for this one have." }}
{{- end }}
{{- if not (or $keys.url $keys.configMap) }}
{{- fail "auth.jwt.issuer is set, but nothing verifies its tokens: set auth.jwt.keys.url or auth.jwt.keys.configMap." }}
{{- end }}
{{- if and $keys.url $keys.configMap }}
{{- fail "auth.jwt.keys has both url and configMap, but the keys come from one place: set one of them." }}
{{- end }}
{{- else if or $keys.url $keys.configMap $jwt.audiences }}
{{- fail "auth.jwt.issuer is empty, so no token would be taken: set the issuer that tokens have." }}
{{- end }}
{{- if and $keys.url (not (hasPrefix "https://" $keys.url)) }}
{{- fail (printf "auth.jwt.keys.url is '%s', but who can change the keys gets in: use https://." $keys.url) }}
{{- end }}
{{- if and (or $keys.caConfigMap $keys.egressTo) (not $keys.url) }}
{{- fail "auth.jwt.keys.caConfigMap and egressTo are for keys that are fetched: set auth.jwt.keys.url." }}
{{- end }}
{{- $direct := include "inferencehub.auth.direct" . }}
{{- if and $direct (not (include "inferencehub.tls.tier" (list . "inference"))) }}
{{- fail (printf "inference.directCalls is set for %s, but direct callers are told apart from gateways by certificates: set tls.tiers." $direct) }}
{{- end }}
{{- if and .Values.networkPolicy.inference.from (not $direct) }}
{{- fail "networkPolicy.inference.from lets callers reach inference pods, but no pool asks them for keys: set inference.directCalls.existingSecret, or use networkPolicy.inference.extraIngress." }}
{{- end }}
{{- range $name, $override := .Values.inference.pools }}
{{- $pool := dict }}{{ include "inferencehub.pool" (list $ $override $pool) }}
{{- if $pool.modelCalls.enabled }}
{{- if kindIs "invalid" $.Values.gateway.service.grpcPort }}
{{- fail (printf "inference.modelCalls is enabled for %s, but the gateway's Service has no port for gRPC: set gateway.service.grpcPort." $name) }}
{{- end }}
{{- $callers := $.Values.tls.callers }}{{ $calls := $pool.modelCalls }}
{{- if include "inferencehub.tls.callers" $ }}
{{- if and $callers.clientAuthorities (not $calls.certificateSecret) }}
{{- fail (printf "inference.modelCalls is enabled for %s, but each caller must show a certificate (tls.callers.clientAuthorities): set inference.modelCalls.certificateSecret." $name) }}
{{- end }}
{{- if and $callers.certManager.dnsNames (not (include "inferencehub.modelCalls.serverName" (dict "root" $ "values" $pool))) }}
{{- fail (printf "inference.modelCalls is enabled for %s, but all of tls.callers.certManager.dnsNames have a *, which is no name to expect: set inference.modelCalls.serverName." $name) }}
{{- end }}
{{- else if or $calls.caConfigMap $calls.serverName $calls.certificateSecret }}
{{- fail (printf "inference.modelCalls has caConfigMap, serverName or certificateSecret for %s, but the gateway speaks in plain to its callers: set tls.callers." $name) }}
{{- end }}
{{- $shown := or $calls.existingSecret (and $callers.clientAuthorities $calls.certificateSecret) }}
{{- if and (include "inferencehub.auth.asked" $) (not (and $.Values.auth.apiKeys.existingSecret $shown)) }}
{{- fail (printf "inference.modelCalls is enabled for %s, but the gateway asks callers who they are: set auth.apiKeys.existingSecret, and inference.modelCalls.existingSecret with a key of it for the pods." $name) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

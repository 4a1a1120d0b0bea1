{{/* Refuses certificates that are named by halves, or twice, and files of Secrets that nobody could read. */}}

{{- define "inferencehub.guard.tls" -}}
{{- $callers := .Values.tls.callers }}{{ $tiers := .Values.tls.tiers }}
{{- $ops := .Values.tls.ops }}
{{- range $at, $ref := dict "callers" $callers.certManager.issuerRef "tiers" $tiers.certManager.issuerRef "ops" $ops.certManager.issuerRef }}
{{- if and $ref (not $ref.name) }}
{{- fail (printf "tls.%s.certManager.issuerRef has no name, so there would be no certificate: set tls.%s.certManager.issuerRef.name." $at $at) }}
{{- end }}
{{- end }}
{{- if and $callers.certManager.dnsNames (not $callers.certManager.issuerRef.name) }}
{{- fail "tls.callers.certManager.dnsNames is set, but there is no issuer: set tls.callers.certManager.issuerRef.name." }}
{{- end }}
{{- if $callers.certManager.issuerRef.name }}
{{- if $callers.existingSecret }}
{{- fail "tls.callers has both existingSecret and certManager.issuerRef.name, but there is one certificate for callers: set one of them." }}
{{- end }}
{{- if not $callers.certManager.dnsNames }}
{{- fail "tls.callers.certManager.dnsNames is empty, so the certificate would have no name: set the names by which callers reach the gateway." }}
{{- end }}
{{- end }}
{{- if and $callers.clientAuthorities (not (include "inferencehub.tls.callers" .)) }}
{{- fail "tls.callers.clientAuthorities is set, but callers show certificates only over TLS: set tls.callers.existingSecret or tls.callers.certManager." }}
{{- end }}
{{- $given := compact (list $tiers.gateway.existingSecret $tiers.inference.existingSecret) }}
{{- if eq (len $given) 1 }}
{{- fail "tls.tiers has a Secret for one tier, but both tiers show a certificate to each other: set gateway.existingSecret and inference.existingSecret." }}
{{- end }}
{{- if and $given $tiers.certManager.issuerRef.name }}
{{- fail "tls.tiers has both Secrets and certManager.issuerRef.name, but each tier has one certificate: set one of them." }}
{{- end }}
{{- if $tiers.selfSigned }}
{{- if or $given $tiers.certManager.issuerRef.name }}
{{- fail "tls.tiers has selfSigned, and Secrets or certManager.issuerRef.name besides, but each tier has one certificate: set one of them." }}
{{- end }}
{{- $demand := dict }}{{ include "inferencehub.demand" (list . $demand) }}
{{- if not $demand.stays }}
{{- fail "tls.tiers.selfSigned is true, but the scaler, which makes the certificates, does not run: set inference.autoscaling.source to demand or keda, or use tls.tiers.certManager." }}
{{- end }}
{{- end }}
{{- if and $ops.existingSecret $ops.certManager.issuerRef.name }}
{{- fail "tls.ops has both existingSecret and certManager.issuerRef.name, but there is one certificate for ops ports: set one of them." }}
{{- end }}
{{- $pod := .Values.securityContext.pod }}
{{- $secrets := or $tiers.selfSigned $given $tiers.certManager.issuerRef.name (include "inferencehub.tls.callers" .) (include "inferencehub.tls.ops" .) .Values.auth.apiKeys.existingSecret .Values.jobs.redis.existingSecret .Values.jobs.webhooks.existingSecret }}
{{- if and $secrets $pod.runAsUser (not $pod.fsGroup) }}
{{- fail (printf "securityContext.pod.runAsUser is %v and there is no fsGroup, so the files of the Secrets of tls, auth and jobs could be read by root alone: set securityContext.pod.fsGroup." $pod.runAsUser) }}
{{- end }}
{{- end }}

{{/*
What can't work is refused here, in a sentence that says what to change. guards.yaml runs it and renders nothing.
Types and unknown keys are values.schema.json's.
*/}}

{{- define "inferencehub.guards" -}}
{{- include "inferencehub.guard.release" . }}
{{- include "inferencehub.guard.tier" (dict "at" "gateway" "values" .Values.gateway "env" (include "inferencehub.env.gateway" (dict "root" . "values" .Values.gateway) | fromYamlArray)) }}
{{- range $name, $override := .Values.inference.pools }}
{{- $at := printf "inference.pools.%s" $name }}
{{- if not (regexMatch "^[a-z0-9]([-a-z0-9]{0,14}[a-z0-9])?$" $name) }}
{{- fail (printf "inference.pools: '%s' can't be in the names of objects; a pool's name has 1 to 16 letters a-z, digits or dashes, and no dash at its ends." $name) }}
{{- end }}
{{- if hasSuffix "-ops" $name }}
{{- fail (printf "inference.pools: '%s' ends in -ops, which is how the second Service of another pool is called: choose another name." $name) }}
{{- end }}
{{- $pool := dict }}{{ include "inferencehub.pool" (list $ $override $pool) }}
{{- $env := include "inferencehub.env.inference" (dict "root" $ "pool" $name "values" $pool) | fromYamlArray }}
{{- include "inferencehub.guard.tier" (dict "at" $at "values" $pool "env" $env) }}
{{- include "inferencehub.guard.models" (dict "at" (ternary (printf "%s.models" $at) "models" (hasKey ($override | default dict) "models")) "models" $pool.models) }}
{{- end }}
{{- include "inferencehub.guard.scaling" . }}
{{- end }}

{{- define "inferencehub.guard.release" -}}
{{- if not (regexMatch "^[a-z]" (include "inferencehub.fullname" .)) }}
{{- fail (printf "A Service's name begins with a letter, and '%s' does not: name the release otherwise or set fullnameOverride." (include "inferencehub.fullname" .)) }}
{{- end }}
{{- include "inferencehub.guard.labels" (dict "at" "commonLabels" "labels" .Values.commonLabels) }}
{{- if not .Values.inference.pools }}
{{- fail "inference.pools is empty, so gateways would have nowhere to send requests: name at least one pool." }}
{{- end }}
{{- if hasKey (fromJson .Values.example.body) "Error" }}
{{- fail "example.body is no JSON object, so `helm test` could not send it." }}
{{- end }}
{{- with .Values.gateway.service }}
{{- if and .nodePort (eq .type "ClusterIP") }}
{{- fail (printf "gateway.service.nodePort is %d but a ClusterIP Service has no node port: set gateway.service.type to NodePort or LoadBalancer." (int .nodePort)) }}
{{- end }}
{{- end }}
{{- if and .Values.ingress.enabled (not .Values.ingress.hosts) }}
{{- fail "ingress.enabled without ingress.hosts would catch every host name of the cluster's ingress: name at least one." }}
{{- end }}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) }}
{{- fail "httpRoute.enabled without httpRoute.parentRefs belongs to no Gateway: name at least one." }}
{{- end }}
{{- if and .Values.monitoring.serviceMonitor.enabled .Values.monitoring.podMonitor.enabled }}
{{- fail "monitoring.serviceMonitor and monitoring.podMonitor would have each pod scraped twice: enable one of them." }}
{{- end }}
{{- end }}

{{/* Labels by which the chart finds its own pods: (dict "at" "labels") */}}
{{- define "inferencehub.guard.labels" -}}
{{- range $label, $_ := .labels }}
{{- if or (hasPrefix "app.kubernetes.io/" $label) (hasPrefix "inferencehub/" $label) (eq $label "helm.sh/chart") }}
{{- fail (printf "%s sets '%s', which the chart sets itself and selects pods by: choose another label." $.at $label) }}
{{- end }}
{{- end }}
{{- end }}

{{/*
Refuses values that cannot work, with a sentence that says what to change. guards.yaml includes it and renders nothing.
values.schema.json checks types and unknown keys.
*/}}

{{- define "inferencehub.guards" -}}
{{- include "inferencehub.guard.release" . }}
{{- include "inferencehub.guard.tier" (dict "at" "gateway" "values" .Values.gateway "env" (include "inferencehub.env.gateway" (dict "root" . "component" "gateway" "values" .Values.gateway) | fromYamlArray)) }}
{{- range $name, $override := .Values.inference.pools }}
{{- $at := printf "inference.pools.%s" $name }}
{{- if not (regexMatch "^[a-z0-9]([-a-z0-9]{0,14}[a-z0-9])?$" $name) }}
{{- fail (printf "inference.pools: '%s' cannot be part of an object's name: choose a name of 1 to 16 letters a-z, digits or dashes, without a dash at either end." $name) }}
{{- end }}
{{- if hasSuffix "-ops" $name }}
{{- fail (printf "inference.pools: '%s' ends in -ops, like the second Service of each pool: choose another name." $name) }}
{{- end }}
{{- $pool := dict }}{{ include "inferencehub.pool" (list $ $override $pool) }}
{{- $env := include "inferencehub.env.inference" (dict "root" $ "component" "inference" "pool" $name "values" $pool) | fromYamlArray }}
{{- include "inferencehub.guard.tier" (dict "at" $at "values" $pool "env" $env) }}
{{- include "inferencehub.guard.models" (dict "at" (ternary (printf "%s.models" $at) "models" (hasKey ($override | default dict) "models")) "models" $pool.models) }}
{{- end }}
{{- include "inferencehub.guard.scaling" . }}
{{- end }}

{{- define "inferencehub.guard.release" -}}
{{- if not (regexMatch "^[a-z]" (include "inferencehub.fullname" .)) }}
{{- fail (printf "The name of a Service must begin with a letter, and '%s' does not: choose another release name, or set fullnameOverride." (include "inferencehub.fullname" .)) }}
{{- end }}
{{- include "inferencehub.guard.labels" (dict "at" "commonLabels" "labels" .Values.commonLabels) }}
{{- include "inferencehub.guard.kinds" . }}
{{- include "inferencehub.guard.tls" . }}
{{- include "inferencehub.guard.jobs" . }}
{{- include "inferencehub.guard.auth" . }}
{{- include "inferencehub.guard.traffic" . }}
{{- if not .Values.inference.pools }}
{{- fail "inference.pools is empty, so gateways would have nowhere to send requests: add at least one pool." }}
{{- end }}
{{- if hasKey (fromJson .Values.example.body) "Error" }}
{{- fail "example.body is not a JSON object, so `helm test` cannot send it." }}
{{- end }}
{{- with .Values.gateway.service }}
{{- include "inferencehub.guard.labels" (dict "at" "gateway.service.labels" "labels" .labels) }}
{{- if and .externalTrafficPolicy (eq .type "ClusterIP") }}
{{- fail "gateway.service.externalTrafficPolicy has no effect on a ClusterIP Service: set gateway.service.type to NodePort or LoadBalancer." }}
{{- end }}
{{- if and (or .loadBalancerClass .loadBalancerSourceRanges) (ne .type "LoadBalancer") }}
{{- fail (printf "gateway.service.loadBalancerClass and loadBalancerSourceRanges have no effect on a %s Service: set gateway.service.type to LoadBalancer." .type) }}
{{- end }}
{{- if and .nodePort (eq .type "ClusterIP") }}
{{- fail (printf "gateway.service.nodePort is %d, but a ClusterIP Service has no node port: set gateway.service.type to NodePort or LoadBalancer." (int .nodePort)) }}
{{- end }}
{{- if and .grpcNodePort (eq .type "ClusterIP") }}
{{- fail (printf "gateway.service.grpcNodePort is %d, but a ClusterIP Service has no node port: set gateway.service.type to NodePort or LoadBalancer." (int .grpcNodePort)) }}
{{- end }}
{{- if eq (int .port) (int .grpcPort) }}
{{- fail (printf "gateway.service.port and gateway.service.grpcPort are both %d, but a Service has each port once: set another gateway.service.grpcPort." (int .port)) }}
{{- end }}
{{- if and .grpcNodePort (not .grpcPort) }}
{{- fail (printf "gateway.service.grpcNodePort is %d, but the Service has no port for gRPC: set gateway.service.grpcPort." (int .grpcNodePort)) }}
{{- end }}
{{- if and .nodePort (eq (int .nodePort) (int .grpcNodePort)) }}
{{- fail (printf "gateway.service.nodePort and gateway.service.grpcNodePort are both %d, but a node has each port once: set another gateway.service.grpcNodePort." (int .nodePort)) }}
{{- end }}
{{- end }}
{{- if and .Values.ingress.enabled (not .Values.ingress.hosts) }}
{{- fail "ingress.enabled is true and ingress.hosts is empty, so the Ingress would match every host name: add at least one host." }}
{{- end }}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) }}
{{- fail "httpRoute.enabled is true and httpRoute.parentRefs is empty, so the HTTPRoute would belong to no Gateway: add at least one." }}
{{- end }}
{{- if and .Values.monitoring.serviceMonitor.enabled .Values.monitoring.podMonitor.enabled }}
{{- fail "monitoring.serviceMonitor and monitoring.podMonitor are both enabled, so Prometheus would scrape each pod twice: enable one of them." }}
{{- end }}
{{- end }}

{{/* Refuses labels by which the chart selects its own pods: (dict "at" path "labels" labels) */}}
{{- define "inferencehub.guard.labels" -}}
{{- range $label, $_ := .labels }}
{{- if or (hasPrefix "app.kubernetes.io/" $label) (hasPrefix "inferencehub/" $label) (eq $label "helm.sh/chart") }}
{{- fail (printf "%s sets '%s', but the chart sets this label itself and selects pods by it: choose another label." $.at $label) }}
{{- end }}
{{- end }}
{{- end }}

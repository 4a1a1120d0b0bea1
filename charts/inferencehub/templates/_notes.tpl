{{/* The part of NOTES.txt about TLS and credentials: where TLS ends, and where callers from outside get in without them. */}}

{{- define "inferencehub.notes.tls" -}}
{{- $routed := or .Values.ingress.enabled .Values.httpRoute.enabled }}
{{- if include "inferencehub.tls.callers" . }}
{{- if $routed }}

The gateway speaks TLS only, so what stands in front of it must speak TLS to it: ingress-nginx does with the annotation
nginx.ingress.kubernetes.io/backend-protocol: HTTPS, the Gateway API with a BackendTLSPolicy.
{{- end }}
{{- else if or (ne .Values.gateway.service.type "ClusterIP") (and .Values.ingress.enabled (not .Values.ingress.tls)) }}

Callers from outside of the cluster reach the gateway in plain. For TLS, set tls.callers
{{- if .Values.ingress.enabled }} or ingress.tls{{ end }}.
{{- end }}
{{- if and (or $routed (ne .Values.gateway.service.type "ClusterIP")) (not (include "inferencehub.auth.asked" .)) (not .Values.tls.callers.clientAuthorities) }}

Everybody who reaches the gateway from outside of the cluster may call all models. To ask who calls, set auth.apiKeys,
auth.jwt or tls.callers.clientAuthorities, unless what stands in front asks.
{{- end }}
{{- if .Values.tls.tiers.gateway.existingSecret }}

The tiers know each other by the names in their certificates, which must be, as a DNS name:

  gateways         {{ include "inferencehub.tls.name" (list . "gateway") }}
  inference pods   {{ include "inferencehub.tls.name" (list . "inference") }}
{{- end }}
{{- if .Values.tls.ops.existingSecret }}

The certificate of the ops ports must have these DNS names, by which Prometheus and KEDA know them:
{{ range include "inferencehub.tls.ops.names" . | fromYamlArray }}
  {{ . }}
{{- end }}
{{- end }}
{{- end }}

{{/* The part of NOTES.txt about the models: which pools serve those of their image, and thus the samples where it has none. */}}

{{- define "inferencehub.notes.models" -}}
{{- $found := list }}
{{- range $name := keys .Values.inference.pools | sortAlpha }}
{{- $pool := dict }}{{ include "inferencehub.pool" (list $ (index $.Values.inference.pools $name) $pool) }}
{{- if eq $pool.models.source "image" }}{{ $found = append $found $name }}{{ end }}
{{- end }}
{{- with $found }}

No models are given, so these pools serve what their image has in /models: {{ join ", " . }}.
If it has nothing there, as InferenceHub's own image, they serve sample models, such as v1-mock, and their logs say so. For
models of your own, set models.source, or build an image with them. Then the samples are gone, and example.body must name one
of yours.
{{- end }}
{{- end }}

{{/* The part of NOTES.txt about the number of pods: for each source, what the cluster lacks and which commands show it. */}}

{{- define "inferencehub.notes.scaling" -}}
{{- $kubectl := printf "kubectl --namespace %s" .Release.Namespace }}
{{- $demand := dict }}{{ include "inferencehub.demand" (list . $demand) }}
{{- $pools := dict "cpu" list "demand" list "prometheus" list "keda" list "none" list }}
{{- $sleeping := list }}
{{- range $name := keys .Values.inference.pools | sortAlpha }}
{{- $pool := dict }}{{ include "inferencehub.pool" (list $ (index $.Values.inference.pools $name) $pool) }}
{{- $source := $pool.autoscaling.source }}
{{- $_ := set $pools $source (append (get $pools $source) $name) }}
{{- if $pool.autoscaling.scaleToZero.enabled }}{{ $sleeping = append $sleeping $name }}{{ end }}
{{- end }}
{{- if or $pools.cpu .Values.gateway.autoscaling.enabled }}

Autoscaling on CPU needs metrics-server:

  {{ $kubectl }} get hpa
{{- if not (.Capabilities.APIVersions.Has "metrics.k8s.io/v1beta1") }}

It is not installed (no API metrics.k8s.io), so the number of pods does not change and TARGETS shows <unknown>. Install it,
or set inference.autoscaling.source to demand, keda, prometheus or none.
{{- end }}
{{- end }}
{{- with concat $pools.demand $pools.prometheus }}

The demand, as the number of pods that would be fully busy, and what the autoscaler does with it:
{{ range . }}
  kubectl get --raw '/apis/external.metrics.k8s.io/v1beta1/namespaces/{{ $.Release.Namespace }}/inferencehub_demand?labelSelector=release%3D{{ $.Release.Name }}%2Cpool%3D{{ . }}'
{{- end }}
  {{ $kubectl }} get hpa
{{- end }}
{{- if and (or $demand.existing $pools.prometheus) (not (.Capabilities.APIVersions.Has "external.metrics.k8s.io/v1beta1")) }}

The API external.metrics.k8s.io is missing in this cluster, so the number of pods does not change.
{{- if $demand.existing }} With demand.provider
existing, another release must have source demand and scaler.allNamespaces.
{{- end }}
{{- if $pools.prometheus }} For source prometheus,
install its adapter with files/prometheus-adapter-values.yaml of this chart.
{{- end }}
{{- end }}
{{- if and $pools.prometheus (not .Values.monitoring.prometheusRule.enabled) }}

The rule that computes inferencehub_demand from the gateways' metrics is off: set monitoring.prometheusRule.enabled.
{{- end }}
{{- if $demand.metricsAPI }}

This release serves the external metrics of the whole cluster. `helm uninstall` deletes the APIService first, and the scaler
deletes it when its namespace is deleted. If it ever remains without a scaler, no namespace of the cluster can be deleted
until you run:

  kubectl delete apiservice v1beta1.external.metrics.k8s.io
{{- end }}
{{- if $pools.keda }}

KEDA reads the demand from the scaler of this release:

  {{ $kubectl }} get scaledobject,hpa
{{- if not (.Capabilities.APIVersions.Has "keda.sh/v1alpha1") }}

KEDA is not installed (no API keda.sh), and source keda needs it. Install it from https://keda.sh. Uninstall this release
before KEDA, or its ScaledObjects remain.
{{- end }}
{{- end }}
{{- with $demand.woken }}

These Deployments had no pods when this release was rendered: {{ join ", " . }}. Their autoscaler does nothing at 0 pods, so
the scaler of this revision starts the first one. The next upgrade removes the scaler.
{{- end }}
{{- with $sleeping }}

Without requests, these pools have no pods: {{ join ", " . }}. The first request waits for a pod.
{{- end }}
{{- end }}

{{/* A tag that lost its last zeros on the way would be another image's. Whole numbers from 1000 on, such as dates, cannot. */}}
{{- define "inferencehub.notes.tags" -}}
{{- $images := dict "gateway" .Values.gateway.image "inference" .Values.inference.image }}
{{- range $name, $override := .Values.inference.pools }}
{{- with dig "image" dict ($override | default dict) }}
{{- $_ := set $images (printf "inference.pools.%s" $name) . }}
{{- end }}
{{- end }}
{{- range $at, $image := $images }}
{{- if and (hasKey $image "tag") (not (kindIs "string" $image.tag)) (not (regexMatch "^[0-9]{4,}$" (toJson $image.tag))) }}

{{ $at }}.image.tag is the number {{ toJson $image.tag }}. YAML reads 1.10 as 1.1 and 1.0 as 1: put tags in quotes.
{{- end }}
{{- end }}
{{- end }}

{{/* The part of NOTES.txt about the number of pods: by source, what the cluster lacks and where to look. */}}

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

It is not there (no API metrics.k8s.io), so pods stay as many as they are and TARGETS shows <unknown>. Install it, or set
inference.autoscaling.source to demand, keda, prometheus or none.
{{- end }}
{{- end }}
{{- with concat $pools.demand $pools.prometheus }}

How much there is to do, in pods' worth of work, and what the autoscaler makes of it:

{{- range . }}
  kubectl get --raw '/apis/external.metrics.k8s.io/v1beta1/namespaces/{{ $.Release.Namespace }}/inferencehub_demand?labelSelector=release%3D{{ $.Release.Name }}%2Cpool%3D{{ . }}'
{{- end }}
  {{ $kubectl }} get hpa
{{- end }}
{{- if and (or $demand.existing $pools.prometheus) (not (.Capabilities.APIVersions.Has "external.metrics.k8s.io/v1beta1")) }}

Nobody serves external.metrics.k8s.io in this cluster yet, so pods stay as many as they are.
{{- if $demand.existing }} For demand.provider existing, another
release must have source demand and scaler.allNamespaces.
{{- end }}
{{- if $pools.prometheus }} For prometheus, install its adapter
with files/prometheus-adapter-values.yaml of this chart.
{{- end }}
{{- end }}
{{- if and $pools.prometheus (not .Values.monitoring.prometheusRule.enabled) }}

The rule that makes inferencehub_demand out of the gateways' metrics is off here: monitoring.prometheusRule.enabled.
{{- end }}
{{- if $demand.metricsAPI }}

This release owns the cluster's external metrics. `helm uninstall` takes the APIService away first, and the scaler does when
its namespace is deleted. Should it ever stay behind, no namespace of the cluster could be deleted until this is done:

  kubectl delete apiservice v1beta1.external.metrics.k8s.io
{{- end }}
{{- if $pools.keda }}

KEDA asks the scaler of this release:

  {{ $kubectl }} get scaledobject,hpa
{{- if not (.Capabilities.APIVersions.Has "keda.sh/v1alpha1") }}

KEDA is not there (no API keda.sh), and without it this chart can't be installed with source keda. It comes from
https://keda.sh; uninstall this release before KEDA, or its ScaledObjects stay.
{{- end }}
{{- end }}
{{- with $sleeping }}

Without requests no pod stays of: {{ join ", " . }}. The first request waits for one.
{{- end }}
{{- end }}

{{/*
Refuses objects of a kind that the cluster does not know. Helm would only say "no matches for kind". A rendering without a
cluster, as `helm template` does it, knows no kinds of others; apiregistration.k8s.io is a part of each cluster and not of it.
*/}}

{{- define "inferencehub.guard.kinds" -}}
{{- $monitoring := .Values.monitoring }}
{{- $demand := dict }}{{ include "inferencehub.demand" (list . $demand) }}
{{- $needed := list
  (list $monitoring.serviceMonitor.enabled "monitoring.serviceMonitor.enabled is true" "monitoring.coreos.com/v1/ServiceMonitor" "the Prometheus operator")
  (list $monitoring.podMonitor.enabled "monitoring.podMonitor.enabled is true" "monitoring.coreos.com/v1/PodMonitor" "the Prometheus operator")
  (list $monitoring.prometheusRule.enabled "monitoring.prometheusRule.enabled is true" "monitoring.coreos.com/v1/PrometheusRule" "the Prometheus operator")
  (list $demand.keda "A pool's autoscaling.source is keda" "keda.sh/v1alpha1/ScaledObject" "KEDA")
  (list .Values.httpRoute.enabled "httpRoute.enabled is true" "gateway.networking.k8s.io/v1/HTTPRoute" "the Gateway API")
  (list (and $demand.metricsAPI (eq .Values.scaler.certificates.source "certManager")) "scaler.certificates.source is 'certManager'" "cert-manager.io/v1/Certificate" "cert-manager")
  (list (or .Values.tls.callers.certManager.issuerRef.name .Values.tls.tiers.certManager.issuerRef.name .Values.tls.ops.certManager.issuerRef.name) "tls names an issuer of cert-manager" "cert-manager.io/v1/Certificate" "cert-manager")
}}
{{- if .Capabilities.APIVersions.Has "apiregistration.k8s.io/v1" }}
{{- range $needed }}
{{- if and (index . 0) (not ($.Capabilities.APIVersions.Has (index . 2))) }}
{{- fail (printf "%s, but the cluster has no %s: install %s first, or change that value." (index . 1) (index . 2) (index . 3)) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* Where pods run: spread over nodes and zones. Each partial takes a tier, see _pod.tpl. */}}

{{- define "inferencehub.spread" -}}
{{- $affinity := dict }}
{{- range $kind, $rules := .values.affinity }}
{{- if $rules }}
{{- $_ := set $affinity $kind (include "inferencehub.affinity" (dict "kind" $kind "rules" $rules "tier" $) | fromYaml) }}
{{- end }}
{{- end }}
{{- with $affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.topologySpreadConstraints }}
topologySpreadConstraints:
{{- range . }}
  - {{ include "inferencehub.counted" (list . $) | indent 4 | trim }}
{{- end }}
{{- end }}
{{- end }}

{{/* The rules of nodeAffinity as they are, and those of podAffinity and podAntiAffinity with a selector in each term. */}}
{{- define "inferencehub.affinity" -}}
{{- $tier := .tier }}{{ $found := deepCopy .rules }}
{{- if ne .kind "nodeAffinity" }}
{{- range $when, $terms := .rules }}
{{- $counted := list }}
{{- range $terms }}
{{- if hasKey . "podAffinityTerm" }}
{{- $term := include "inferencehub.counted" (list .podAffinityTerm $tier) | fromYaml }}
{{- $counted = append $counted (set (deepCopy .) "podAffinityTerm" $term) }}
{{- else }}
{{- $counted = append $counted (include "inferencehub.counted" (list . $tier) | fromYaml) }}
{{- end }}
{{- end }}
{{- $_ := set $found $when $counted }}
{{- end }}
{{- end }}
{{- toYaml $found }}
{{- end }}

{{/* A term that counts pods; those of the tier if it does not say which: (list term tier) */}}
{{- define "inferencehub.counted" -}}
{{- $term := deepCopy (index . 0) }}
{{- if not (hasKey $term "labelSelector") }}
{{- $_ := set $term "labelSelector" (dict "matchLabels" (include "inferencehub.selector" (index . 1) | fromYaml)) }}
{{- end }}
{{- toYaml $term }}
{{- end }}

{{/* The tolerations, and how long pods stay on a lost node. Kubernetes adds 300 seconds if a pod says nothing of it. */}}
{{- define "inferencehub.tolerations" -}}
{{- $all := .values.tolerations | default list }}
{{- $seconds := .values.tolerationSeconds }}
{{- if not (kindIs "invalid" $seconds) }}
{{- range $taint := list "node.kubernetes.io/not-ready" "node.kubernetes.io/unreachable" }}
{{- $named := false }}
{{- range $.values.tolerations }}
{{- if and (eq $taint (.key | default $taint)) (eq "NoExecute" (.effect | default "NoExecute")) }}{{ $named = true }}{{ end }}
{{- end }}
{{- if not $named }}
{{- $all = append $all (dict "key" $taint "operator" "Exists" "effect" "NoExecute" "tolerationSeconds" (int $seconds)) }}
{{- end }}
{{- end }}
{{- end }}
{{- toYaml $all }}
{{- end }}

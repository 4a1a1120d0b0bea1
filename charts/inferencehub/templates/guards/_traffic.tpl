{{/* Refuses traffic that the gateways would not take: those that start with such a file would not become ready. */}}

{{- define "inferencehub.guard.traffic" -}}
{{- range $model, $entry := .Values.traffic.models }}
{{- $at := printf "traffic.models.%s" $model }}
{{- $aliases := $entry.aliases | default dict }}
{{- range $alias, $version := $aliases }}
{{- if not (regexMatch "^[A-Za-z_][A-Za-z0-9_.-]{0,62}$" $alias) }}
{{- fail (printf "%s.aliases has '%s', which could be taken for a version: begin it with a letter, and use at most 63 letters, digits, '_', '.' or '-'." $at $alias) }}
{{- end }}
{{- if hasKey $aliases $version }}
{{- fail (printf "%s.aliases.%s is '%s', which is an alias itself: set the version that it stands for." $at $alias $version) }}
{{- end }}
{{- if not (regexMatch "^[0-9]+$" $version) }}
{{- fail (printf "%s.aliases.%s is '%s', which is no version: set a whole number." $at $alias $version) }}
{{- end }}
{{- end }}
{{- $names := keys ($entry.weights | default dict) }}
{{- with $entry.rollback }}{{ $names = append $names .version }}{{ end }}
{{- with $entry.shadow }}{{ $names = append $names .version }}{{ end }}
{{- range $name := $names }}
{{- if not (regexMatch "^[0-9]+$" (get $aliases $name | default $name)) }}
{{- fail (printf "%s has '%s' where a version stands: set a whole number or one of the aliases (%s)." $at $name (keys $aliases | sortAlpha | join ", " | default "there are none")) }}
{{- end }}
{{- end }}
{{- $sum := 0.0 }}{{ $seen := list }}
{{- range $name, $weight := $entry.weights }}
{{- $version := get $aliases $name | default $name }}
{{- if has $version $seen }}
{{- fail (printf "%s.weights has version '%s' twice, by an alias and by its own name or another one: leave one of them out." $at $version) }}
{{- end }}
{{- $seen = append $seen $version }}{{ $sum = addf $sum $weight }}
{{- end }}
{{- if and $entry.weights (eq $sum 0.0) }}
{{- fail (printf "%s.weights has no weight above 0, so no version would get calls: give one to a version, or leave weights out." $at) }}
{{- end }}
{{- if and $entry.sticky (not $entry.weights) }}
{{- fail (printf "%s.sticky is set without weights, so there is nothing to choose: set weights." $at) }}
{{- end }}
{{- with $entry.rollback }}
{{- $watched := get $aliases .version | default .version }}
{{- if not (has $watched $seen) }}
{{- fail (printf "%s.rollback watches version '%s', which has no weight: set one of the versions in weights." $at .version) }}
{{- end }}
{{- $others := $sum }}
{{- range $name, $weight := $entry.weights }}{{ if eq (get $aliases $name | default $name) $watched }}{{ $others = subf $others $weight }}{{ end }}{{ end }}
{{- if le $others 0.0 }}
{{- fail (printf "%s.rollback watches version '%s', and no other one has a weight above 0: give one to the version that is to get its calls, or leave rollback out." $at .version) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

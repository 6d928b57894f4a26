{{/* Adds the values that an earlier chart lacks. `helm upgrade --reuse-values` renders this chart with the values of the
     earlier one, so every file of templates/ begins with this. */}}
{{- define "scopewright.prepare" -}}
{{- include "scopewright.fill" (list .Values (.Files.Get "files/added-values.yaml" | fromYaml)) -}}
{{- end }}

{{/* Adds to a dict the keys that it lacks, from another one. sprig's merge would also replace false, 0 and "". */}}
{{- define "scopewright.fill" -}}
{{- $into := index . 0 -}}
{{- range $key, $value := index . 1 -}}
{{- if not (hasKey $into $key) -}}
{{- $_ := set $into $key $value -}}
{{- else if and (kindIs "map" $value) (kindIs "map" (index $into $key)) -}}
{{- include "scopewright.fill" (list (index $into $key) $value) -}}
{{- end -}}
{{- end -}}
{{- end }}

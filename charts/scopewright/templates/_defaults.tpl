{{/* Values that an older chart did not have. `helm upgrade --reuse-values` renders this chart with the values of the one
     before: every file of templates/ begins with this, so that none meets a value that is not there. */}}
{{- define "scopewright.prepare" -}}
{{- include "scopewright.fill" (list .Values (.Files.Get "files/added-values.yaml" | fromYaml)) -}}
{{- end }}

{{/* What a dict lacks, from another one. sprig's merge does not do: it takes false, 0 and "" for what is lacking. */}}
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

{{/* Names, labels and what they select. */}}

{{- define "scopewright.fullname" -}}
{{- $name := .Values.fullnameOverride | default (contains .Chart.Name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name .Chart.Name)) -}}
{{- $name | trunc 50 | trimSuffix "-" -}}
{{- end }}

{{/* ServiceAccounts: the same two, whatever Pods they are for. */}}
{{- define "scopewright.operator" -}}{{ include "scopewright.fullname" . }}-operator{{- end }}
{{- define "scopewright.issuer" -}}{{ include "scopewright.fullname" . }}-issuer{{- end }}

{{- define "scopewright.labels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: scopewright
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version | replace "+" "_" }}
{{- end }}

{{/* The chart's labels; where two give one key, the chart's own come first, then the object's, then commonLabels.
     (list $ (dict of the object's)) */}}
{{- define "scopewright.allLabels" -}}
{{- $ := index . 0 -}}
{{- $labels := include "scopewright.labels" $ | fromYaml -}}
{{- range $more := list (index . 1) $.Values.commonLabels -}}
{{- range $key, $value := $more -}}
{{- if not (hasKey $labels $key) }}{{ $_ := set $labels $key $value }}{{ end -}}
{{- end -}}
{{- end -}}
{{- toYaml $labels -}}
{{- end }}

{{/* All Pods of ours. */}}
{{- define "scopewright.release" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* (list $ "operator") */}}
{{- define "scopewright.selector" -}}
{{- include "scopewright.release" (index . 0) }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* The Pods that serve tokens. In mode both these are all of ours, as they come to have an issuer: one without it has no
     port of that name, and gets no request. */}}
{{- define "scopewright.serving" -}}
{{- $component := get (dict "sidecar" "operator" "deployment" "issuer") .Values.issuer.mode -}}
{{- include "scopewright.release" . -}}
{{- with $component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end }}

{{/* (list $ "name"), or with a dict of labels after that. */}}
{{- define "scopewright.metadata" -}}
{{- $ := index . 0 -}}
name: {{ index . 1 }}
namespace: {{ $.Release.Namespace }}
labels:
  {{- include "scopewright.allLabels" (list $ (rest (rest .) | first | default dict)) | nindent 2 }}
{{- end }}

{{- define "scopewright.clusterMetadata" -}}
{{- $ := index . 0 -}}
name: {{ index . 1 }}
labels:
  {{- include "scopewright.allLabels" (list $ (rest (rest .) | first | default dict)) | nindent 2 }}
{{- end }}

{{- define "scopewright.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end -}}
{{- end }}

{{/* Of issuer.url: the host without its port, and the path. */}}
{{- define "scopewright.host" -}}{{ (urlParse .Values.issuer.url).hostname }}{{- end }}
{{- define "scopewright.path" -}}{{ (urlParse .Values.issuer.url).path }}{{- end }}

{{/* What the protocol needs from outside, a path a line; see docs/protocol.md. */}}
{{- define "scopewright.paths" -}}
{{- $path := include "scopewright.path" . -}}
{{ $path }}/token
{{ $path }}/introspect
{{ $path }}/revoke
{{ $path }}/revocations
{{ $path }}/jwks.json
{{ $path }}/.well-known/openid-configuration
/.well-known/oauth-authorization-server{{ $path }}
{{- end }}

{{- define "scopewright.servicePort" -}}
{{ .Values.service.port | default (.Values.tls.enabled | ternary 443 80) }}
{{- end }}

{{- define "scopewright.tlsSecret" -}}
{{ .Values.tls.secretName | default (printf "%s-tls" (include "scopewright.issuer" .)) }}
{{- end }}

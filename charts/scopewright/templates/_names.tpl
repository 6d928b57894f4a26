{{/* Names, labels and what they select. */}}

{{- define "scopewright.fullname" -}}
{{- $name := .Values.fullnameOverride | default (contains .Chart.Name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name .Chart.Name)) -}}
{{- $name | trunc 50 | trimSuffix "-" -}}
{{- end }}

{{/* Names of the Deployments and ServiceAccounts; the same in every issuer.mode. */}}
{{- define "scopewright.operator" -}}{{ include "scopewright.fullname" . }}-operator{{- end }}
{{- define "scopewright.issuer" -}}{{ include "scopewright.fullname" . }}-issuer{{- end }}
{{- define "scopewright.gateway" -}}{{ include "scopewright.fullname" . }}-gateway{{- end }}

{{/* The components that have Pods of their own: each has a Deployment, a NetworkPolicy and a PodDisruptionBudget. */}}
{{- define "scopewright.components" -}}
{{- $names := list "operator" -}}
{{- if ne .Values.issuer.mode "sidecar" }}{{ $names = append $names "issuer" }}{{ end -}}
{{- if .Values.gateway.enabled }}{{ $names = append $names "gateway" }}{{ end -}}
{{- toJson $names -}}
{{- end }}

{{- define "scopewright.labels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: scopewright
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version | replace "+" "_" }}
{{- end }}

{{/* All labels of an object. The chart's labels take precedence over the object's, and these over commonLabels.
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

{{/* Selects all Pods of the release. */}}
{{- define "scopewright.release" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* (list $ "operator") */}}
{{- define "scopewright.selector" -}}
{{- include "scopewright.release" (index . 0) }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* Selects the Pods that serve tokens. With issuer.mode=both these are all Pods of the release: a Pod without an issuer
     lacks the port, and gets no request. */}}
{{- define "scopewright.serving" -}}
{{- $component := get (dict "sidecar" "operator" "deployment" "issuer") .Values.issuer.mode -}}
{{- include "scopewright.release" . -}}
{{- with $component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end }}

{{/* (list $ "name") or (list $ "name" (dict of labels)) */}}
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

{{/* The PersistentVolumeClaim that the chart creates. */}}
{{- define "scopewright.sessions" -}}{{ include "scopewright.fullname" . }}-sessions{{- end }}

{{/* Host without port, and path, of issuer.url. */}}
{{- define "scopewright.host" -}}{{ (urlParse .Values.issuer.url).hostname }}{{- end }}
{{- define "scopewright.path" -}}{{ (urlParse .Values.issuer.url).path }}{{- end }}

{{/* Paths that callers need, one on each line; see docs/protocol.md. Those below a path with a slash at its end too. */}}
{{- define "scopewright.paths" -}}
{{- $path := include "scopewright.path" . -}}
{{ $path }}/token
{{ $path }}/introspect
{{ $path }}/revoke
{{ $path }}/revocations
{{ $path }}/jwks.json
{{ $path }}/.well-known/openid-configuration
/.well-known/oauth-authorization-server{{ $path }}
{{- if .Values.users.enabled }}
{{ $path }}/authorize
{{ $path }}/par
{{ $path }}/login/
{{ $path }}/consent/
{{ $path }}/callback/
{{ $path }}/logout
{{ $path }}/account
{{ $path }}/userinfo
{{- end }}
{{- end }}

{{/* Peers of the issuer's port, as a JSON list: with issuerFrom also the gateway. Empty: all. */}}
{{- define "scopewright.issuerPeers" -}}
{{- $peers := .Values.networkPolicy.issuerFrom -}}
{{- if and $peers .Values.gateway.enabled -}}
{{- $labels := include "scopewright.selector" (list . "gateway") | fromYaml -}}
{{- $peers = append $peers (dict "podSelector" (dict "matchLabels" $labels)) -}}
{{- end -}}
{{- toJson $peers -}}
{{- end }}

{{- define "scopewright.servicePort" -}}
{{ .Values.service.port | default (.Values.tls.enabled | ternary 443 80) }}
{{- end }}

{{- define "scopewright.tlsSecret" -}}
{{ .Values.tls.secretName | default (printf "%s-tls" (include "scopewright.issuer" .)) }}
{{- end }}

{{- define "scopewright.gatewayServicePort" -}}
{{ .Values.gateway.service.port | default (.Values.gateway.tls.enabled | ternary 443 80) }}
{{- end }}

{{- define "scopewright.gatewayTLSSecret" -}}
{{ .Values.gateway.tls.secretName | default (printf "%s-tls" (include "scopewright.gateway" .)) }}
{{- end }}

{{/* What all Pods have in common. PodSecurity `restricted` accepts them, and tokens are mounted only by a projected volume. */}}

{{/* (list $ "component" annotations) */}}
{{- define "scopewright.podMetadata" -}}
{{- $ := index . 0 -}}
labels:
  {{- $selected := include "scopewright.selector" (list $ (index . 1)) | fromYaml }}
  {{- toYaml (merge $selected $.Values.pods.labels $.Values.commonLabels) | nindent 2 }}
{{- with merge (dict) (index . 2) $.Values.pods.annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* (list $ "component" "ServiceAccount") */}}
{{- define "scopewright.podSpec" -}}
{{- $ := index . 0 -}}
{{- $component := index . 1 -}}
serviceAccountName: {{ index . 2 }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with $.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ kindIs "map" . | ternary (get (kindIs "map" . | ternary . dict) "name") . }}
  {{- end }}
{{- end }}
securityContext:
  runAsNonRoot: true
  {{- with $.Values.pods.runAsUser }}
  runAsUser: {{ . }}
  runAsGroup: {{ . }}
  fsGroup: {{ . }}
  {{- end }}
  {{- if include "scopewright.sessionFile" $ }}
  # Otherwise each start would make the file with the sessions readable for the group.
  fsGroupChangePolicy: OnRootMismatch
  {{- end }}
  seccompProfile: {type: RuntimeDefault}
{{- with $.Values.pods.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $.Values.pods.topologySpread }}
topologySpreadConstraints:
  {{- range . }}
  - {{ toYaml . | indent 4 | trim }}
    labelSelector:
      matchLabels:
        {{- include "scopewright.selector" (list $ $component) | nindent 8 }}
  {{- end }}
{{- end }}
{{- range $field := list "nodeSelector" "tolerations" "affinity" }}
{{- with index $.Values.pods $field }}
{{ $field }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}

{{- define "scopewright.container" -}}
image: {{ include "scopewright.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{- define "scopewright.env" -}}
- {name: SCOPEWRIGHT_NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
- {name: SCOPEWRIGHT_LOG_FORMAT, value: {{ .Values.log.format }}}
- {name: SCOPEWRIGHT_LOG_LEVEL, value: {{ .Values.log.level }}}
{{- with .Values.tracing }}
{{- if .endpoint }}
- {name: OTEL_EXPORTER_OTLP_ENDPOINT, value: {{ .endpoint | quote }}}
{{- range $name, $value := .env }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* Variables of the replay store. (dict of secretName, key and capacity) */}}
{{- define "scopewright.replay" -}}
- {name: SCOPEWRIGHT_REPLAY_CAPACITY, value: {{ int64 .capacity | quote }}}
{{- if .secretName }}
- name: SCOPEWRIGHT_REPLAY
  valueFrom: {secretKeyRef: {name: {{ .secretName }}, key: {{ .key }}}}
{{- else }}
- {name: SCOPEWRIGHT_REPLAY, value: per-process}
{{- end }}
{{- end }}

{{/* (list $ "operator", "issuer" or "gateway") */}}
{{- define "scopewright.envFrom" -}}
{{- $ := index . 0 -}}
{{- $from := list -}}
{{- with $.Values.tracing -}}
{{- if and .endpoint .envFrom }}{{ $from = list (dict "secretRef" (dict "name" .envFrom)) }}{{ end -}}
{{- end -}}
{{- with concat $from (index $.Values (index . 1)).extraEnvFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* (list $ "operator" or "issuer") */}}
{{- define "scopewright.args" -}}
{{- with (index (index . 0).Values (index . 1)).extraArgs }}
args:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* The entries of a list, or nothing. */}}
{{- define "scopewright.more" -}}
{{- with . }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The volume that Kubernetes would mount into every container; here only some containers mount it. */}}
{{- define "scopewright.identityVolume" -}}
name: identity
projected:
  sources:
    - serviceAccountToken: {path: token, expirationSeconds: 3600}
    - configMap: {name: kube-root-ca.crt, items: [{key: ca.crt, path: ca.crt}]}
    - downwardAPI: {items: [{path: namespace, fieldRef: {fieldPath: metadata.namespace}}]}
{{- end }}

{{- define "scopewright.identityPath" -}}/var/run/secrets/kubernetes.io/serviceaccount{{- end }}

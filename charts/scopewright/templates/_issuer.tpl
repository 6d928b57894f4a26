{{/* The issuer's container, the same in both modes. (list $ "volume that holds its token") */}}
{{- define "scopewright.issuerContainer" -}}
{{- $ := index . 0 -}}
name: issuer
{{ include "scopewright.container" $ }}
command: [scopewright, issuer]
{{- include "scopewright.args" (list $ "issuer") }}
{{- include "scopewright.envFrom" (list $ "issuer") }}
env:
  {{- include "scopewright.env" $ | nindent 2 }}
  - {name: SCOPEWRIGHT_LISTEN, value: "{{ $.Values.pods.listenHost }}:8080"}
  - {name: SCOPEWRIGHT_METRICS_LISTEN, value: "{{ $.Values.pods.listenHost }}:9402"}
  - {name: SCOPEWRIGHT_CONNECTIONS_PER_ADDRESS, value: {{ $.Values.issuer.connectionsPerAddress | quote }}}
  - {name: SCOPEWRIGHT_CONNECTION_MEMORY, value: {{ $.Values.issuer.connectionMemory | quote }}}
  {{- with $.Values.issuer.trustedProxies }}
  - {name: SCOPEWRIGHT_TRUSTED_PROXIES, value: {{ join "," . | quote }}}
  {{- end }}
  - {name: SCOPEWRIGHT_WORKERS, value: {{ $.Values.issuer.workers | quote }}}
  # In memory, because it contains private keys. It survives the container: after a restart the issuer serves from it
  # while the API server is unavailable.
  - {name: SCOPEWRIGHT_SNAPSHOT, value: /var/run/scopewright/snapshot/issuer.json}
  {{- if include "scopewright.sessionFile" $ }}
  - {name: SCOPEWRIGHT_SESSIONS, value: /var/lib/scopewright/sessions.db}
  {{- else if $.Values.users.enabled }}
  - name: SCOPEWRIGHT_SESSIONS
    valueFrom: {secretKeyRef: {name: {{ $.Values.users.sessions.valkey.secretName }}, key: {{ $.Values.users.sessions.valkey.key }}}}
  {{- end }}
  {{- if $.Values.tls.enabled }}
  - {name: SCOPEWRIGHT_TLS_CERT, value: /var/run/scopewright/tls/tls.crt}
  - {name: SCOPEWRIGHT_TLS_KEY, value: /var/run/scopewright/tls/tls.key}
  {{- end }}
  {{- include "scopewright.replay" $.Values.issuer.replay | nindent 2 }}
  {{- include "scopewright.more" $.Values.issuer.extraEnv | indent 2 }}
ports:
  - {name: issuer, containerPort: 8080}
  - {name: issuer-metrics, containerPort: 9402}
# All probes use the metrics port: callers that fill the other port with connections must not cause a restart.
# Waits for the token of the ServiceAccount, and until the issuer listens.
startupProbe:
  httpGet: {path: /healthz, port: issuer-metrics}
  periodSeconds: 1
  failureThreshold: 90
# Ready once it has keys and records, also from the snapshot; an unavailable API server does not matter.
readinessProbe:
  httpGet: {path: /readyz, port: issuer-metrics}
  periodSeconds: 5
  failureThreshold: 2
livenessProbe:
  httpGet: {path: /healthz, port: issuer-metrics}
  timeoutSeconds: 5
lifecycle:
  # Serves until the endpoint is removed on all nodes.
  preStop: {sleep: {seconds: 5}}
resources:
  {{- toYaml $.Values.issuer.resources | nindent 2 }}
volumeMounts:
  - {name: {{ index . 1 }}, mountPath: {{ include "scopewright.identityPath" $ }}, readOnly: true}
  - {name: snapshot, mountPath: /var/run/scopewright/snapshot}
  {{- if include "scopewright.sessionFile" $ }}
  - {name: sessions, mountPath: /var/lib/scopewright}
  {{- end }}
  {{- if $.Values.tls.enabled }}
  - {name: tls, mountPath: /var/run/scopewright/tls, readOnly: true}
  {{- end }}
  {{- include "scopewright.more" $.Values.issuer.extraVolumeMounts | indent 2 }}
{{- end }}

{{/* "true" if the sessions of users are in a file, so that there can be only one issuer Pod. */}}
{{- define "scopewright.sessionFile" -}}
{{- if and .Values.users.enabled (not .Values.users.sessions.valkey.secretName) -}}true{{- end -}}
{{- end }}

{{- define "scopewright.issuerVolumes" -}}
- {name: snapshot, emptyDir: {medium: Memory, sizeLimit: 128Mi}}
{{- if include "scopewright.sessionFile" . }}
{{- with .Values.users.sessions.persistence }}
{{- if .enabled }}
- {name: sessions, persistentVolumeClaim: {claimName: {{ .existingClaim | default (include "scopewright.sessions" $) }}}}
{{- else }}
- {name: sessions, emptyDir: {sizeLimit: {{ .size }}}}
{{- end }}
{{- end }}
{{- end }}
{{- if .Values.tls.enabled }}
- {name: tls, secret: {secretName: {{ include "scopewright.tlsSecret" . }}}}
{{- end }}
{{- end }}

{{/* How a Deployment replaces its Pods: two must not use the file with the sessions at one time. (list $ "operator" or "issuer") */}}
{{- define "scopewright.strategy" -}}
{{- $ := index . 0 -}}
{{- if and (include "scopewright.sessionFile" $) (eq (index . 1) (eq $.Values.issuer.mode "sidecar" | ternary "operator" "issuer")) -}}
{type: Recreate}
{{- else -}}
{type: RollingUpdate, rollingUpdate: {maxUnavailable: 0, maxSurge: 1}}
{{- end -}}
{{- end }}

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
  # In memory, because it holds private keys. It outlives the container: one that is started again while the API server
  # is away serves from it.
  - {name: SCOPEWRIGHT_SNAPSHOT, value: /var/run/scopewright/snapshot/issuer.json}
  {{- if $.Values.tls.enabled }}
  - {name: SCOPEWRIGHT_TLS_CERT, value: /var/run/scopewright/tls/tls.crt}
  - {name: SCOPEWRIGHT_TLS_KEY, value: /var/run/scopewright/tls/tls.key}
  {{- end }}
  {{- with $.Values.issuer.replay }}
  - {name: SCOPEWRIGHT_REPLAY_CAPACITY, value: {{ int64 .capacity | quote }}}
  {{- if .secretName }}
  - name: SCOPEWRIGHT_REPLAY
    valueFrom: {secretKeyRef: {name: {{ .secretName }}, key: {{ .key }}}}
  {{- else }}
  - {name: SCOPEWRIGHT_REPLAY, value: per-process}
  {{- end }}
  {{- end }}
  {{- include "scopewright.more" $.Values.issuer.extraEnv | indent 2 }}
ports:
  - {name: issuer, containerPort: 8080}
  - {name: issuer-metrics, containerPort: 9402}
# All of them where no caller gets: whoever fills the other port with connections must not have the Pod restarted.
# Until its token is there and it serves.
startupProbe:
  httpGet: {path: /healthz, port: issuer-metrics}
  periodSeconds: 1
  failureThreshold: 90
# Once it has keys and records, be it from the snapshot. What others lack, such as the API server, is none of it.
readinessProbe:
  httpGet: {path: /readyz, port: issuer-metrics}
  periodSeconds: 5
  failureThreshold: 2
livenessProbe:
  httpGet: {path: /healthz, port: issuer-metrics}
  timeoutSeconds: 5
lifecycle:
  # Who still has this Pod among the Service's addresses is served until they are gone everywhere.
  preStop: {sleep: {seconds: 5}}
resources:
  {{- toYaml $.Values.issuer.resources | nindent 2 }}
volumeMounts:
  - {name: {{ index . 1 }}, mountPath: {{ include "scopewright.identityPath" $ }}, readOnly: true}
  - {name: snapshot, mountPath: /var/run/scopewright/snapshot}
  {{- if $.Values.tls.enabled }}
  - {name: tls, mountPath: /var/run/scopewright/tls, readOnly: true}
  {{- end }}
  {{- include "scopewright.more" $.Values.issuer.extraVolumeMounts | indent 2 }}
{{- end }}

{{- define "scopewright.issuerVolumes" -}}
- {name: snapshot, emptyDir: {medium: Memory, sizeLimit: 128Mi}}
{{- if .Values.tls.enabled }}
- {name: tls, secret: {secretName: {{ include "scopewright.tlsSecret" . }}}}
{{- end }}
{{- end }}

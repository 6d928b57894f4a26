{{/* What a schema cannot say, or not in words that help. */}}
{{- define "scopewright.check" -}}
{{- $v := .Values -}}
{{- if not $v.issuer.url -}}
{{- fail "issuer.url is required: the URL that tokens name as their issuer, such as --set issuer.url=https://issuer.example.org" -}}
{{- end -}}
{{- if not $v.image.repository -}}
{{- fail "image.repository is required: where your copy of the image is, such as --set image.repository=registry.example.org/scopewright" -}}
{{- end -}}
{{- if and $v.tls.certManager.enabled (not $v.tls.enabled) -}}
{{- fail "tls.certManager.enabled asks for a certificate that nobody would use: set tls.enabled=true as well" -}}
{{- end -}}
{{- if and $v.tls.certManager.enabled (not $v.tls.certManager.issuerRef.name) -}}
{{- fail "tls.certManager.issuerRef.name is required: the cert-manager issuer that signs the certificate" -}}
{{- end -}}
{{- if and $v.tls.enabled (not $v.tls.certManager.enabled) (not $v.tls.secretName) -}}
{{- fail "tls.enabled needs a certificate: set tls.secretName, or tls.certManager.enabled=true" -}}
{{- end -}}
{{- if and $v.httpRoute.enabled (not $v.httpRoute.parentRefs) -}}
{{- fail "httpRoute.parentRefs is required: the Gateway that leads to the issuer" -}}
{{- end -}}
{{- if and (eq $v.issuer.mode "deployment") $v.issuer.autoscaling.enabled (gt (int $v.issuer.autoscaling.minReplicas) (int $v.issuer.autoscaling.maxReplicas)) -}}
{{- fail "issuer.autoscaling.minReplicas is more than maxReplicas" -}}
{{- end -}}
{{- end }}

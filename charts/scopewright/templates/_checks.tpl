{{/* Checks that values.schema.json cannot express, or only with unhelpful errors. */}}
{{- define "scopewright.check" -}}
{{- $v := .Values -}}
{{- if not $v.enabled -}}
{{- fail "enabled=false is only for a parent chart that has this chart as a dependency (condition: scopewright.enabled in its Chart.yaml). To remove Scopewright, uninstall the release" -}}
{{- end -}}
{{- if not $v.issuer.url -}}
{{- fail "issuer.url is required: the issuer identifier of the tokens, such as --set issuer.url=https://issuer.example.org" -}}
{{- end -}}
{{- if not $v.image.repository -}}
{{- fail "image.repository is required: the repository of your copy of the image, such as --set image.repository=registry.example.org/scopewright" -}}
{{- end -}}
{{- include "scopewright.checkTLS" (list "tls" $v.tls) -}}
{{- if and $v.httpRoute.enabled (not $v.httpRoute.parentRefs) -}}
{{- fail "httpRoute.parentRefs is required: the Gateway for the HTTPRoute of the issuer" -}}
{{- end -}}
{{- if and (or $v.serviceMonitor.enabled $v.prometheusRule.enabled) $v.networkPolicy.enabled (not $v.networkPolicy.metricsFrom) -}}
{{- fail "networkPolicy.metricsFrom is required with serviceMonitor.enabled or prometheusRule.enabled: otherwise Prometheus cannot scrape, and alerts fire because of that. Set the peers of your Prometheus, such as [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: monitoring}}}]" -}}
{{- end -}}
{{- if and (ne $v.issuer.mode "sidecar") $v.issuer.autoscaling.enabled (gt (int $v.issuer.autoscaling.minReplicas) (int $v.issuer.autoscaling.maxReplicas)) -}}
{{- fail "issuer.autoscaling.minReplicas is more than maxReplicas" -}}
{{- end -}}
{{- include "scopewright.checkGateway" . -}}
{{- if and (eq $v.service.type "ClusterIP") (or $v.service.nodePort $v.service.externalTrafficPolicy) -}}
{{- fail "service.nodePort and service.externalTrafficPolicy need service.type NodePort or LoadBalancer" -}}
{{- end -}}
{{- if and (ne $v.service.type "LoadBalancer") (or $v.service.loadBalancerClass $v.service.loadBalancerSourceRanges (not (kindIs "invalid" $v.service.allocateLoadBalancerNodePorts))) -}}
{{- fail "service.loadBalancerClass, loadBalancerSourceRanges and allocateLoadBalancerNodePorts need service.type LoadBalancer" -}}
{{- end -}}
{{- if include "scopewright.sessionFile" . -}}
{{- $one := "users.enabled needs exactly one issuer Pod, because the sessions of users are in a file: " -}}
{{- if eq $v.issuer.mode "both" -}}
{{- fail (print $one "issuer.mode=both has several. Set users.enabled=false until the change of the mode is complete; users log in again afterwards. Or share the sessions: users.sessions.valkey.secretName") -}}
{{- else if and (eq $v.issuer.mode "sidecar") (ne (int $v.operator.replicas) 1) -}}
{{- fail (print $one "with issuer.mode=sidecar the issuer is in the Pods of the operator, so set operator.replicas=1, or share the sessions: users.sessions.valkey.secretName") -}}
{{- else if and (eq $v.issuer.mode "deployment") (or $v.issuer.autoscaling.enabled (ne (int $v.issuer.replicas) 1)) -}}
{{- fail (print $one "set issuer.replicas=1 and issuer.autoscaling.enabled=false, or share the sessions: users.sessions.valkey.secretName") -}}
{{- end -}}
{{- end -}}
{{- $volumes := dict -}}
{{- range concat $v.operator.extraVolumes $v.issuer.extraVolumes -}}
{{- if has .name (list "identity" "config" "issuer-identity" "snapshot" "sessions" "tls") -}}
{{- fail (printf "extraVolumes: the volume name %s is reserved by the chart: choose another name" .name) -}}
{{- end -}}
{{- if and (hasKey $volumes .name) (ne (toJson (index $volumes .name)) (toJson .)) -}}
{{- fail (printf "extraVolumes: operator and issuer each have a volume %s, and the two differ: choose another name for one" .name) -}}
{{- end -}}
{{- $_ := set $volumes .name . -}}
{{- end -}}
{{- include "scopewright.checkMove" . -}}
{{- end }}

{{- define "scopewright.checkGateway" -}}
{{- $v := .Values -}}
{{- if $v.gateway.enabled -}}
{{- if not $v.gateway.profiles -}}
{{- fail "gateway.profiles is required with gateway.enabled: the profiles of the proxies that ask the gateway, such as --set gateway.profiles={nginx}. See docs/gateway/install.md" -}}
{{- end -}}
{{- if and $v.networkPolicy.enabled (not $v.networkPolicy.gatewayFrom) -}}
{{- fail "networkPolicy.gatewayFrom is required with gateway.enabled: the Pods of your proxies, such as [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: ingress-nginx}}}]. No other Pod may ask the gateway" -}}
{{- end -}}
{{- if and $v.gateway.autoscaling.enabled (gt (int $v.gateway.autoscaling.minReplicas) (int $v.gateway.autoscaling.maxReplicas)) -}}
{{- fail "gateway.autoscaling.minReplicas is more than maxReplicas" -}}
{{- end -}}
{{- include "scopewright.checkTLS" (list "gateway.tls" $v.gateway.tls) -}}
{{- range $v.gateway.extraVolumes -}}
{{- if has .name (list "identity" "tls") -}}
{{- fail (printf "gateway.extraVolumes: the volume name %s is reserved by the chart: choose another name" .name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* (list "name of the values" (dict of the values)) */}}
{{- define "scopewright.checkTLS" -}}
{{- $name := index . 0 -}}
{{- with index . 1 -}}
{{- if and .certManager.enabled (not .enabled) -}}
{{- fail (printf "%[1]s.certManager.enabled creates a certificate that is not used without %[1]s.enabled: set %[1]s.enabled=true as well" $name) -}}
{{- end -}}
{{- if and .certManager.enabled (not .certManager.issuerRef.name) -}}
{{- fail (printf "%s.certManager.issuerRef.name is required: the cert-manager issuer that signs the certificate" $name) -}}
{{- end -}}
{{- if and .enabled (not .certManager.enabled) (not .secretName) -}}
{{- fail (printf "%[1]s.enabled needs a certificate: set %[1]s.secretName, or %[1]s.certManager.enabled=true" $name) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* The issuers that serve tokens now are removed only when their replacement is ready. `helm template` cannot look at a
     cluster, and refuses nothing. */}}
{{- define "scopewright.checkMove" -}}
{{- $operator := lookup "apps/v1" "Deployment" .Release.Namespace (include "scopewright.operator" .) -}}
{{- $issuer := lookup "apps/v1" "Deployment" .Release.Namespace (include "scopewright.issuer" .) -}}
{{- $sidecar := false -}}
{{- range dig "spec" "template" "spec" "containers" list $operator -}}
{{- if eq .name "issuer" }}{{ $sidecar = true }}{{ end -}}
{{- end -}}
{{- $wait := "Upgrade with issuer.mode=both and wait until its Pods are ready (helm upgrade --wait), then once more with issuer.mode=%s: see docs/operations.md" -}}
{{- if and (eq .Values.issuer.mode "deployment") $sidecar (not (include "scopewright.rolledOut" $issuer)) -}}
{{- fail (printf (print "issuer.mode=deployment would remove the sidecars before the issuers of the Deployment are ready. " $wait) "deployment") -}}
{{- end -}}
{{- if and (eq .Values.issuer.mode "sidecar") $issuer (not (and $sidecar (include "scopewright.rolledOut" $operator))) -}}
{{- fail (printf (print "issuer.mode=sidecar would remove the Deployment before the sidecars are ready. " $wait) "sidecar") -}}
{{- end -}}
{{- end }}

{{/* "yes" if all Pods of a Deployment have its current template and are available. */}}
{{- define "scopewright.rolledOut" -}}
{{- with .status -}}
{{- if and (eq (int .observedGeneration) (int $.metadata.generation)) (eq (int .updatedReplicas) (int .replicas)) (ge (int .availableReplicas) (int $.spec.replicas)) -}}
yes
{{- end -}}
{{- end -}}
{{- end }}

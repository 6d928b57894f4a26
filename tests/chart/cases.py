"""Values for each mode of installation."""

from typing import Any, Final

MORE: Final[dict[str, Any]] = {
    "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy.example:3128"}],
    "extraEnvFrom": [{"configMapRef": {"name": "proxies"}}],
    "extraVolumes": [{"name": "authorities", "configMap": {"name": "authorities"}}],
    "extraVolumeMounts": [{"name": "authorities", "mountPath": "/etc/ssl/certs", "readOnly": True}],
}
"""For a container and its Pod."""

EVERYTHING: Final[dict[str, Any]] = {
    "issuer": {
        "url": "https://issuer.example.org/oauth",
        "tokenReview": True,
        "replay": {"secretName": "valkey"},
        "trustedProxies": ["10.1.0.0/24", "2001:db8::/64"],
        "extraArgs": ["--usage-every=60"],
        **MORE,
    },
    "operator": {"extraArgs": ["--log-level=debug"], **MORE},
    "gateway": {
        "enabled": True,
        "profiles": ["nginx", "envoy"],
        "identityHeaders": {"subject": "X-User", "token-id": "X-Token-Id"},
        "replay": {"secretName": "valkey"},
        "autoscaling": {"enabled": True},
        "tls": {"enabled": True, "certManager": {"enabled": True, "issuerRef": {"name": "platform"}}},
        "service": {
            "annotations": {"example.org/a": "b"},
            "labels": {"example.org/exposed": "no"},
            "trafficDistribution": "PreferSameZone",
        },
        "extraArgs": ["--log-level=debug"],
        **MORE,
    },
    "commonLabels": {"example.org/cost": "platform"},
    "image": {"digest": f"sha256:{'0' * 64}", "pullSecrets": ["registry", {"name": "another"}]},
    "config": {
        "name": "blue",
        "audiences": [{"prefix": "https://payroll.hr.example", "namespaces": ["payroll"]}],
        "clusters": [{"name": "in-cluster"}, {"name": "eu-1", "issuer": "https://oidc.example/eu-1"}],
        "maxTokenLifetime": "30m",
        "resync": "30s",
        "workers": 8,
        "lease": {"duration": "15s", "renewDeadline": "10s", "retryPeriod": "2s"},
        "kubeApi": {"qps": 50, "burst": 100},
        "dpop": {"nonce": "Optional"},
        "gateway": {
            "hostnames": [
                {"hostname": "api.hr.example", "pathPrefix": "/payroll", "namespaces": ["payroll"]},
                {"suffix": "apps.example", "perNamespace": True},
            ],
            "unauthenticatedPaths": ["/healthz", "/.well-known/**"],
        },
    },
    "policies": {"limits": {"maxSecretAge": "2160h", "methods": ["ServiceAccount", "PrivateKeyJWT"]}},
    "tls": {"enabled": True, "certManager": {"enabled": True, "issuerRef": {"name": "platform"}}},
    "service": {
        "type": "LoadBalancer",
        "annotations": {"example.org/a": "b"},
        "labels": {"example.org/exposed": "yes"},
        "nodePort": 30443,
        "externalTrafficPolicy": "Local",
        "internalTrafficPolicy": "Local",
        "trafficDistribution": "PreferSameZone",
        # The control plane of the tests has one address family, and refuses a second one.
        "ipFamilyPolicy": "PreferDualStack",
        "ipFamilies": ["IPv4"],
        "loadBalancerClass": "example.org/internal",
        "loadBalancerSourceRanges": ["10.0.0.0/8"],
        "allocateLoadBalancerNodePorts": False,
    },
    "ingress": {"enabled": True, "className": "nginx", "tlsSecretName": "edge", "annotations": {"example.org/a": "b"}},
    "httpRoute": {
        "enabled": True,
        "annotations": {"example.org/a": "b"},
        "labels": {"example.org/exposed": "yes"},
        "parentRefs": [{"name": "edge", "namespace": "gateways", "sectionName": "https"}],
    },
    "networkPolicy": {
        "issuerFrom": [{"namespaceSelector": {"matchLabels": {"team": "hr"}}}],
        "gatewayFrom": [{"namespaceSelector": {"matchLabels": {"team": "edge"}}}],
        "metricsFrom": [{"namespaceSelector": {"matchLabels": {"team": "monitoring"}}}],
        "apiServer": {"cidrs": ["10.0.0.1/32"]},
        "egress": [{"ports": [{"port": 6379, "protocol": "TCP"}]}],
    },
    "pods": {
        "priorityClassName": "system-cluster-critical",
        "annotations": {"example.org/a": "b"},
        "labels": {"example.org/team": "platform"},
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "infra", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
    },
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "prometheusRule": {
        "enabled": True,
        "labels": {"release": "prometheus"},
        "runbooks": "https://example.org/runbooks",
    },
    "tracing": {
        "endpoint": "http://collector.monitoring.svc:4318",
        "env": {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.01"},
        "envFrom": "collector",
    },
    "dashboard": {"enabled": True, "labels": {"team": "platform"}, "annotations": {"grafana_folder": "Platform"}},
}

_APART: Final = {"mode": "deployment", "autoscaling": {"enabled": False}}
_USERS: Final = {
    "users": {"enabled": True},
    "config": {"users": {"applications": [{"namespaces": ["hr"], "hosts": ["*.hr.example"]}]}},
}
GATEWAY: Final[dict[str, Any]] = {
    "gateway": {"enabled": True, "profiles": ["nginx"]},
    "networkPolicy": {"gatewayFrom": [{"namespaceSelector": {"matchLabels": {"team": "edge"}}}]},
}
"""What `gateway.enabled` needs."""
MODES: Final[dict[str, dict[str, Any]]] = {
    "sidecar": {},
    "deployment": {"issuer": {"mode": "deployment"}},
    "both, on the way from one to the other": {"issuer": {"mode": "both"}},
    "deployment of a fixed size": {"issuer": _APART},
    "everything, sidecar": EVERYTHING,
    "everything, deployment": {**EVERYTHING, "issuer": {**EVERYTHING["issuer"], "mode": "deployment"}},
    "users, sidecar": {**_USERS, "operator": {"replicas": 1}},
    "users, deployment": {**_USERS, "issuer": {**_APART, "replicas": 1}},
    "users, shared sessions": {
        **_USERS,
        "users": {"enabled": True, "sessions": {"valkey": {"secretName": "sessions"}}},
        "issuer": {"mode": "both"},
    },
    "users, without a claim": {
        "users": {"enabled": True, "sessions": {"persistence": {"enabled": False}}},
        "operator": {"replicas": 1},
    },
    "gateway": GATEWAY,
    "gateway of a fixed size, with a given certificate": {
        **GATEWAY,
        "gateway": {
            **GATEWAY["gateway"],
            "autoscaling": {"enabled": False},
            "tls": {"enabled": True, "secretName": "given", "certManager": {"issuerRef": {"name": "platform"}}},
        },
        "issuer": {"mode": "deployment"},
    },
    "some namespaces": {"watchNamespaces": ["payroll", "leave"]},
    "a given certificate": {
        "tls": {"enabled": True, "secretName": "given", "certManager": {"issuerRef": {"name": "platform"}}},
    },
    "nothing that may be left out": {
        "aggregatedRoles": False,
        "crds": {"install": False},
        "networkPolicy": {"enabled": False},
        "podDisruptionBudget": {"enabled": False},
        "policies": {"secrets": False, "limits": {"enabled": False}},
        "pods": {"runAsUser": None, "topologySpread": []},
        "issuer": {"replay": {"secretName": ""}},
        "gateway": {"enabled": True, "profiles": ["nginx"]},
    },
}

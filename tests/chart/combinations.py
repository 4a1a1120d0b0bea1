"""The combinations of values that the chart documents; most tests hold for all of them."""

from __future__ import annotations

from typing import Any

from tests.chart.rendering import CHART, KIND_VALUES, VALUES_FILES, at, merge, read_values

DIGEST = "sha256:" + "0123456789abcdef" * 4
FILES = {"echo/config.pbtxt": 'backend: "python"', "echo/1/model.py": "class Model: ..."}
ASLEEP = {"enabled": True, "models": {"digits": {"slots": 4, "maxBatchSize": 8}, "v1-mock": {"slots": 2}}}
PEERS = [{"ipBlock": {"cidr": "10.0.0.0/8"}}]
SAFE = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
BESIDE = {
    "image": "beside:1",
    "securityContext": SAFE,
    "resources": {"requests": {"cpu": "1m", "memory": "8Mi"}, "limits": {"memory": "16Mi"}},
}
MORE: dict[str, Any] = {
    "envFrom": [{"secretRef": {"name": "keys"}}, {"configMapRef": {"name": "settings"}}],
    "extraInitContainers": [{"name": "first", **BESIDE}], "extraContainers": [{"name": "beside", **BESIDE}],
    "dnsConfig": {"options": [{"name": "ndots", "value": "1"}]}, "hostAliases": [{"ip": "10.0.0.1", "hostnames": ["storage.internal"]}],
    "resources": {"requests": {"ephemeral-storage": "1Gi"}, "limits": {"ephemeral-storage": "2Gi"}},
}  # fmt: skip

COMBINATIONS: dict[str, dict[str, Any]] = {
    "defaults": {},
    **{path.stem: read_values(path) for path in VALUES_FILES},
    "burn-on-kind": read_values(KIND_VALUES, CHART / "ci/burn-values.yaml"),
    "scale-demo-on-kind": read_values(KIND_VALUES, CHART / "values-scale-demo.yaml"),
    "node-port": at("gateway.service", {"type": "NodePort", "nodePort": 30080, "port": 80}),
    "load-balancer": at("gateway.service", {"type": "LoadBalancer", "annotations": {"a": "b"}, "labels": {"team": "ml"},
                                            "externalTrafficPolicy": "Local", "loadBalancerClass": "example.com/internal",
                                            "loadBalancerSourceRanges": ["203.0.113.0/24"], "ipFamilyPolicy": "PreferDualStack",
                                            "ipFamilies": ["IPv6", "IPv4"]}),
    "ingress": {"ingress": {"enabled": True, "hosts": ["hub.example.com"], "className": "nginx", "annotations": {"a": "b"}}},
    "ingress-tls": {"ingress": {"enabled": True, "hosts": ["a.example.com", "b.example.com"], "path": "/hub",
                                "tls": [{"secretName": "tls", "hosts": ["a.example.com"]}]}},
    "http-route": {"httpRoute": {"enabled": True, "parentRefs": [{"name": "public", "namespace": "infra"}],
                                 "hostnames": ["hub.example.com"], "timeouts": {"request": "60s"}, "annotations": {"a": "b"},
                                 "filters": [{"type": "RequestHeaderModifier"}]}},
    "service-monitor": at("monitoring.serviceMonitor", {"enabled": True, "labels": {"release": "prometheus"}}),
    "pod-monitor": at("monitoring.podMonitor", {"enabled": True, "interval": "1m"}),
    "prometheus-rule": merge(at("monitoring.prometheusRule", {"enabled": True, "labels": {"release": "prometheus"}}),
                             at("monitoring.serviceMonitor.enabled", True)),
    "dashboard": at("monitoring.dashboard", {"enabled": True, "annotations": {"folder": "ml"}}),
    "scaled-by-cpu": merge(at("gateway.autoscaling.enabled", True), at("inference.autoscaling", {"maxReplicas": 3})),
    "scaled-by-demand": at("inference.autoscaling", {"source": "demand", "targetDemand": 60, "maxReplicas": 7}),
    "scaled-by-demand-of-others": at("inference.autoscaling", {"source": "demand", "demand": {"provider": "existing"}}),
    "scaled-by-keda": at("inference.autoscaling", {"source": "keda"}),
    "scaled-to-zero": at("inference.pools", {
        "default": {"autoscaling": {"source": "demand", "scaleToZero": {**ASLEEP, "quietSeconds": 30}}},
        "keda": {"autoscaling": {"source": "keda", "scaleToZero": {"enabled": True, "models": {"slow": {"slots": 1}}}}},
        "still": {"autoscaling": {"source": "none"}}}),
    "scaler-for-all": merge(at("inference.autoscaling.source", "demand"), at("scaler", {
        "replicas": 2, "allNamespaces": True, "port": 10250, "podLabels": {"team": "ml"}, "podAnnotations": {"a": "b"},
        "serviceAccount": {"annotations": {"a": "b"}}, "podDisruptionBudget": {"enabled": False},
        "certificates": {"source": "certManager", "issuerRef": {"name": "ca", "kind": "ClusterIssuer"}}})),
    "scaled-by-prometheus": at("inference.autoscaling", {"source": "prometheus"}),
    "recording": at("gateway.recording", {"enabled": True, "share": 0.25, "bytes": 2**30}),
    "api-keys": {"auth": {"apiKeys": {"existingSecret": "keys"}}, "example": {"keySecret": "mine"}},
    "client-certificates": merge(
        at("tls.callers", {"existingSecret": "callers", "clientAuthorities": "authorities"}),
        {"auth": {"apiKeys": {"existingSecret": "keys"}}, "example": {"certificateSecret": "caller"}}),
    "client-certificates-untested": at("tls.callers", {"existingSecret": "callers", "clientAuthorities": "authorities"}),
    "jwt": at("auth.jwt", {
        "issuer": "https://login.example.com/", "audiences": ["hub", "ml"], "algorithms": ["RS256", "ES256"],
        "claims": {"tenant": "org", "actions": {"infer": {"scope": "predict"}}},
        "keys": {"url": "https://login.example.com:8443/keys", "caConfigMap": "authorities",
                 "egressTo": [{"ipBlock": {"cidr": "203.0.113.0/24"}}]}}),
    "jwt-of-a-file": at("auth.jwt", {"issuer": "https://login.example.com/", "audiences": ["hub"], "keys": {"configMap": "jwks"}}),
    "limits": {"limits": {
        "tenants": [{"tenant": "search", "rate": 0.5, "concurrency": 50, "body_bytes": 1_000_000}, {"tenant": "*", "rate": 1e6}],
        "models": [{"model": "v1-*", "rows": 5000, "rows_burst": 100_000}], "trustedProxies": ["10.0.0.0/8", "192.0.2.1"]},
        "auth": {"apiKeys": {"existingSecret": "keys"}}},
    "traffic": at("traffic.models", {
        "fraud": {"weights": {"stable": 90, "canary": 0.5}, "aliases": {"stable": "1", "canary": "2"}, "sticky": "x-user-id",
                  "rollback": {"version": "canary", "error_share": 0.05, "p99_ms": 100, "calls": 500, "window_s": 30.5}},
        "ranker": {"weights": {"7": 1}, "shadow": {"version": "8", "share": 0.1}}}),
    "jobs": {"jobs": {"redis": {
        "existingSecret": "jobs", "caConfigMap": "authorities", "port": 6380, "egressTo": PEERS}, "ttlSeconds": 86_400}},
    "jobs-webhooks": {"jobs": {"redis": {"existingSecret": "jobs"}, "webhooks": {
        "hosts": ["*.example.com", "hooks.example.com:8443", "http://collector.tools.svc", "https://10.0.0.5"],
        "existingSecret": "webhooks", "caConfigMap": "receivers", "egressTo": PEERS}}},
    "jobs-by-url": at("jobs", {"redis": {"url": "rediss://store.example.com:6390/1"}, "queueLength": 10, "drainSeconds": 5, "floor": 0.25}),
    "quotas": {"jobs": {"redis": {"existingSecret": "jobs"}, "quotasFailOpen": True}, "auth": {"apiKeys": {"existingSecret": "keys"}},
        "limits": {"tenants": [{"tenant": "*", "calls_per_day": 10**9, "rows_per_day": 10**12}]}},
    "model-loads": {"jobs": {"redis": {"existingSecret": "jobs"}}, "gateway": {"modelLoads": True},
        "inference": {"modelControl": "explicit"}, "auth": {"apiKeys": {"existingSecret": "keys"}}},
    "tracing": at("tracing", {
        "endpoint": "http://collector.observability.svc:4318", "existingSecret": "collector", "sampler": "parentbased_traceidratio",
        "samplerArg": 0.25, "egressTo": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "observability"}}}]}),
    "jobs-by-sentinels": at("jobs.redis", {
        "url": "rediss+sentinel://a.example.com:26380,b.example.com/mymaster/1", "caConfigMap": "authorities", "port": 6380}),
    "jobs-by-sentinels-of-a-secret": at("jobs.redis", {"existingSecret": "jobs", "sentinelPort": 26379}),
    "jobs-embedded": at("jobs.redis.embedded.enabled", True),
    "jobs-embedded-for-a-while": at("jobs.redis.embedded", {
        "enabled": True, "image": {"repository": "valkey", "digest": DIGEST}, "storage": {"persistent": False}}),
    "limits-of-addresses": at("limits.addresses", {"rate": 5, "burst": 20}),
    "tls-of-tiers": at("tls.tiers", {"gateway": {"existingSecret": "front"}, "inference": {"existingSecret": "back"}}),
    "tls-by-cert-manager": at("tls", {
        "callers": {"certManager": {"issuerRef": {"name": "public", "kind": "ClusterIssuer"}, "dnsNames": ["hub.example.com"]}},
        "tiers": {"certManager": {"issuerRef": {"name": "tiers"}}}}),
    "tls-by-the-scaler": merge(at("tls.tiers", {"selfSigned": True, "settleSeconds": 600}), at("inference.autoscaling.source", "demand")),
    "tls-of-ops": {"tls": {"ops": {"existingSecret": "ops"}}, "monitoring": {"podMonitor": {"enabled": True}},
                   "inference": {"autoscaling": {"source": "keda"}}},
    "tls-of-ops-by-cert-manager": {"tls": {"ops": {"certManager": {"issuerRef": {"name": "ops"}}}},
                                   "monitoring": {"serviceMonitor": {"enabled": True}}, "inference": {"autoscaling": {"source": "demand"}}},
    "direct-calls": merge(at("inference.directCalls.existingSecret", "pod-keys"), {
        "tls": {"tiers": {"certManager": {"issuerRef": {"name": "tiers"}}}}, "networkPolicy": {"inference": {"from": PEERS}}}),
    "model-calls": {"inference": {"pools": {"gpu": {"modelCalls": {"enabled": True, "existingSecret": "pods-key"}}}},
                    "auth": {"apiKeys": {"existingSecret": "keys"}}},
    "model-calls-by-tls": {"inference": {"modelCalls": {"enabled": True}}, "tls": {"callers": {
        "certManager": {"issuerRef": {"name": "own"}, "dnsNames": ["*.example.com", "hub.example.com"]}}}},
    "model-calls-by-certificate": {
        "inference": {"modelCalls": {"enabled": True, "caConfigMap": "authorities", "serverName": "hub.example.com", "certificateSecret": "pods"}},
        "tls": {"callers": {"existingSecret": "callers", "clientAuthorities": "authorities"}}, "auth": {"apiKeys": {"existingSecret": "keys"}}},
    "not-scaled": at("inference", {"autoscaling": {"source": "none"}, "replicas": 4}),
    "pools": at("inference.pools", {
        "default": {"autoscaling": {"maxReplicas": 5}},
        "gpu": {
            "replicas": 2,
            "autoscaling": {"source": "none"},
            "runtimeClassName": "nvidia",
            "nodeSelector": {"accelerator": "h100"},
            "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
            "resources": {"limits": {"nvidia.com/gpu": 1, "memory": "16Gi"}},
            "models": {"source": "pvc", "pvc": {"claimName": "gpu-models", "subPath": "prod"}},
        },
    }),
    "models-of-files": {"models": {"source": "configMap", "configMap": {"files": FILES}}},
    "models-of-binary-files": {"models": {"source": "configMap", "configMap": {
        "files": {"net/config.pbtxt": 'backend: "onnx"'}, "binaryFiles": {"net/1/model.onnx": "AAECAwQF\n/+8=\n"}}}},
    "models-of-config-map": {"models": {"source": "configMap", "configMap": {
        "name": "mine", "items": [{"key": "model", "path": "echo/1/model.py"}]}}},
    "models-of-claim": {"models": {"source": "pvc", "pvc": {"claimName": "models"}}},
    "models-of-init-container": {"models": {"source": "initContainer", "initContainer": {
        "image": "models:3", "command": ["cp"], "args": ["-r", "/repository/.", "/models"], "env": [{"name": "A", "value": "b"}],
        "egress": [{"to": PEERS, "ports": [{"protocol": "TCP", "port": 443}]}]}}},
    "models-by-uri": {"models": {"source": "uri", "uri": f"https://models.example.com:8443/models.tar.gz#{DIGEST.replace(':', '=')}"}},
    "models-by-uri-of-s3": {"models": {"source": "uri", "uri": "s3://bucket/models/", "secretName": "bucket-keys", "fetch": {
        "cache": {"claimName": "fetched"}, "endpoint": "http://minio.storage.svc:9000", "region": "eu-central-1", "caConfigMap": "authorities",
        "env": [{"name": "NO_PROXY", "value": ".svc"}], "egressTo": PEERS, "size": "4Gi", "timeoutSeconds": 900}}},
    "policies-off": at("networkPolicy.enabled", False),
    "policies-narrow": at("networkPolicy", {
        "gateway": {"from": PEERS, "extraEgress": [{"to": PEERS}]},
        "inference": {"extraIngress": [{"from": PEERS}], "extraEgress": [{"to": PEERS}]},
        "metricsFrom": [], "dns": {"to": PEERS, "ports": [53, 5353]}}),
    "everything-of-a-pod": at("gateway", {
        "extraEnv": [{"name": "HUB_HOLD_S", "value": "10"}, {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}],
        "podAnnotations": {"a": "b"}, "podLabels": {"team": "ml"}, "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "x", "operator": "Exists"}], "priorityClassName": "high", "topologySpreadConstraints": [],
        "affinity": {"nodeAffinity": {}}, "extraVolumes": [{"name": "more", "emptyDir": {}}],
        "extraVolumeMounts": [{"name": "more", "mountPath": "/more"}], "image": {"digest": DIGEST}, **MORE}),
    "everything-of-a-pool": at("inference.pools.gpu", {**MORE, "models": {"source": "initContainer", "initContainer": {
        "image": "models:3", "resources": {"limits": {"memory": "64Mi"}}}}}),
    "tls-callers": merge(at("tls.callers.existingSecret", "gateway-tls"), {"ingress": {"enabled": True, "hosts": ["hub.example.com"]}}),
    "connections": at("gateway", {"keepAliveSeconds": 620, "maxConnections": 20_000}),
    "names-and-labels": {"fullnameOverride": "hub", "commonLabels": {"team": "ml"}, "imagePullSecrets": [{"name": "pull"}],
                         "clusterDomain": "example.org"},
    "accounts-of-others": merge(at("gateway.serviceAccount", {"create": False, "name": "theirs"}),
                                at("inference.serviceAccount", {"create": False})),
    "budgets": merge(at("gateway", {"replicas": 3, "podDisruptionBudget": {"minAvailable": "50%"}}),
                     at("inference", {"replicas": 4, "podDisruptionBudget": {"maxUnavailable": "25%"}})),
    "nothing-to-spare": merge(at("gateway", {"podDisruptionBudget": {"enabled": False}, "replicas": 0}),
                              at("inference", {"podDisruptionBudget": {"enabled": False}, "minReadySeconds": 0})),
}  # fmt: skip

"""Values that cannot work are refused with a sentence that names the value and says what to do."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import pytest

from tests.chart.combinations import ASLEEP, DIGEST, FILES
from tests.chart.rendering import CHART, at, helm, merge, render

CLAIM = {"source": "pvc", "pvc": {"claimName": "models"}}
GPU = "inference.pools.gpu"
JWT = {"issuer": "https://a/", "audiences": ["hub"], "keys": {"configMap": "jwks"}}
DEMAND = at("inference.autoscaling.source", "demand")
# What these say is seen where they are tested: a release name, and a cluster.
ELSEWHERE = ("must begin with a letter", "already serves the external metrics", "but the cluster has no")

REFUSED: list[tuple[dict[str, Any], str]] = [
    (at("inference.pools.default", None), "inference.pools is empty"),
    (at("inference.pools.GPU", {}), "inference.pools: 'GPU' cannot be part of an object's name"),
    (at("inference.pools", {"a-name-of-seventeen": {}}), "a name of 1 to 16 letters"),
    (at("inference.pools", {"-x": {}}), "'-x' cannot be"),
    (at("inference.pools", {"a-ops": {}}), "'a-ops' ends in -ops"),
    (at("gateway.autoscaling", {"enabled": True, "minReplicas": 5, "maxReplicas": 4}), "minReplicas is 5, which is more than maxReplicas, 4"),
    (at(GPU, {"autoscaling": {"minReplicas": 20}}), "inference.pools.gpu.autoscaling.minReplicas is 20"),
    (at(GPU, {"replicas": 12}), "inference.pools.gpu.autoscaling.minReplicas is 12, which is more than maxReplicas, 10"),
    (at("inference.replicas", 0), "inference.pools.default.replicas is 0, but an autoscaler keeps at least 1"),
    (at("inference", {"modelControl": "poll", "loadModels": ["digits"]}), "loadModels names models to load at the start, but inference.pools.default.modelControl is 'poll'"),
    (at("gateway.modelLoads", True), "gateway.modelLoads lets calls load models, but there is no store"),
    (at("inference.resources.requests.cpu", None), "set inference.pools.default.resources.requests.cpu"),
    (at("gateway", {"autoscaling": {"enabled": True}, "resources": {"requests": {"cpu": None}}}), "set gateway.resources.requests.cpu"),
    (at("gateway.podDisruptionBudget", {"minAvailable": 0, "maxUnavailable": 1}), "has both minAvailable and maxUnavailable"),
    (at("gateway.podDisruptionBudget.maxUnavailable", 0), "maxUnavailable is 0, so a node"),
    (at("gateway.podDisruptionBudget.maxUnavailable", "0%"), "maxUnavailable is 0%, so a node"),
    (at("gateway.podDisruptionBudget.minAvailable", 1), "minAvailable is 1 of 1 pods, so a node"),
    (at("gateway", {"replicas": 3, "podDisruptionBudget": {"minAvailable": "70%"}}), "minAvailable is 70% of 3"),
    (at(GPU, {"replicas": 2, "podDisruptionBudget": {"minAvailable": 2}}), "inference.pools.gpu.podDisruptionBudget.minAvailable is 2 of 2"),
    (at("gateway.strategy", {"maxUnavailable": 0, "maxSurge": 0}), "no rollout could begin"),
    (at("gateway.strategy", {"maxUnavailable": "0%", "maxSurge": "0%"}), "no rollout could begin"),
    (at("inference.probes.startup.failureThreshold", 900), "progressDeadlineSeconds is 600, but a pod may take 905 seconds"),
    (at("gateway.minReadySeconds", 300), "gateway.progressDeadlineSeconds is 300"),
    (at("gateway.image.digest", "sha256:12"), "gateway.image.digest is 'sha256:12', expected sha256: and 64"),
    (at(GPU, {"image": {"digest": DIGEST.upper()}}), "inference.pools.gpu.image.digest"),
    (at("gateway.service.nodePort", 30080), "a ClusterIP Service has no node port"),
    (at("gateway.service.grpcNodePort", 30081), "a ClusterIP Service has no node port"),
    (at("gateway.service.port", 3001), "a Service has each port once"),
    (at("gateway.service", {"type": "NodePort", "nodePort": 30080, "grpcNodePort": 30080}), "a node has each port once"),
    (at("gateway.service", {"type": "NodePort", "grpcPort": None, "grpcNodePort": 30081}), "the Service has no port for gRPC"),
    (at("ingress.enabled", True), "ingress.enabled is true and ingress.hosts is empty"),
    (at("httpRoute.enabled", True), "httpRoute.enabled is true and httpRoute.parentRefs is empty"),
    (at("monitoring", {"serviceMonitor": {"enabled": True}, "podMonitor": {"enabled": True}}), "would scrape each pod twice"),
    (at("gateway.extraEnv", [{"name": "PORT", "value": "80"}]), "gateway.extraEnv sets PORT, which the chart sets itself"),
    (at("gateway.extraEnv", [{"name": "HUB_DRAIN_WAIT_S", "value": "1"}]), "gateway.extraEnv sets HUB_DRAIN_WAIT_S"),
    (at("gateway.extraEnv", [{"name": "HUB_KEEP_ALIVE_S", "value": "1"}]), "gateway.extraEnv sets HUB_KEEP_ALIVE_S"),
    (at("inference.extraEnv", [{"name": "HUB_REQUIRED_MODELS", "value": "a"}]), "extraEnv sets HUB_REQUIRED_MODELS"),
    (at("gateway.extraEnv", [{"name": "HUB_JOBS", "value": "redis://a"}]), "gateway.extraEnv sets HUB_JOBS"),
    ({"limits": {"tenants": [{"tenant": "lab", "calls_per_day": 5}]}, "auth": {"apiKeys": {"existingSecret": "keys"}}},
     "limits.tenants has a quota of a day for lab, but there is no store that counts it for all gateways: set jobs.redis"),
    (at("jobs.redis", {"url": "redis://a", "existingSecret": "b"}), "jobs.redis has url and existingSecret, but jobs are kept in one place"),
    (at("jobs.redis.url", "redis://hub:secret@a"), "a URL with a password belongs into a Secret"),
    (at("jobs.redis.url", "sqlite:jobs.db"), "jobs.redis.url is not redis://host:port/database"),
    (at("jobs.redis.url", "redis+sentinel://a:26379,b:26379"), "jobs.redis.url is not redis://host:port/database"),
    (at("jobs.redis.url", "redis+sentinel://:secret@a/mymaster"), "a URL with a password belongs into a Secret"),
    (at("jobs.redis.url", "redis+sentinel://a/mymaster?sentinel_password=secret"), "a URL with a password belongs into a Secret"),
    (at("jobs.redis", {"url": "redis://a", "sentinelPort": 26379}), "jobs.redis.url names none"),
    (at("jobs.redis", {"url": "redis+sentinel://a/b", "caConfigMap": "b"}), "or rediss+sentinel://"),
    (at("jobs.redis", {"url": "redis://a", "caConfigMap": "b"}), "use rediss://"),
    (at("jobs.webhooks.hosts", ["a.example.com"]), "without jobs.webhooks.existingSecret"),
    (at("jobs.webhooks", {"hosts": ["a.example.com"], "existingSecret": "b"}), "but there are none: set jobs.redis"),
    (at("jobs.webhooks.existingSecret", "b"), "jobs.webhooks has no hosts"),
    (at("jobs.redis", {"embedded": {"enabled": True}, "port": 6380}), "are for a store elsewhere"),
    (merge(at("jobs.redis.embedded.enabled", True), at("networkPolicy.enabled", False)), "asks nobody for a password"),
    (at("gateway.extraEnv", [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]), "gateway.extraEnv has A twice"),
    (at("inference.extraVolumes", [{"name": "models", "emptyDir": {}}]), "extraVolumes has a volume 'models'"),
    (at("commonLabels", {"app.kubernetes.io/name": "x"}), "commonLabels sets 'app.kubernetes.io/name'"),
    (at("gateway.podLabels", {"inferencehub/pool": "x"}), "gateway.podLabels sets 'inferencehub/pool'"),
    (merge(at("auth.apiKeys.existingSecret", "keys"), at("securityContext.pod.fsGroup", None)), "could be read by root alone"),
    (merge(at("jobs.redis.existingSecret", "jobs"), at("securityContext.pod.fsGroup", None)), "could be read by root alone"),
    (merge(at("jobs", {"redis": {"url": "redis://a"}, "webhooks": {"hosts": ["a.example"], "existingSecret": "webhooks"}}), at("securityContext.pod.fsGroup", None)), "could be read by root alone"),
    (merge(at("tls.callers.existingSecret", "tls"), at("securityContext.pod.fsGroup", None)), "securityContext.pod.runAsUser is 65532 and there is no fsGroup"),
    (at("example.body", "not json"), "example.body is not a JSON object"),
    (at("models.source", "pvc"), "set models.pvc.claimName"),
    (at("models.source", "initContainer"), "set models.initContainer.image"),
    (at("models.source", "uri"), "models.source is 'uri', but it names none: set models.uri"),
    (at("models.uri", "s3://a/b/"), "models.uri is set, but models.source is 'image'"),
    (at("models", {"source": "uri", "uri": "http://a/b.zip#model=c"}), "models.uri is plain http"),
    (at("models", {"source": "uri", "uri": "https://a/b.zip#model=c&sha256=abc"}), "models.uri has a checksum that is none"),
    (at("models.secretName", "mine"), "models.secretName is set, but models.source is 'image'"),
    (at("models.source", "configMap"), "there are no models: set models.configMap.files"),
    (at("models.pvc.claimName", "models"), "models.pvc is set, but models.source is 'image'"),
    (merge({"models": CLAIM}, at("models.initContainer.image", "x:1")), "models.initContainer is set, but models.source is 'pvc'"),
    (at("models", {"source": "configMap", "configMap": {"name": "mine"}}), "models.configMap.name needs models.configMap.items"),
    (at("models", {"source": "configMap", "configMap": {"name": "mine", "files": FILES}}), "has both files and the name"),
    (at("models", {"source": "configMap", "configMap": {"files": {"model.py": "x"}}}), "'model.py' is not a path in a model repository"),
    (at("models", {"source": "configMap", "configMap": {"files": {"../1/x": "x"}}}), "is not a path in a model repository"),
    (at("models", {"source": "configMap", "configMap": {"files": {"a/b__c": "x", "a__b/c": "x"}}}), "differ only in '/' and '__'"),
    (at("models", {"source": "configMap", "configMap": {"files": {"a/1/m.bin": "x" * 2**20}}}), "larger than a ConfigMap can be"),
    (at("models", {"source": "configMap", "configMap": {"binaryFiles": {"a/1/m.bin": "AAAA" * 340_000}}}), "larger than a ConfigMap can be"),
    (at("models", {"source": "configMap", "configMap": {"files": {"a/1/model.onnx": "x"}}}), "files: 'a/1/model.onnx' is binary, and values are text: put it in base64 into models.configMap.binaryFiles"),
    (at("models", {"source": "configMap", "configMap": {"files": {"a/1/weights.bin": "a\x00b"}}}), "'a/1/weights.bin' is binary"),
    (at("models", {"source": "configMap", "configMap": {"files": {"a/1/weights.bin": "a\ufffdb"}}}), "'a/1/weights.bin' is binary"),
    (at("models", {"source": "configMap", "configMap": {"binaryFiles": {"a/1/model.onnx": "ONNX?"}}}), "binaryFiles: 'a/1/model.onnx' is not base64"),
    (at("models", {"source": "configMap", "configMap": {"binaryFiles": {"model.onnx": "AAAA"}}}), "'model.onnx' is not a path in a model repository"),
    (at("models", {"source": "configMap", "configMap": {"binaryFiles": {"a/1/m": "AAAA"}, "files": {"a/1/m": "x"}}}), "two paths are equal"),
    (merge({"models": CLAIM}, at("models.configMap.binaryFiles", {"a/1/m": "AAAA"})), "models.configMap is set, but models.source is 'pvc'"),
    (at("gateway.extraContainers", [{"name": "gateway", "image": "x:1"}]), "gateway has a further container 'gateway'"),
    (at("inference.extraInitContainers", [{"name": "models", "image": "x:1"}]), "inference.pools.default has a further container 'models'"),
    (at("gateway.service.externalTrafficPolicy", "Local"), "externalTrafficPolicy has no effect on a ClusterIP Service"),
    (at("gateway.service", {"type": "NodePort", "loadBalancerClass": "x"}), "have no effect on a NodePort Service"),
    (at("gateway.service.loadBalancerSourceRanges", ["10.0.0.0/8"]), "have no effect on a ClusterIP Service"),
    (at("gateway.service.labels", {"inferencehub/demand": "true"}), "gateway.service.labels sets 'inferencehub/demand'"),
    (at(GPU, {"models": {"source": "pvc"}}), "set inference.pools.gpu.models.pvc.claimName"),
    (at("inference.autoscaling.scaleToZero", ASLEEP), "scaleToZero does not work with source 'cpu'"),
    (at(GPU, {"autoscaling": {"source": "prometheus", "scaleToZero": ASLEEP}}), "set inference.pools.gpu.autoscaling.source to demand or keda"),
    (at(GPU, {"autoscaling": {"source": "demand", "minReplicas": 2, "scaleToZero": ASLEEP}}), "the autoscaler keeps at least 2: set inference.pools.gpu.autoscaling.minReplicas to 1"),
    (at(GPU, {"autoscaling": {"source": "keda", "scaleToZero": {"enabled": True}}}), "inference.pools.gpu.autoscaling.scaleToZero.models is empty"),
    (at("inference", {"autoscaling": {"source": "keda", "scaleToZero": ASLEEP}, "pools": {"gpu": {}}}), "has 'digits', and so has pool default"),
    (at("scaler.certificates.source", "certManager"), "set scaler.certificates.issuerRef.name"),
    (at("tls.tiers.gateway.existingSecret", "front"), "tls.tiers has a Secret for one tier"),
    (at("tls.tiers.inference.existingSecret", "back"), "tls.tiers has a Secret for one tier"),
    (at("tls.tiers", {"gateway": {"existingSecret": "a"}, "inference": {"existingSecret": "b"},
                      "certManager": {"issuerRef": {"name": "ca"}}}), "tls.tiers has both Secrets and certManager.issuerRef"),
    (at("tls.callers", {"existingSecret": "a", "certManager": {"issuerRef": {"name": "ca"}, "dnsNames": ["a"]}}),
     "tls.callers has both existingSecret and certManager.issuerRef"),
    (at("tls.callers.certManager.issuerRef.name", "ca"), "tls.callers.certManager.dnsNames is empty"),
    (at("tls.callers.certManager.issuerRef.kind", "Issuer"), "tls.callers.certManager.issuerRef has no name"),
    (at("tls.tiers.certManager.issuerRef.kind", "Issuer"), "tls.tiers.certManager.issuerRef has no name"),
    (at("tls.ops.certManager.issuerRef.kind", "Issuer"), "tls.ops.certManager.issuerRef has no name"),
    (at("tls.ops", {"existingSecret": "a", "certManager": {"issuerRef": {"name": "ca"}}}), "tls.ops has both existingSecret and certManager.issuerRef"),
    (merge(at("tls.ops.existingSecret", "ops"), at("securityContext.pod.fsGroup", None)), "securityContext.pod.runAsUser is 65532 and there is no fsGroup"),
    (at("inference.extraEnv", [{"name": "HUB_OPS_TLS_CA", "value": "/x"}]), "extraEnv sets HUB_OPS_TLS_CA"),
    (merge(at("tls.ops.existingSecret", "ops"), at("inference.extraVolumes", [{"name": "ops-tls", "emptyDir": {}}])),
     "has a volume 'ops-tls', but the chart uses that name itself"),
    (at("tls.callers.certManager.dnsNames", ["a.b"]), "tls.callers.certManager.dnsNames is set, but there is no issuer"),
    (at("tls.tiers.selfSigned", True), "the scaler, which makes the certificates, does not run: set inference.autoscaling.source"),
    (merge(at("tls.tiers.selfSigned", True), at("inference.autoscaling", {"source": "demand", "demand": {"provider": "existing"}})),
     "tls.tiers.selfSigned is true, but the scaler"),
    (merge(DEMAND, at("tls.tiers", {"selfSigned": True, "certManager": {"issuerRef": {"name": "ca"}}})), "tls.tiers has selfSigned, and"),
    (merge(DEMAND, at("tls.tiers", {"selfSigned": True, "gateway": {"existingSecret": "a"}, "inference": {"existingSecret": "b"}})),
     "tls.tiers has selfSigned, and Secrets or"),
    (merge(merge(DEMAND, at("tls.tiers.selfSigned", True)), at("securityContext.pod.fsGroup", None)), "could be read by root alone"),
    (at("inference.extraEnv", [{"name": "HUB_TIER_TLS_CA", "value": "/x"}]), "extraEnv sets HUB_TIER_TLS_CA"),
    (at("gateway.extraEnv", [{"name": "HUB_API_KEYS", "value": "/x"}]), "gateway.extraEnv sets HUB_API_KEYS"),
    (merge(at("auth.apiKeys.existingSecret", "keys"), at("gateway.extraVolumes", [{"name": "auth", "emptyDir": {}}])),
     "has a volume 'auth', but the chart uses that name itself"),
    (at(GPU, {"directCalls": {"existingSecret": "keys"}}), "inference.directCalls is set for gpu, but direct callers are told apart"),
    (merge(at(GPU, {"modelCalls": {"enabled": True}}), at("gateway.service.grpcPort", None)), "has no port for gRPC: set gateway.service.grpcPort"),
    (merge(at(GPU, {"modelCalls": {"enabled": True}}), at("tls.callers", {"existingSecret": "a", "clientAuthorities": "b"})),
     "enabled for gpu, but each caller must show a certificate"),
    (merge(at(GPU, {"modelCalls": {"enabled": True}}), at("tls.callers.certManager", {"issuerRef": {"name": "ca"}, "dnsNames": ["*.a.b"]})),
     "have a *, which is no name to expect: set inference.modelCalls.serverName"),
    (at(GPU, {"modelCalls": {"enabled": True, "caConfigMap": "ca"}}), "for gpu, but the gateway speaks in plain to its callers: set tls.callers"),
    (merge(at("tls.callers.existingSecret", "a"), merge(at("inference.modelCalls.enabled", True), at("inference.extraVolumes", [{"name": "gateway-tls", "emptyDir": {}}]))),
     "has a volume 'gateway-tls', but the chart uses that name itself"),
    (merge(at(GPU, {"modelCalls": {"enabled": True}}), at("auth.apiKeys.existingSecret", "a")), "the gateway asks callers who they are"),
    (merge(at("auth.apiKeys.existingSecret", "keys"), merge(at("inference.modelCalls", {"enabled": True, "existingSecret": "key"}), at("inference.extraVolumes", [{"name": "gateway-key", "emptyDir": {}}]))),
     "has a volume 'gateway-key', but the chart uses that name itself"),
    (at("networkPolicy.inference.from", [{"ipBlock": {"cidr": "10.0.0.0/8"}}]), "no pool asks them for keys"),
    (at("inference.extraEnv", [{"name": "HUB_DIRECT_CALLS", "value": "true"}]), "extraEnv sets HUB_DIRECT_CALLS"),
    (at("tls.callers.clientAuthorities", "authorities"), "callers show certificates only over TLS"),
    (merge(at("tls.callers", {"existingSecret": "a", "clientAuthorities": "b"}), at("gateway.extraVolumes", [{"name": "callers-ca", "emptyDir": {}}])),
     "has a volume 'callers-ca', but the chart uses that name itself"),
    (merge(at("auth.jwt", JWT), at("gateway.extraVolumes", [{"name": "jwt", "emptyDir": {}}])),
     "has a volume 'jwt', but the chart uses that name itself"),
    (at("limits.tenants", [{"tenant": "a", "rate": 1}]), "limits.tenants is set, but nobody is asked who they are"),
    (at("traffic.models.m", {"aliases": {"2": "1"}}), "traffic.models.m.aliases has '2', which could be taken for a version"),
    (at("traffic.models.m", {"weights": {"1": 0}}), "traffic.models.m.weights has no weight above 0"),
    (at("traffic.models.m", {"weights": {"1": 1, "old": 1}, "aliases": {"old": "1"}}), "traffic.models.m.weights has version '1' twice"),
    (at("traffic.models.m", {"aliases": {"a": "b", "b": "1"}}), "traffic.models.m.aliases.a is 'b', which is an alias itself"),
    (at("traffic.models.m", {"aliases": {"a": "v1"}}), "traffic.models.m.aliases.a is 'v1', which is no version"),
    (at("traffic.models.m", {"weights": {"stabel": 1}, "aliases": {"stable": "1"}}),
     "traffic.models.m has 'stabel' where a version stands: set a whole number or one of the aliases (stable)."),
    (at("traffic.models.m", {"shadow": {"version": "new", "share": 1}}),
     "traffic.models.m has 'new' where a version stands: set a whole number or one of the aliases (there are none)."),
    (at("traffic.models.m", {"weights": {"1": 1}, "rollback": {"version": "2", "p99_ms": 1}}),
     "traffic.models.m.rollback watches version '2', which has no weight"),
    (at("traffic.models.m", {"weights": {"1": 0, "new": 1}, "aliases": {"new": "2"}, "rollback": {"version": "2", "p99_ms": 1}}),
     "traffic.models.m.rollback watches version '2', and no other one has a weight above 0"),
    (at("traffic.models.m", {"sticky": "x-user"}), "traffic.models.m.sticky is set without weights"),
    (merge(at("auth.jwt", JWT), at("limits.addresses", {"rate": 1})), "limits.addresses is set, but callers are asked"),
    (merge(at("auth.apiKeys.existingSecret", "keys"), {"limits": {"models": [{"model": "a", "rate": 1}]}, "gateway": {
        "extraVolumes": [{"name": "limits", "emptyDir": {}}]}}), "has a volume 'limits', but the chart uses that name"),
    (at("auth.jwt", {**JWT, "audiences": []}), "auth.jwt.audiences is empty"),
    (at("auth.jwt", {**JWT, "issuer": ""}), "auth.jwt.issuer is empty"),
    (at("auth.jwt", {**JWT, "keys": {}}), "nothing verifies its tokens"),
    (at("auth.jwt", {**JWT, "keys": {"url": "https://a/", "configMap": "jwks"}}), "auth.jwt.keys has both url and configMap"),
    (at("auth.jwt", {**JWT, "keys": {"url": "http://a/"}}), "auth.jwt.keys.url is 'http://a/'"),
    (at("auth.jwt", {**JWT, "keys": {"configMap": "jwks", "caConfigMap": "ca"}}), "are for keys that are fetched"),
    (at("scaler.port", 9090), "scaler.port is 9090"),
    (merge(DEMAND, at("scaler.serviceAccount.create", False)), "set scaler.serviceAccount.name"),
    (at("scaler.podLabels", {"inferencehub/pool": "x"}), "scaler.podLabels sets 'inferencehub/pool'"),
]  # fmt: skip


@cache
def refusal(place: int) -> str:
    """What is said to the values at a place of REFUSED."""
    values, _ = REFUSED[place]
    with pytest.raises(helm.HelmRenderError) as refused:
        render(values)
    return str(refused.value)


@pytest.mark.parametrize("place", range(len(REFUSED)), ids=[sentence for _, sentence in REFUSED])
def test_it_is_refused_in_a_sentence(place: int) -> None:
    assert REFUSED[place][1] in refusal(place)
    assert re.search(r"[.\w'`]\.?$", refusal(place).strip())


@pytest.mark.parametrize("release", ["2hub"])
def test_a_name_that_no_service_may_have_is_refused(release: str) -> None:
    with pytest.raises(helm.HelmRenderError, match="must begin with a letter"):
        render({}, release)
    assert render({"fullnameOverride": "hub"}, release)


def test_every_refusal_is_tried() -> None:
    """Each `fail` of the templates speaks in one of the tests above."""
    partials = "".join(path.read_text() for path in (CHART / "templates").rglob("*.tpl"))
    sentences = re.findall(r'fail \(?(?:printf )?"((?:[^"\\]|\\.)*)"', partials)
    assert len(sentences) == partials.count("{{- fail ") > 25
    seen = [refusal(place) for place in range(len(REFUSED))]
    for sentence in sentences:
        if not any(part in sentence for part in ELSEWHERE):
            pattern = ".*".join(re.escape(part) for part in re.split(r"%[sdv]|%%", sentence))
            assert any(re.search(pattern, text, re.DOTALL) for text in seen), sentence

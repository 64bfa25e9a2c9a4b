"""The Kubernetes hand against answers in the shapes of the API reference (apps/v1, autoscaling/v1)."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from collectors.app.hands import Staff
from collectors.app.kubernetes_hand import KubernetesHand
from collectors.errors import CollectorsError, Overloaded, SourceRefused, SourceUnavailable

DEPLOYMENT = "/apis/apps/v1/namespaces/music/deployments/worker"


class Cluster:
    """An API server with one Deployment; ``fails`` are answers it gives first."""

    def __init__(self, replicas: int = 3, ready: int | None = 2) -> None:
        self.replicas = replicas
        self.ready = ready
        self.fails: list[httpx.Response] = []
        self.seen: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        if self.fails:
            return self.fails.pop(0)
        assert request.headers["authorization"] == "Bearer secret-token"
        if request.method == "PATCH":
            assert request.url.path == f"{DEPLOYMENT}/scale"
            assert request.headers["content-type"] == "application/merge-patch+json"
            self.replicas = json.loads(request.content)["spec"]["replicas"]
        if request.url.path == f"{DEPLOYMENT}/scale":
            return httpx.Response(200, json=self.scale())
        assert request.url.path == DEPLOYMENT
        status = {"observedGeneration": 4, "replicas": self.replicas, "unavailableReplicas": 1}
        if self.ready is not None:
            status["readyReplicas"] = self.ready
        spec = {"replicas": self.replicas, "selector": {"matchLabels": {"app": "worker"}}}
        return httpx.Response(200, json={"kind": "Deployment", "apiVersion": "apps/v1", "spec": spec, "status": status})

    def scale(self) -> dict[str, Any]:
        return {
            "kind": "Scale",
            "apiVersion": "autoscaling/v1",
            "metadata": {"name": "worker", "namespace": "music", "resourceVersion": "51734"},
            "spec": {"replicas": self.replicas},
            "status": {"replicas": self.replicas, "selector": "app=worker"},
        }

    def hand(self) -> KubernetesHand:
        return KubernetesHand(
            "music", "worker", token=lambda: "secret-token", transport=httpx.MockTransport(self), url="https://api.test"
        )


async def test_it_tells_who_is_ready_and_who_is_on_the_way() -> None:
    assert await Cluster(replicas=3, ready=2).hand().staff() == Staff(2, 1)
    assert await Cluster(replicas=2, ready=None).hand().staff() == Staff(0, 2)
    assert await Cluster(replicas=1, ready=3).hand().staff() == Staff(3, 0), "the surplus is on its way out"


async def test_it_patches_the_scale_and_only_if_it_must() -> None:
    cluster = Cluster(replicas=3)
    await cluster.hand().resize(5)
    assert cluster.replicas == 5
    assert [r.method for r in cluster.seen] == ["GET", "PATCH"]
    await cluster.hand().resize(5)
    assert [r.method for r in cluster.seen] == ["GET", "PATCH", "GET"]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (httpx.Response(401, json={"kind": "Status", "code": 401, "reason": "Unauthorized"}), SourceRefused),
        (httpx.Response(403, json={"kind": "Status", "code": 403, "reason": "Forbidden"}), SourceRefused),
        (httpx.Response(404, json={"kind": "Status", "code": 404, "reason": "NotFound"}), SourceRefused),
        (httpx.Response(409, json={"kind": "Status", "code": 409, "reason": "Conflict"}), SourceUnavailable),
        (httpx.Response(500, text="etcdserver: leader changed"), SourceUnavailable),
        (httpx.Response(429, headers={"retry-after": "7"}), Overloaded),
        (httpx.Response(429, headers={"retry-after": "soon"}), Overloaded),
    ],
)
async def test_each_refusal_says_whether_to_retry_and_never_the_token(
    answer: httpx.Response, error: type[CollectorsError]
) -> None:
    cluster = Cluster()
    cluster.fails = [answer]
    with pytest.raises(error) as caught:
        await cluster.hand().staff()
    assert "secret-token" not in str(caught.value)
    if isinstance(caught.value, Overloaded):
        assert caught.value.retry_after == (7.0 if answer.headers["retry-after"] == "7" else 1.0)


async def test_a_cluster_that_does_not_answer_may_answer_later() -> None:
    def away(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("no route")

    hand = KubernetesHand("music", "worker", token=lambda: "t", transport=httpx.MockTransport(away))
    with pytest.raises(SourceUnavailable, match="does not answer"):
        await hand.resize(2)

"""The Kubernetes hand: gives a Deployment or StatefulSet the size that was decided, by its ``scale`` subresource.

Kubernetes API reference, autoscaling/v1 ``Scale``; a merge patch of ``spec.replicas`` needs the verbs ``get`` and
``patch`` on ``deployments/scale`` and no more.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from collectors.app.hands import Staff
from collectors.errors import Overloaded, SourceRefused, SourceUnavailable

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a pod finds its token and the API server's certificate authority."""


_FIX = "check namespace, kind and name, and that the service account may get it and get and patch its scale"


class KubernetesHand:
    """Scales one workload. The token is read for each request, because the cluster replaces it every hour."""

    def __init__(
        self,
        namespace: str,
        name: str,
        *,
        kind: str = "deployments",
        url: str = "https://kubernetes.default.svc",
        token: Callable[[], str] = lambda: (ACCOUNT / "token").read_text().strip(),
        ca_file: Path = ACCOUNT / "ca.crt",
        transport: httpx.AsyncBaseTransport | None = None,
        timeout_seconds: float = 10.0,
    ) -> None:
        self._path = f"/apis/apps/v1/namespaces/{namespace}/{kind}/{name}"
        self._name = f"{kind}/{name}"
        self._token = token
        self._url = url
        self._ca_file = ca_file
        self._transport = transport
        self._timeout = timeout_seconds

    async def staff(self) -> Staff:
        """Return how many pods are ready and how many are on their way."""
        found = await self._ask("GET", self._path)
        wanted = int(found.get("spec", {}).get("replicas", 1))
        ready = int(found.get("status", {}).get("readyReplicas", 0))
        return Staff(ready, max(0, wanted - ready))

    async def resize(self, size: int) -> None:
        """Ask for ``size`` pods; nothing is sent if that many are asked for already."""
        scale = await self._ask("GET", f"{self._path}/scale")
        if int(scale.get("spec", {}).get("replicas", 0)) != size:
            await self._ask("PATCH", f"{self._path}/scale", {"spec": {"replicas": size}})

    async def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the answer; an error of its own for what may pass and for what a person must put right."""
        verify: ssl.SSLContext | bool = True
        if self._transport is None:
            verify = ssl.create_default_context(cafile=str(self._ca_file))
        headers = {"authorization": f"Bearer {self._token()}"}
        if body is not None:
            headers["content-type"] = "application/merge-patch+json"
        try:
            async with httpx.AsyncClient(
                base_url=self._url, verify=verify, transport=self._transport, timeout=self._timeout, trust_env=False
            ) as client:
                answer = await client.request(method, path, json=body, headers=headers)
        except httpx.HTTPError as error:
            raise SourceUnavailable(f"the Kubernetes API does not answer: {type(error).__name__}") from None
        if answer.status_code == httpx.codes.TOO_MANY_REQUESTS:
            wait = answer.headers.get("retry-after", "1")
            raise Overloaded("the Kubernetes API is busy", retry_after=float(wait) if wait.isdigit() else 1.0)
        if answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR or answer.status_code == httpx.codes.CONFLICT:
            raise SourceUnavailable(f"the Kubernetes API answered {answer.status_code}; it is tried again")
        if answer.is_error:
            raise SourceRefused(f"the Kubernetes API answered {answer.status_code} for {self._name}; {_FIX}")
        found = answer.json()
        return found if isinstance(found, dict) else {}

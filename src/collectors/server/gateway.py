"""The gateway process: HTTP in front, the log behind. Started by the supervisor; stops on SIGTERM."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import sys
from collections.abc import Sequence

import structlog
import uvicorn

from collectors.app.folder import DataFolder
from collectors.clock import SystemClock
from collectors.config.server import ServerConfig
from collectors.drivers.event_log import LogWriter
from collectors.intake.decoded import Limits
from collectors.intake.dedupe import DedupeWindow
from collectors.intake.pipeline import IntakePipeline, PipelineLimits, settle
from collectors.intake.prepare import IntakePolicy, Outcome, Preparer
from collectors.intake.recover import recover_window
from collectors.privacy.policy import preset
from collectors.server.api import create_api
from collectors.server.auth import Authenticator
from collectors.server.ingest import IngestApp
from collectors.server.live import LiveHub
from collectors.server.replay import Replayer
from collectors.server.state import GatewayProgress, GatewayState

log = structlog.get_logger()

_GIL_SWITCH_SECONDS = 0.001
_POLICY_SECONDS = 1.0


class PolicyCache:
    """What intake must know of each tenant, read again when tenants or keys may have changed."""

    def __init__(self, folder: DataFolder, clock: SystemClock) -> None:
        self._folder = folder
        self._clock = clock
        self._policies: dict[str, IntakePolicy] = {}
        self._until = 0.0

    def __call__(self, tenant: str) -> IntakePolicy:
        """Return the policy of ``tenant``, at most a second old."""
        now = self._clock.monotonic()
        if now > self._until:
            self._policies.clear()
            self._until = now + _POLICY_SECONDS
        policy = self._policies.get(tenant)
        if policy is None:
            config = self._folder.control.tenant(tenant).config
            policies = preset(config.compliance_mode).override(config.policies, where=f"{tenant}.policies")
            keyset = self._folder.keys.keyset(tenant)
            policy = self._policies[tenant] = IntakePolicy(keyset, policies, frozenset(config.dropped_types))
        return policy


def build_pipeline(
    folder: DataFolder, config: ServerConfig, clock: SystemClock, loop: asyncio.AbstractEventLoop
) -> IntakePipeline:
    """Open the log, fill the dedupe window from it, and return the pipeline, not yet started."""
    window = DedupeWindow(memory_bytes=config.intake.dedupe_bytes, secret=os.urandom(32))
    writer = LogWriter(folder.log, segment_bytes=config.intake.log_segment_bytes)
    recover_window(window, folder.log, now_us=clock.now_us())
    limits = Limits(max_rows=config.intake.max_rows, max_depth=config.intake.max_depth)
    preparer = Preparer(PolicyCache(folder, clock), window, limits)

    def deliver(outcomes: Sequence[Outcome]) -> None:
        loop.call_soon_threadsafe(settle, outcomes)

    queue = PipelineLimits(config.intake.queue_bytes, config.intake.tenant_queue_bytes)
    return IntakePipeline(preparer, writer, clock, deliver, queue)


class _Server(uvicorn.Server):
    """Uvicorn, which tells the pipeline to finish once no request comes in any more."""

    def __init__(self, config: uvicorn.Config, pipeline: IntakePipeline, hub: LiveHub) -> None:
        super().__init__(config)
        self._pipeline = pipeline
        self._hub = hub

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._hub.close()
        await super().shutdown(sockets)
        await asyncio.to_thread(self._pipeline.close)


async def serve_gateway(config: ServerConfig, listener: socket.socket) -> None:
    """Serve on ``listener`` until SIGTERM or SIGINT."""
    sys.setswitchinterval(_GIL_SWITCH_SECONDS)
    clock = SystemClock()
    folder = DataFolder(config.data, clock)
    loop = asyncio.get_running_loop()
    pipeline = build_pipeline(folder, config, clock, loop)
    pipeline.start()
    hub = LiveHub(folder.bus, clock)
    authenticator = Authenticator(folder.control, clock)
    state = GatewayState(
        control=folder.control,
        keys=folder.keys,
        ledger=folder.ledger,
        samples=folder.samples,
        alerting=folder.alerting,
        hub=hub,
        clock=clock,
        config=config,
        authenticator=authenticator,
        replay=Replayer(folder, pipeline, clock).replay,
        progress=lambda: GatewayProgress(pipeline.queued_bytes, pipeline.last_commit_us, pipeline.oldest_waiting_us),
    )
    api = create_api(state)
    app = IngestApp(api, pipeline, authenticator, config, clock)
    server = _Server(
        uvicorn.Config(
            app,
            loop="uvloop",
            http="httptools",
            ws="websockets-sansio",
            log_config=None,
            access_log=False,
            lifespan="on",
            server_header=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=10,
        ),
        pipeline,
        hub,
    )
    gc.freeze()
    await server.serve(sockets=[listener])

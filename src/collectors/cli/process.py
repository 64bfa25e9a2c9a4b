"""Entry of the processes the supervisor starts; not for people."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import socket
import sys

from collectors.config.server import ServerConfig
from collectors.monitoring.logs import configure_logs

WORKER_NICENESS = 5

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def main() -> None:
    """Run the role named by the first argument, with the configuration in the second."""
    # A supervisor that is killed can't stop us; the kernel does it for it.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    role, text, *rest = sys.argv[1:]
    config = ServerConfig.model_validate_json(text)
    configure_logs(config.log_format, role=role)
    if role == "gateway":
        import uvloop

        from collectors.server.gateway import serve_gateway

        listener = socket.socket(fileno=int(rest[0]))
        uvloop.run(serve_gateway(config, listener))
    else:
        os.nice(WORKER_NICENESS)  # before its imports: while both start, the gateway comes first

        from collectors.app.worker import work

        asyncio.run(work(config))


if __name__ == "__main__":
    main()

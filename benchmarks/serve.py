"""Run a server from a configuration given as JSON: what ``collectors serve`` does, without its greetings."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from collectors.app.folder import DataFolder
from collectors.app.supervisor import Supervisor, bind, owned, prepare_folder
from collectors.clock import SystemClock
from collectors.config.server import ServerConfig
from collectors.monitoring.logs import configure_logs


def main() -> None:
    text, port = sys.argv[1:]
    config = ServerConfig.model_validate_json(Path(text).read_text()).model_copy(update={"port": int(port)})
    configure_logs("console", role="supervisor")
    clock = SystemClock()
    with owned(config.data):
        prepare_folder(DataFolder(config.data, clock))
        supervisor = Supervisor(config, bind(config), clock)
        signal.signal(signal.SIGTERM, supervisor.stop)
        signal.signal(signal.SIGINT, supervisor.stop)
        supervisor.run()


if __name__ == "__main__":
    main()

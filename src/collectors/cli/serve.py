"""``collectors serve``: a server in the foreground."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from collectors.cli import options
from collectors.cli.connect import SERVER_FILE

if TYPE_CHECKING:
    import socket

    from collectors.clock import SystemClock
    from collectors.config.server import ServerConfig

READY_SECONDS = 60.0
_ASK_SECONDS = 0.1
_ANYWHERE = frozenset({"0.0.0.0", "::", ""})  # noqa: S104 - compared with, not bound to
_RATE = 500.0


EXAMPLES = options.examples(
    "collectors serve --demo",
    "collectors serve --config collectors.toml --port 9000",
)


def serve(
    *,
    config: Annotated[
        Path | None, typer.Option(help="Configuration file, TOML; see: collectors check --sample.")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.  [default: 127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one.  [default: 8080]")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder for everything that must survive.  [default: data]")] = None,
    demo: Annotated[
        bool, typer.Option("--demo", help="Create three demo tenants and feed them from the simulator.")
    ] = (False),
    demo_rate: Annotated[float, typer.Option(help="Events a second of the demo, over its tenants.", min=1)] = _RATE,
) -> None:
    """Start a server and keep it running until Ctrl-C or SIGTERM.

    Settings come from the file, then from variables such as COLLECTORS_PORT, then from the options here.
    """
    from collectors.config.loading import load_server_config

    settings = load_server_config(config, os.environ, {"host": host, "port": port, "data": data})
    _serve(settings, demo_rate=demo_rate if demo else None)


def _serve(config: ServerConfig, *, demo_rate: float | None) -> None:
    from collectors.app.folder import DataFolder
    from collectors.app.supervisor import Supervisor, bind, owned, prepare_folder
    from collectors.clock import SystemClock
    from collectors.monitoring.logs import configure_logs

    configure_logs(config.log_format, role="supervisor")
    clock = SystemClock()
    with owned(config.data), contextlib.ExitStack() as stack:
        folder = DataFolder(config.data, clock)
        key = prepare_folder(folder)
        listener = stack.enter_context(bind(config))
        url = address(config.host, listener)
        supervisor = Supervisor(config, listener, clock)
        feeder = None
        if demo_rate is not None:
            from collectors.cli.demo import Feed, Feeder, create_tenants

            feeder = Feeder(Feed(url, create_tenants(folder), demo_rate))
            stack.callback(feeder.stop)

        def stop(*_: object) -> None:
            if feeder is not None:
                feeder.ask_to_stop()  # first, so that it does not meet a server that is gone
            supervisor.stop()

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, stop)
        stack.enter_context(_greeting(config, url, key, clock, demo=feeder is not None))
        supervisor.run()


def address(host: str, listener: socket.socket) -> str:
    """Return the URL by which this machine reaches a listening socket."""
    port = listener.getsockname()[1]
    if host in _ANYWHERE:
        host = "::1" if ":" in host else "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextlib.contextmanager
def _greeting(config: ServerConfig, url: str, key: str, clock: SystemClock, *, demo: bool) -> Iterator[None]:
    """Once the server is ready, tell other commands and the person where it is."""
    stopping = threading.Event()
    file = config.data / SERVER_FILE

    def greet() -> None:
        if _ready(url, clock, stopping):
            file.write_text(json.dumps({"url": url, "pid": os.getpid()}))
            _print_greeting(url, key, config, demo=demo)
        elif not stopping.is_set():
            from collectors.cli.show import note

            note(f"collectors: the server is not ready after {READY_SECONDS:.0f} s; what it logs says why")

    thread = threading.Thread(target=greet, name="greeting")
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()
        file.unlink(missing_ok=True)


def _ready(url: str, clock: SystemClock, stopping: threading.Event) -> bool:
    import httpx

    end = clock.monotonic() + READY_SECONDS
    with httpx.Client(base_url=url, timeout=2.0, trust_env=False) as client:
        while not stopping.is_set() and clock.monotonic() < end:
            with contextlib.suppress(httpx.TransportError):
                if client.get("/health/ready").is_success:
                    return True
            stopping.wait(_ASK_SECONDS)
    return False


def _print_greeting(url: str, key: str, config: ServerConfig, *, demo: bool) -> None:
    from rich.panel import Panel
    from rich.text import Text

    from collectors.cli.show import console

    page = f"{url}/#key={key}" if key else f"{url}/"
    out = console()
    data = f" --data {config.data}" if config.data != Path("data") else ""
    tries = [
        f"collectors top{data}",
        f"collectors ledger{data}",
        f"collectors tap --samples '*'{data}",
    ]
    if not demo:
        tries = [f"collectors tenants create acme{data}", f"collectors simulate --tenant acme{data}", *tries]
    lines = ["The server is ready. Try in another terminal:", *(f"  {line}" for line in tries), "Ctrl-C stops it."]
    if not key:
        lines.insert(1, "  (admin.key is gone: make a key with collectors keys create --all --scope admin)")
    out.print(Panel(Text("\n".join(lines)), title="collectors", title_align="left", expand=False))
    # Outside the panel and unbroken, so that terminals make a link of it and people can copy it.
    out.print(Text(f"Open {page}"), soft_wrap=True)
    out.file.flush()

"""The command as a whole: what it imports, how errors come out, and that its help tells the truth."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys

import pytest
import typer
from cli_runner import Run
from typer.main import get_command

from collectors.cli.app import app, main
from collectors.errors import BadInput, ConfigError, SourceUnavailable

HEAVY = {
    "cryptography",
    "deltalake",
    "duckdb",
    "fastapi",
    "httpx",
    "ibis",
    "numpy",
    "opentelemetry",
    "orjson",
    "psutil",
    "pyarrow",
    "pydantic",
    "rich",
    "scipy",
    "starlette",
    "structlog",
    "uvicorn",
}


def _modules_after(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint(*sys.modules, sep=chr(10), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


def test_importing_the_package_imports_none_of_its_parts() -> None:
    found = _modules_after("import collectors")
    assert {m for m in found if m.startswith("collectors")} == {"collectors"}
    assert not {m.partition(".")[0] for m in found} & HEAVY


def test_help_imports_nothing_heavy() -> None:
    found = _modules_after("from collectors.cli import main\nassert main(['--help']) == 0")
    assert not {m.partition(".")[0] for m in found} & HEAVY


def test_processes_of_a_server_do_not_import_the_command_line() -> None:
    found = _modules_after("import collectors.cli.process")
    assert "typer" not in found
    assert "collectors.cli.app" not in found


def test_module_runs_as_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "collectors.cli", "--version"], capture_output=True, text=True, check=True
    )
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", done.stdout)


def test_names_other_than_main_are_not_there() -> None:
    import collectors.cli

    with pytest.raises(AttributeError, match="no attribute 'other'"):
        _ = collectors.cli.other
    assert collectors.cli.main is main


def _commands() -> list[tuple[list[str], object]]:
    found = []
    for name, command in get_command(app).commands.items():  # type: ignore[attr-defined]
        for inner, below in getattr(command, "commands", {"": command}).items():
            found.append(([name, inner] if inner else [name], below))
    return found


@pytest.mark.parametrize(("path", "command"), _commands(), ids=lambda x: " ".join(x) if isinstance(x, list) else "")
def test_every_command_has_help_with_examples_that_parse(path: list[str], command: object, run: Run) -> None:
    shown = run(*path, "--help")
    assert shown.code == 0
    examples = shown.out[shown.out.index("Examples:") :].splitlines()[1:]
    assert examples
    for line in examples:
        words = shlex.split(line.split("$(")[-1].removesuffix(")").partition(" > ")[0])
        while "=" in words[0]:
            words.pop(0)
        assert words[: len(path) + 1] == ["collectors", *path]
        # Parsing only: an example that names an option or argument that is not there fails here.
        command.make_context("collectors", words[len(path) + 1 :], resilient_parsing=False)  # type: ignore[attr-defined]


@pytest.mark.parametrize(("path", "command"), _commands(), ids=lambda x: " ".join(x) if isinstance(x, list) else "")
def test_every_option_is_described(path: list[str], command: object) -> None:
    for parameter in command.params:  # type: ignore[attr-defined]
        assert getattr(parameter, "help", None), f"{path}: {parameter.name}"


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (
            ConfigError("that is wrong", where="here", fix="do this."),
            2,
            "collectors: here: that is wrong. Fix: do this.\n",
        ),
        (BadInput("that is bad"), 2, "collectors: that is bad\n"),
        (SourceUnavailable("nobody there"), 1, "collectors: nobody there\n"),
        (
            FileNotFoundError(2, "No such file or directory", "x"),
            1,
            "collectors: [Errno 2] No such file or directory: 'x'\n",
        ),
    ],
)
def test_errors_become_one_line_and_an_exit_code(
    error: Exception, code: int, line: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("collectors.config.loading.load_server_config", fail)
    found = run("check")
    assert (found.code, found.err, found.out) == (code, line, "")
    monkeypatch.setenv("COLLECTORS_DEBUG", "1")
    with pytest.raises(type(error)):
        run("check")


def test_ctrl_c_ends_quietly_with_130(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("collectors.config.loading.load_server_config", interrupt)
    found = run("check")
    assert (found.code, found.out, found.err) == (130, "", "")


@pytest.mark.parametrize("arguments", [["nosuch"], ["serve", "--prot", "1"], ["tap", "--limit", "0"], ["import"]])
def test_wrong_usage_exits_with_2(arguments: list[str], run: Run) -> None:
    found = run(*arguments)
    assert found.code == 2
    assert "Error" in found.err


def test_without_arguments_help_is_shown(run: Run) -> None:
    found = run()
    assert "Usage: collectors" in found.out + found.err


def test_typer_is_told_to_leave_exceptions_alone() -> None:
    assert isinstance(app, typer.Typer)
    assert app.pretty_exceptions_enable is False

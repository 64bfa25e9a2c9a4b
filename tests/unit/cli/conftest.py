from __future__ import annotations

from pathlib import Path

import pytest
from cli_runner import Outcome, Run

from collectors.app.folder import DataFolder
from collectors.app.supervisor import prepare_folder
from collectors.cli.app import main


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run the command line in this process, in an empty folder and an environment without our variables."""
    for name in ("URL", "KEY", "DATA", "DEBUG", "HOST", "PORT"):
        monkeypatch.delenv(f"COLLECTORS_{name}", raising=False)
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> Outcome:
        capsys.readouterr()
        code = main([str(a) for a in arguments])
        return Outcome(code, *capsys.readouterr())

    return call


@pytest.fixture
def folder(tmp_path: Path) -> DataFolder:
    """A data folder as a server leaves it behind after its first start."""
    made = DataFolder(tmp_path / "data")
    prepare_folder(made)
    return made

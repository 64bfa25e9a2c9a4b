from __future__ import annotations

from pathlib import Path

import pytest
from server_world import Gateway, build


@pytest.fixture
def gateway(tmp_path: Path) -> Gateway:
    return build(tmp_path / "data")

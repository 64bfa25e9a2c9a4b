"""Run the tests in tests/oracles, each in an environment with the packages it compares with: ``make oracles``.

The first line of a test file names them: ``# requirements: lifelines==0.30.3 statsmodels==0.15.0``. They are never part
of the product: some are unmaintained, some exclude each other, some have licences that a product can't take.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
_MARK = "# requirements:"


def requirements(test: Path) -> list[str]:
    """Return what the first line of a test file asks for."""
    first = test.read_text().splitlines()[0]
    if not first.startswith(_MARK):
        raise SystemExit(f"{test.name} must begin with a line such as '{_MARK} lifelines==0.30.3'")
    return first.removeprefix(_MARK).split()


def run(test: Path, uv: str) -> bool:
    """Make the environment, run the file in it, and tell whether all its tests passed."""
    wanted = requirements(test)
    # An oracle that excludes what the product needs is compared with kernels that need NumPy and SciPy alone.
    product = [] if any(r.startswith("numpy<") for r in wanted) else [str(ROOT)]
    with tempfile.TemporaryDirectory(prefix="collectors-oracle-") as folder:
        python = str(Path(folder, "bin", "python"))
        subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, folder], check=True)
        subprocess.run([uv, "pip", "install", "--quiet", "--python", python, "pytest", *wanted, *product], check=True)
        # Without the project's own settings, which name plug-ins that are not here.
        command = [python, "-m", "pytest", "-c", os.devnull, "--rootdir", str(ROOT), "--noconftest", "-q", str(test)]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
        return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode == 0


def main() -> None:
    """Run all files, or those whose name holds one of the arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="parts of file names; all if none is given")
    names = parser.parse_args().names
    uv = str(Path(sys.executable).with_name("uv"))
    tests = sorted((ROOT / "tests" / "oracles").glob("test_*.py"))
    chosen = [t for t in tests if not names or any(name in t.name for name in names)]
    failed = []
    for test in chosen:
        print(f"{test.name}: {' '.join(requirements(test))}", flush=True)
        if not run(test, uv):
            failed.append(test.name)
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()

"""Fresh virtual environments with the built product, for tests of strangers' distributions.

Heavy packages (torch, transformers, pytest) are not installed a second time: a ``.pth`` file lends
those of the running environment, whose own copies of this project come later on the path.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Environment:
    """A virtual environment.

    Attributes:
        folder: Its folder.
        cache: The product's cache.
    """

    folder: Path
    cache: Path

    @property
    def bin(self) -> Path:
        return self.folder / "bin"

    def run(
        self, *argv: str | Path, cwd: Path | None = None, status: int = 0, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment and expect its exit status."""
        program, *arguments = (str(item) for item in argv)
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PTB_", "PYTHON"))}
        path = f"{self.bin}{os.pathsep}{os.environ['PATH']}"
        environment = {**kept, "PATH": path, "PTB_CACHE": str(self.cache), **variables}
        done = subprocess.run(
            [str(self.bin / program), *arguments],
            cwd=cwd,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        words = f"{argv}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        assert done.returncode == status, words
        return done

    def ptb(self, *arguments: str | Path, cwd: Path | None = None, status: int = 0) -> str:
        """Run ptb without network; return what it printed, on both streams."""
        done = self.run("ptb", *arguments, cwd=cwd, status=status, PTB_OFFLINE="1")
        return done.stdout + done.stderr

    def install(self, *projects: Path) -> None:
        """Let pip build projects and install them, without any index."""
        self.run("pip", "install", "-q", "--no-index", "--no-build-isolation", *projects)

    def build_and_install(self, project: Path) -> Path:
        """Build sdist and wheel of a project, install the wheel with pip; return their folder."""
        built = self.folder.parent / "built" / project.name
        self.run("python", "-m", "hatchling", "build", "-d", built, cwd=project)
        (wheel,) = built.glob("*.whl")
        (sdist,) = built.glob("*.tar.gz")
        assert sdist.stat().st_size > 0
        self.run("pip", "install", "-q", "--no-index", wheel)
        return built


def build_wheel(folder: Path) -> Path:
    """Build the product's wheel into a folder."""
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder), str(ROOT)],
        check=True,
        capture_output=True,
    )
    (built,) = folder.glob("posttrainbench-*.whl")
    return built


def fresh_environment(folder: Path, wheel: Path) -> Environment:
    """Make an environment that holds the product's wheel and what distributions are built with."""
    made = Environment(folder / "venv", folder / "ptb-cache")
    subprocess.run([sys.executable, "-m", "venv", str(made.folder)], check=True)
    made.run("pip", "install", "-q", "--no-deps", wheel)
    made.run("pip", "install", "-q", "hatchling>=1.27")
    packages = sysconfig.get_path("purelib", vars={"base": str(made.folder)})
    lent = [entry for entry in sys.path if Path(entry).name in ("site-packages", "dist-packages")]
    Path(packages, "zz-lent.pth").write_text("\n".join(lent) + "\n")
    return made

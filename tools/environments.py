"""Environments that hold a package and what it depends on, and commands that run in them as for anybody else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
#: Holds nothing but what refuses connections.
OFFLINE = Path(__file__).parent / "offline"
#: A network without devices, where the kernel allows it to anybody: what no hook of Python sees is cut off, too.
CUT_OFF = ("unshare", "--user", "--map-root-user", "--net")
#: Of the tests (RFC 5737); nothing answers there.
NOBODY = ("192.0.2.1", 9)


class Failed(Exception):
    """A step did not end as it has to."""


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    command: str
    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Environment:
    """A virtual environment of its own.

    :param folder: Where it is.
    """

    folder: Path

    @classmethod
    def made(cls, interpreter: str | Path, folder: Path) -> Environment:
        """An empty one, in place of what is there."""
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([str(interpreter), "-m", "venv", str(folder)], check=True)
        return cls(folder.resolve())

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def site(self) -> Path:
        """Where packages are installed."""
        (found,) = self.folder.glob("lib/python3.*/site-packages")
        return found

    def install(self, archive: Path, constraints: Path) -> None:
        """Install an archive with what it depends on, and see that everything fits together.

        :raises Failed: If it cannot be installed, or :meth:`check` finds something.
        """
        # Nothing is compiled that is not imported later.
        self._pip("install", "--quiet", "--no-compile", "--constraint", str(constraints), str(archive.resolve()))
        self.check(archive)

    def check(self, archive: Path) -> None:
        """See that all packages fit together, and that they are those of an archive and no others.

        :raises Failed: If some do not, or something else was asked for.
        """
        self._pip("check")
        known = {one["metadata"]["name"]: one for one in self.installed()}
        asked_for = {name for name, one in known.items() if one["requested"]} - {"pip", "setuptools"}
        if asked_for != {"art-multimodal"}:
            raise Failed(f"the environment of {archive.name} holds what nobody asked for: {sorted(asked_for)}")
        if known["art-multimodal"]["direct_url"]["url"] != archive.resolve().as_uri():
            raise Failed(f"{archive.name} is not what is installed: {known['art-multimodal']['direct_url']}")

    def installed(self) -> list[dict[str, Any]]:
        """What pip says of each package that is installed."""
        return json.loads(self._pip("inspect", "--local"))["installed"]

    def _pip(self, *arguments: str) -> str:
        done = self.run("python", "-m", "pip", "--disable-pip-version-check", *arguments, cwd=self.folder)
        if done.code:
            raise Failed(f"pip {arguments[0]} failed:\n{done.out}{done.err}")
        return done.out

    def run(self, *command: str, cwd: Path, within: tuple[str, ...] = (), **variables: str) -> Done:
        """Run a script of the environment, which knows nothing of the repository.

        :param within: A command that runs it, for example :data:`CUT_OFF`.
        :param variables: Further ones of its environment.
        """
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
        path = os.pathsep.join([str(self.folder / "bin"), kept.get("PATH", os.defpath)])
        surroundings = {**kept, "PATH": path, "PYTHONNOUSERSITE": "1", **variables}
        script = str(self.folder / "bin" / command[0])
        done = subprocess.run(
            [*within, script, *command[1:]], cwd=cwd, env=surroundings, capture_output=True, text=True, check=False
        )
        return Done(" ".join(command), done.returncode, done.stdout, done.stderr)


class NoNetwork:
    """Run commands of an environment where no connection can be opened, and fail where one was asked for.

    :param environment: Whose commands.
    :param folder: Where what was asked for is noted.
    """

    def __init__(self, environment: Environment, folder: Path) -> None:
        self.environment = environment
        self.noted = (folder / "asked").resolve()
        self.within = CUT_OFF if allowed(CUT_OFF) else ()
        # What has never been seen to refuse anything refuses nothing.
        self.noted.unlink(missing_ok=True)
        done = self._run("python", "-c", f"import socket; socket.create_connection({NOBODY!r}, timeout=5)", cwd=folder)
        if done.code == 0 or "the network is refused here" not in done.err or not self.noted.exists():
            raise Failed(f"connections are not refused: {done.err}")
        if self.within:
            code = f"import socket; socket.socket().connect({NOBODY!r})"
            done = self.environment.run("python", "-c", code, cwd=folder, within=self.within)
            if "Network is unreachable" not in done.err:
                raise Failed(f"the network is not cut off: {done.err}")
        self.noted.unlink()

    @property
    def how(self) -> str:
        """How connections are prevented."""
        return "no network devices, and connections refused" if self.within else "connections refused"

    def run(self, *command: str, cwd: Path) -> Done:
        """Run a command that has to go well.

        :raises Failed: If it does not, or asks for a connection.
        """
        done = self._run(*command, cwd=cwd)
        if self.noted.exists():
            raise Failed(f"{done.command} asked for the network: {self.noted.read_text(encoding='utf-8')}")
        if done.code:
            raise Failed(f"{done.command} ended with code {done.code}:\n{done.out[-2000:]}{done.err[-2000:]}")
        return done

    def _run(self, *command: str, cwd: Path) -> Done:
        variables = {"PYTHONPATH": str(OFFLINE), "NETWORK_ASKED": str(self.noted)}
        return self.environment.run(*command, cwd=cwd, within=self.within, **variables)


def allowed(within: tuple[str, ...]) -> bool:
    """Whether a command that runs others works here."""
    if shutil.which(within[0]) is None:
        return False
    return subprocess.run([*within, "true"], capture_output=True, check=False).returncode == 0


class Clock:
    """Says how long each step took."""

    def __init__(self) -> None:
        self.began = self.last = time.monotonic()

    def step(self, name: str) -> None:
        now = time.monotonic()
        print(f"{name}: {now - self.last:.0f} s", flush=True)
        self.last = now

    def total(self) -> float:
        return time.monotonic() - self.began

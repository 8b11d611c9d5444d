"""How a release is tried: in environments that hold nothing else, where whoever asks for the network is found out."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tools import release_check
from tools.environments import CUT_OFF, Clock, Done, Environment, Failed, NoNetwork, allowed

#: As somebody's script may be: it asks, and goes on as if nothing had happened.
ASKS = """\
import socket
try:
    socket.{}
except OSError:
    pass
"""
WHEEL = "Wheel-Version: 1.0\nGenerator: by hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    """With an interpreter, and no pip."""
    folder = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    return Environment(folder)


def script(environment: Environment, text: str) -> None:
    path = environment.folder / "bin" / "art-multimodal"
    path.write_text(f"#!{environment.python}\n{text}")
    path.chmod(0o755)


def test_a_script_knows_nothing_of_the_repository(environment: Environment, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(release_check.ROOT))
    monkeypatch.setenv("PYTHONSTARTUP", "some.py")
    script(environment, "import sys, os; print(sys.path, sorted(os.environ)); import art_multimodal")
    done = environment.run("art-multimodal", cwd=tmp_path)
    assert done.code == 1 and "No module named 'art_multimodal'" in done.err
    assert str(release_check.ROOT) not in done.out and "PYTHONPATH" not in done.out and "PYTHONSTARTUP" not in done.out
    assert environment.site.is_dir() and str(environment.site) in done.out


@pytest.mark.parametrize("cut_off", [False, True])
@pytest.mark.parametrize(
    "asks",
    [
        "create_connection(('127.0.0.1', 9))",
        "getaddrinfo('example.org', 443)",
        "gethostbyname('example.org')",
        "socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'', ('127.0.0.1', 9))",
        "socket().connect_ex(('127.0.0.1', 9))",
    ],
)
def test_who_asks_for_the_network_fails_even_where_it_goes_on(
    environment: Environment, tmp_path: Path, monkeypatch, asks: str, cut_off: bool
) -> None:
    if cut_off and not allowed(CUT_OFF):
        pytest.skip("this kernel cuts nothing off for anybody")
    if not cut_off:
        monkeypatch.setattr("tools.environments.allowed", lambda within: False)
    script(environment, ASKS.format(asks))
    offline = NoNetwork(environment, tmp_path)
    assert ("no network devices" in offline.how) == cut_off
    with pytest.raises(Failed, match="art-multimodal asked for the network: socket"):
        offline.run("art-multimodal", cwd=tmp_path)


def test_who_asks_for_nothing_goes_well_and_who_fails_is_shown(environment: Environment, tmp_path: Path) -> None:
    script(environment, "import multiprocessing.connection as c; c.Listener(family='AF_UNIX'); print('well')")
    offline = NoNetwork(environment, tmp_path)
    assert offline.run("art-multimodal", cwd=tmp_path).out == "well\n"
    script(environment, "import sys; sys.exit('it is broken')")
    with pytest.raises(Failed, match=r"art-multimodal audit ended with code 1:\nit is broken"):
        offline.run("art-multimodal", "audit", cwd=tmp_path)


def test_a_process_of_this_machine_is_no_network(environment: Environment, tmp_path: Path) -> None:
    code = "import socket; s = socket.socket(socket.AF_UNIX); s.bind('a'); s.listen(); "
    script(environment, f"{code}import os; socket.socket(socket.AF_UNIX).connect(os.path.abspath('a')); print('well')")
    assert NoNetwork(environment, tmp_path).run("art-multimodal", cwd=tmp_path).out == "well\n"


def test_what_refuses_nothing_is_found_out(environment: Environment, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.setattr("tools.environments.OFFLINE", tmp_path / "empty")
    monkeypatch.setattr("tools.environments.NOBODY", ("127.0.0.1", 9))
    with pytest.raises(Failed, match="connections are not refused"):
        NoNetwork(environment, tmp_path)


def made_wheel(folder: Path, name: str, needs: str = "") -> Path:
    """A wheel of nothing but a name, and what it needs."""
    made = folder / f"{name.replace('-', '_')}-1.0-py3-none-any.whl"
    stated = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n" + (f"Requires-Dist: {needs}\n" if needs else "")
    inside = f"{name.replace('-', '_')}-1.0.dist-info"
    files = {f"{inside}/METADATA": stated, f"{inside}/WHEEL": WHEEL}
    with zipfile.ZipFile(made, "w") as archive:
        for path, text in {**files, f"{inside}/RECORD": "".join(f"{one},,\n" for one in files)}.items():
            archive.writestr(path, text)
    return made


def test_an_environment_holds_what_was_asked_for_and_all_of_it_fits(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    constraints = tmp_path / "constraints.txt"
    constraints.write_text("some==1.0\n")
    package = made_wheel(tmp_path, "art-multimodal", "some")
    environment = Environment.made(sys.executable, tmp_path / "environment")
    with pytest.raises(Failed, match="pip install failed:\nERROR"):
        environment.install(package, constraints)
    made_wheel(tmp_path, "some")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    environment.install(package, constraints)
    assert {one["metadata"]["name"] for one in environment.installed()} >= {"art-multimodal", "some"}
    with pytest.raises(Failed, match="another-1.0.whl is not what is installed"):
        environment.check(tmp_path / "another-1.0.whl")
    # What somebody has installed beside it.
    inside = environment.site / "some-1.0.dist-info"
    (inside / "REQUESTED").touch()
    with pytest.raises(Failed, match="holds what nobody asked for.*'some'"):
        environment.check(package)
    # What one wants and the environment has not.
    (inside / "METADATA").write_text((inside / "METADATA").read_text() + "Requires-Dist: absent>=2\n")
    with pytest.raises(Failed, match="(?s)pip check failed.*absent"):
        environment.check(package)


VERSION = "art-multimodal 1.0"
#: A command line of nothing: it says its version, and writes a report with the rows that it is made with.
SAYS = """\
import json, pathlib, sys
if sys.argv[1:] == ["--version"]:
    print("{version}")
if sys.argv[1] == "audit":
    folder = pathlib.Path(sys.argv[-1])
    folder.mkdir()
    (folder / "report.html").touch()
    (folder / "report.json").write_text(json.dumps({{"results": dict.fromkeys({rows!r}, 0)}}))
"""


@pytest.mark.parametrize(
    ("version", "rows", "said"),
    [
        (VERSION, ("clean", "pgd", "character_attack"), None),
        (VERSION, ("clean", "pgd"), "reported less"),
        ("art-multimodal 0.9", ("clean", "pgd", "character_attack"), "the script says art-multimodal 0.9"),
    ],
)
def test_the_script_is_asked_for_its_version_its_lists_and_an_audit(
    environment: Environment, tmp_path: Path, monkeypatch, version: str, rows: tuple[str, ...], said: str | None
) -> None:
    asked, run = [], Environment.run

    def noted(self: Environment, *command: str, **options) -> Done:
        if command[0] == "art-multimodal":
            asked.append(command[1:3])
        if command[:4] == ("python", "-m", "pip", "show"):
            return Done("pip show", 0, "Name: art-multimodal\nVersion: 1.0\nSummary: some\n", "")
        return run(self, *command, **options)

    monkeypatch.setattr(Environment, "run", noted)
    script(environment, SAYS.format(version=version, rows=rows))
    if said is not None:
        with pytest.raises(Failed, match=said):
            release_check.used(environment, tmp_path)
        return
    assert release_check.used(environment, tmp_path).startswith(f"{VERSION} audited a demo with ")
    assert asked == [("--version",), *(("list", what) for what in release_check.LISTS), ("audit", "demo:digits")]


@pytest.mark.parametrize("keep", [False, True])
def test_each_has_an_environment_of_its_own_and_both_install_the_same(tmp_path: Path, monkeypatch, keep: bool) -> None:
    wheel, source, did = tmp_path / "some.whl", tmp_path / "some.tar.gz", []
    files = {wheel: {"a": "1", "b": "2", "c": "3"}, source: {"a": "1", "b": "2", "c": "3"}}

    def made(interpreter: str, folder: Path) -> Environment:
        assert interpreter == sys.executable and not folder.exists()
        folder.mkdir()
        return Environment(folder)

    def tried(archive: Path, environment: Environment, clock: Clock, walks: bool) -> dict[str, str]:
        did.append((environment.folder.name, archive, walks))
        return files[archive]

    monkeypatch.setattr(Environment, "made", made)
    monkeypatch.setattr(Environment, "install", lambda self, *given: did.append((self.folder.name, *given)))
    monkeypatch.setattr(Environment, "installed", lambda self: [])
    monkeypatch.setattr(release_check, "tried", tried)
    release_check.installed(wheel, source, tmp_path, keep, Clock())
    constraints = release_check.ROOT / "constraints.txt"
    assert did[:2] == [("environment-wheel", wheel, constraints), ("environment-wheel", wheel, True)]
    assert did[2:] == [("environment-source", source, constraints), ("environment-source", source, False)]
    assert len(list(tmp_path.iterdir())) == 2 * keep
    for left in tmp_path.iterdir():
        left.rmdir()
    files[source] = {"a": "1", "b": "4", "d": "3"}
    with pytest.raises(Failed, match=r"install different files: \['b', 'c', 'd'\]"):
        release_check.installed(wheel, source, tmp_path, keep, Clock())


def test_the_lists_that_are_asked_for_are_there() -> None:
    from art_multimodal import cli

    for what in release_check.LISTS:
        assert cli.main(["list", what]) == 0

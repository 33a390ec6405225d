"""What is in the image that scripts run in, read from a container and from the locks."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.services import missing

REPOSITORY = Path(__file__).resolve().parents[2]
LOCKS = sorted(REPOSITORY.glob("images/*/*.lock"))
PYTHON = "/opt/fumehood/python/bin/python"
# A uid without an account, as the worker gives one to each sandbox.
UID = 61000

IMPORT_ALL = r"""
import contextlib, importlib, io, json, warnings
from importlib import metadata

warnings.simplefilter("ignore")
failed = {}
for name in sorted(name for name in metadata.packages_distributions() if name.isidentifier()):
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            importlib.import_module(name)
    except BaseException as error:
        failed[name] = repr(error)
print(json.dumps(failed))
"""

READ_BYTECODE = r"""
import glob, json, os, sysconfig

roots = [sysconfig.get_path("purelib"), sysconfig.get_path("stdlib"), "/opt/fumehood/runner"]
sources = [path for root in roots for path in glob.glob(root + "/**/*.py", recursive=True)]
flags = {}
for source in sources:
    directory, name = os.path.split(source)
    compiled = f"{directory}/__pycache__/{name[:-3]}.cpython-313.pyc"
    if os.path.exists(compiled):
        with open(compiled, "rb") as file:
            flags[source] = int.from_bytes(file.read(8)[4:], "little")
print(json.dumps({"sources": len(sources), "flags": flags}))
"""


@pytest.fixture(scope="session")
def image() -> str:
    """The image id of the checkout as it is; the build itself is not this test's business."""
    tag = subprocess.run(
        [sys.executable, REPOSITORY / "images/build.py", "anaconda", "--print-tag"], check=True, capture_output=True, text=True
    ).stdout.strip()
    found = subprocess.run(["docker", "image", "inspect", "--format", "{{.Id}}", tag], capture_output=True, text=True, check=False)
    if found.returncode:
        missing(f"{tag} is not built; run: python3 images/build.py anaconda")
    return found.stdout.strip()


def run(image: str, *command: str, user: int = UID, standard_input: str = "") -> str:
    """Run `command` in a container as closed as a sandbox; its output."""
    done = subprocess.run(
        ["docker", "run", "--rm", "--interactive", "--network", "none", "--read-only", "--cap-drop", "ALL",
         "--security-opt", "no-new-privileges", "--user", f"{user}:{user}", "--tmpfs", f"/job:uid={user},size=64m",
         # So that root, and it alone, sees every directory.
         "--cap-add", "DAC_READ_SEARCH", "--env", "TMPDIR=/job", "--entrypoint", command[0], image, *command[1:]],
        input=standard_input, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def config(image: str) -> dict:
    answer = subprocess.run(["docker", "image", "inspect", image], check=True, capture_output=True, text=True).stdout
    return json.loads(answer)[0]["Config"]


def pinned(lock: Path) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9.-]+)==([^ \\\n]+)", lock.read_text(), re.MULTILINE))


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_python_is_3_13(image: str) -> None:
    assert run(image, PYTHON, "--version").startswith("Python 3.13.")


def test_the_image_does_not_run_as_root_by_default(image: str) -> None:
    assert config(image)["User"] == "65534:65534"


def test_the_entry_point_lets_python_read_the_environment_of_the_image(image: str) -> None:
    settings = config(image)
    assert settings["Entrypoint"] == [PYTHON, "-P", "-s", "/opt/fumehood/runner"]
    assert {"PYTHONHASHSEED=0", "TZ=UTC", "LANG=C.UTF-8"} <= set(settings["Env"])
    seeded = "import os, sys; print(sys.flags.hash_randomization, os.environ['TZ'], sys.flags.safe_path)"
    assert run(image, PYTHON, "-P", "-s", "-c", seeded) == "0 UTC True\n"


def test_every_package_can_be_imported_by_a_uid_without_an_account(image: str) -> None:
    failed = json.loads(run(image, PYTHON, "-", standard_input=IMPORT_ALL))
    # duckdb ships a driver for a package that it does not ask for.
    assert failed.keys() <= {"adbc_driver_duckdb"}, failed


def test_all_bytecode_is_compiled_and_never_checked_against_its_source(image: str) -> None:
    found = json.loads(run(image, PYTHON, "-", standard_input=READ_BYTECODE))
    # 1 is «hash-based», 2 would be «compare with the source».
    assert set(found["flags"].values()) == {1}
    # A few packages ship files for other Pythons, which do not compile.
    assert len(found["flags"]) >= found["sources"] - 30


def test_the_runner_is_compiled(image: str) -> None:
    found = json.loads(run(image, PYTHON, "-", standard_input=READ_BYTECODE))
    assert found["flags"]["/opt/fumehood/runner/__main__.py"] == 1


def test_no_file_lends_its_owners_rights(image: str) -> None:
    assert run(image, "find", "/", "-xdev", "-perm", "/6000", user=0) == ""


def test_nothing_is_writable_by_others_or_owned_by_anybody_but_root_below_our_directory(image: str) -> None:
    assert run(image, "find", "/", "-xdev", "!", "-type", "l", "-perm", "-0002", user=0) == ""
    assert run(image, "find", "/opt", "!", "-user", "root", user=0) == ""


def test_the_list_inside_is_what_is_installed_and_what_is_locked(image: str) -> None:
    listed = json.loads(run(image, "cat", "/opt/fumehood/packages.json"))
    installed = run(image, PYTHON, "-c", "from importlib.metadata import *; [print(d.name, d.version) for d in distributions()]")
    assert sorted(f"{one['name']} {one['version']}" for one in listed) == sorted(installed.splitlines())
    locked = pinned(REPOSITORY / "images/anaconda/requirements.lock")
    assert {normal(one["name"]): one["version"] for one in listed} == {normal(name): version for name, version in locked.items()}


def test_the_image_has_about_two_hundred_packages_and_no_installer(image: str) -> None:
    names = {normal(one["name"]) for one in json.loads(run(image, "cat", "/opt/fumehood/packages.json"))}
    assert 180 <= len(names) <= 230
    assert not names & {"pip", "setuptools", "wheel", "torch", "tensorflow"}
    assert not {name for name in names if "nvidia" in name or "cuda" in name}


def test_nothing_runs_at_the_start_of_python_but_python(image: str) -> None:
    assert run(image, "find", "/opt/fumehood", "-name", "*.pth") == ""
    assert run(image, "find", "/opt/fumehood", "-name", "*customize.py") == ""


def test_every_mount_point_exists(image: str) -> None:
    outputs = run(image, "find", "/out", "-type", "f").split()
    assert sorted(outputs) == [f"/out/{name}" for name in ("files.bin", "log", "report.json", "result.arrow", "result2.arrow")]
    assert sorted(run(image, "find", "/in", "/job", "-maxdepth", "0", "-type", "d").split()) == ["/in", "/job"]


def test_the_font_list_of_matplotlib_is_ready_made(image: str) -> None:
    assert "fontlist-v" in run(image, "ls", "/opt/fumehood/matplotlib")


def test_nothing_of_the_host_is_inside(image: str) -> None:
    assert run(image, "find", "/", "-xdev", "(", "-name", "pip.conf", "-o", "-name", ".netrc", "-o", "-name", "sources.list",
               "-o", "-name", ".docker", "-o", "-path", "/etc/apt/auth.conf*", ")", user=0) == ""  # fmt: skip
    # Debian's own authorities only: an extra one would lie here or be in the bundle without being in Debian's directory.
    assert run(image, "find", "/usr/local/share/ca-certificates", "-type", "f") == ""
    script = ("from pathlib import Path; bundle = Path('/etc/ssl/certs/ca-certificates.crt').read_text();"
              "debian = ''.join(p.read_text() for p in Path('/usr/share/ca-certificates').rglob('*.crt'));"
              "end = '-----END CERTIFICATE-----'; clean = lambda text: ''.join(text.split());"
              "print([c[-80:] for c in bundle.split(end)[:-1] if clean(c) not in clean(debian)])")  # fmt: skip
    assert run(image, PYTHON, "-c", script) == "[]\n"
    names = {variable.partition("=")[0].lower() for variable in config(image)["Env"]}
    assert not {name for name in names if re.search("proxy|cert|token|password|pip_|index", name)}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: f"{lock.parent.name}-{lock.stem}")
def test_a_lock_pins_every_package_by_version_and_hash_and_names_no_address(lock: Path) -> None:
    text = lock.read_text()
    entries = re.split(r"\n(?=[a-z0-9])", text.partition("\n")[2].strip())
    assert len(entries) == len(pinned(lock)) >= 2
    for entry in entries:
        assert re.fullmatch(r"[a-z0-9.-]+==\S+( ; [^\\\n]+)?( \\\n    --hash=sha256:[0-9a-f]{64})+", entry), entry
    assert "//" not in text


def test_an_unchanged_image_keeps_its_tag(image: str) -> None:
    command = [sys.executable, REPOSITORY / "images/build.py", "all", "--print-tag"]
    first, second = (subprocess.run(command, check=True, capture_output=True, text=True).stdout for _ in range(2))
    assert first == second
    assert len(re.findall(r"^fumehood-[a-z]+:[0-9a-f]{12}$", first, re.MULTILINE)) == 4


def test_the_image_says_what_an_sbom_lists_of_it(image: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(REPOSITORY / "images")
    inside = importlib.import_module("sbom").ask(image)
    names = {name for name, _, _ in inside.debian}
    assert {"base-files", "libc6", "zlib1g"} <= names
    assert all(version and architecture in ("amd64", "arm64", "all") for _, version, architecture in inside.debian)
    # Every package of the lock is installed; nearly all of them name a licence.
    lock = pinned(REPOSITORY / "images" / "anaconda" / "requirements.lock")
    assert lock.keys() <= inside.licences.keys()
    assert sum(bool(inside.licences[name]) for name in lock) > 0.9 * len(lock)

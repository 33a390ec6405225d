"""Runs inside the build of an image: makes /opt/fumehood/python from the wheels that build.py serves, then tidies up.

The virtual environment gives every base the same path for its interpreter. Nothing that installs stays behind.
"""

import compileall
import json
import os
import py_compile
import re
import shutil
import stat
import subprocess
import sys
import sysconfig
import tempfile
import urllib.request
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

HOME = Path("/opt/fumehood")
PYTHON = HOME / "python"
BUILD = HOME / "build"
SITE = PYTHON / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"

# Tests that the libraries themselves import.
TESTS_NEEDED = ("numpy/_core/tests", "tables/tests", "numba/tests", "bottleneck/tests")
# Parts of the standard library that no program uses: Python's own tests, the installer of pip, and IDLE.
STDLIB_UNUSED = ("test", "ensurepip", "idlelib", "turtledemo")


def main() -> None:
    if sys.version_info[:2] != (3, 13):
        sys.exit(f"the base has Python {sys.version.split()[0]}; the locks are for 3.13")
    install(sys.argv[1])
    provide_openmp()
    remove_unused()
    write_list()
    compile_bytecode()
    shutil.rmtree(BUILD)
    close_permissions()
    take_setuid()


def install(wheels: str) -> None:
    """Install the lock by the pip wheel of tools.lock, run from its zip."""
    print("installing", flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", PYTHON], check=True)
    version = re.search(r"^pip==(\S+)", (BUILD / "tools.lock").read_text(), re.M).group(1)
    with tempfile.TemporaryDirectory() as scratch:
        pip = Path(scratch) / f"pip-{version}-py3-none-any.whl"
        with urllib.request.urlopen(wheels + pip.name, timeout=60) as answer:
            pip.write_bytes(answer.read())
        subprocess.run(
            [
                PYTHON / "bin" / "python",
                "-I",
                pip / "pip",
                "install",
                "--no-cache-dir",
                "--no-compile",
                "--no-deps",
                "--no-index",
                "--find-links",
                wheels,
                "--only-binary=:all:",
                "--require-hashes",
                "--quiet",
                "--disable-pip-version-check",
                "--requirement",
                BUILD / "requirements.lock",
            ],
            check=True,
            env={"PATH": os.defpath, "TMPDIR": scratch, "PIP_CONFIG_FILE": os.devnull},
        )
    path_files = list(SITE.glob("*.pth"))
    if path_files:
        sys.exit(f"would run at every start of Python: {', '.join(file.name for file in path_files)}")


def provide_openmp() -> None:
    """lightgbm wants the system's libgomp, which slim images lack; scikit-learn brings one along."""
    libraries = Path("/usr/lib") / (sysconfig.get_config_var("MULTIARCH") or "")
    bundled = sorted(SITE.glob("scikit_learn.libs/libgomp-*.so*"))
    if bundled and not (libraries / "libgomp.so.1").exists():
        (libraries / "libgomp.so.1").symlink_to(bundled[0])


def remove_unused() -> None:
    for path in sorted(SITE.rglob("tests")):
        if path.is_dir() and not any(path.match(needed) for needed in TESTS_NEEDED):
            shutil.rmtree(path)
    for path in Path(sysconfig.get_path("stdlib")).iterdir():
        if path.name in STDLIB_UNUSED:
            shutil.rmtree(path)
    for path in (PYTHON / "bin").glob("[Aa]ctivate*"):
        path.unlink()


def write_list() -> None:
    """What is installed, as a list of {name, version} that the service and a reader can look up."""
    found = metadata.distributions(path=[str(SITE)])
    packages = sorted(({"name": one.name, "version": one.version} for one in found), key=lambda one: one["name"].lower())
    (HOME / "packages.json").write_text(json.dumps(packages, indent=1) + "\n")


def compile_bytecode() -> None:
    """Compile everything once; Python then trusts these files without looking at their sources."""
    print("compiling", flush=True)
    for path in (SITE, Path(sysconfig.get_path("stdlib"))):
        # Some packages ship templates or files for other Pythons that do not compile; they would not import either.
        compileall.compile_dir(path, quiet=2, force=True, workers=0, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)


def close_permissions() -> None:
    """Below HOME nobody but root may write and everybody may read."""
    for path, mode in everything_below(HOME):
        wanted = 0o755 if stat.S_ISDIR(mode) or mode & stat.S_IXUSR else 0o644
        if stat.S_IMODE(mode) != wanted:
            path.chmod(wanted)


def take_setuid() -> None:
    """No program of the base lends its owner's rights; ours never do, but a base from a registry has some."""
    for path, mode in everything_below(Path("/")):
        if mode & (stat.S_ISUID | stat.S_ISGID):
            path.chmod(stat.S_IMODE(mode) & 0o1777)


def everything_below(root: Path) -> Iterator[tuple[Path, int]]:
    """Every file and directory on the file system of `root`, with its mode; no symbolic links."""
    device = root.lstat().st_dev
    for directory, names, files in root.walk():
        names[:] = [name for name in names if (directory / name).lstat().st_dev == device]
        for path in (directory / name for name in (*names, *files)):
            mode = path.lstat().st_mode
            if not stat.S_ISLNK(mode):
                yield path, mode


if __name__ == "__main__":
    main()

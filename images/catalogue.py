"""Which images there are, and what goes into each: the table that build.py builds."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent

# Debian 13 has Python 3.13. The archive changes with every security update, so a base is rebuilt on purpose only:
# raise the date.
SUITE, UPDATED = "trixie", "2026-11-23"

# Shell, run outside of the new root, which is "$1". Deletes what no container needs and what would name the machine
# that built it, and takes every setuid and setgid bit; bytecode goes because it is compiled again with the packages.
TIDY = " && ".join(
    (
        'cd "$1"',
        "rm -rf usr/share/doc usr/share/man usr/share/info usr/share/locale usr/share/bash-completion usr/share/lintian",
        "rm -rf var/cache/debconf var/log/* etc/apt/sources.list* etc/hostname etc/resolv.conf etc/machine-id",
        "find usr/lib -depth -name __pycache__ -exec rm -rf {} +",
        "find . -xdev -perm /6000 -exec chmod ug-s {} +",
        "find . -xdev -type d -perm -0002 ! -path ./tmp -exec chmod 0755 {} +",
    )
)


# What `fumehood images export` wrote, in the build context of the notebook.
EXPORTED = "requirements.txt"

# Runs in an image of packages: what it has, for the label `fumehood.packages`, which the worker and `fumehood images` read.
LIST_PACKAGES = """
import json, platform, re
installed = json.load(open("/opt/fumehood/packages.json"))
packages = {re.sub("[-_.]+", "-", one["name"]).lower(): one["version"] for one in installed}
print(json.dumps({"python": platform.python_version(), "packages": dict(sorted(packages.items()))}, separators=(",", ":")))
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Debian:
    """An image made of Debian packages; `changes` are Dockerfile instructions for `docker import`, which can run
    nothing, so `hook` is shell that makes the last changes; the new root is "$1".
    """

    packages: tuple[str, ...]
    changes: tuple[str, ...]
    hook: str = "true"
    parent: str | None = None

    def sources(self) -> dict[str, Path]:
        return {}


@dataclass(frozen=True, kw_only=True, slots=True)
class Built:
    """An image made by the Dockerfile in `directory` from `parent`, which it gets as the build argument `argument`.

    `files`: name in the build context → path below the repository, a file or a directory. `locks`: the wheels it needs.
    `lists_packages`: it carries the label that says what its parent has installed.
    """

    directory: str
    parent: str
    argument: str
    files: dict[str, str] = field(default_factory=dict)
    locks: tuple[str, ...] = ()
    lists_packages: bool = False

    def sources(self) -> dict[str, Path]:
        """Every file of the build: name in the build context → path. Bytecode of the host is left out."""
        found = {"Dockerfile": HERE / self.directory / "Dockerfile"}
        for name, place in self.files.items():
            path = REPOSITORY / place
            if path.is_dir():
                inside = (file for file in path.rglob("*") if file.is_file() and "__pycache__" not in file.parts)
                found |= {f"{name}/{file.relative_to(path).as_posix()}": file for file in inside}
            elif path.exists():
                found[name] = path
        return dict(sorted(found.items()))


def packages_of(lock: str) -> Built:
    files = {
        "install.py": "images/packages/install.py",
        "tools.lock": "images/packages/tools.lock",
        "requirements.lock": lock,
    }
    return Built(directory="packages", parent="base", argument="BASE", files=files, locks=(lock, "images/packages/tools.lock"))


IMAGES: dict[str, Debian | Built] = {
    # libgomp1 is lightgbm's OpenMP; the fonts are for Pillow and reportlab (matplotlib brings its own).
    "base": Debian(
        packages=("python3", "libstdc++6", "libgomp1", "tzdata", "ca-certificates", "fonts-dejavu-core"),
        changes=("ENV PATH=/usr/local/bin:/usr/bin:/bin LANG=C.UTF-8", 'CMD ["python3"]'),
    ),
    "anaconda-packages": packages_of("images/anaconda/requirements.lock"),
    "anaconda": Built(
        directory="anaconda",
        parent="anaconda-packages",
        argument="PACKAGES",
        files={"runner": "images/anaconda/runner"},
        lists_packages=True,
    ),
    "notebook": Built(
        directory="notebook",
        parent="base",
        argument="BASE",
        files={
            "install.py": "images/notebook/install.py",
            "tools.lock": "images/packages/tools.lock",
            EXPORTED: "the file that --requirements names",
        },
        locks=("images/anaconda/requirements.lock", "images/packages/tools.lock"),
    ),
    "service-packages": packages_of("images/service/requirements.lock"),
    "service": Built(
        directory="service",
        parent="service-packages",
        argument="PACKAGES",
        files={f"app/{name}": name for name in ("fumehood", "api", "worker", "gate", "courier", "cli", "pyproject.toml")}
        | {"app/cli/attacks": "tests/hostile/attacks"},
    ),
    # Password and settings come from the command line that docker-compose gives.
    "redis": Debian(
        packages=("redis-server", "redis-tools"),
        changes=(
            "ENV PATH=/usr/bin:/bin LANG=C.UTF-8",
            "USER 65534:65534",
            "WORKDIR /data",
            "EXPOSE 6379",
            'CMD ["redis-server", "--protected-mode", "yes"]',
        ),
        hook='install -d -o 65534 -g 65534 -m 0700 "$1/data"',
    ),
    # Without the cluster that the package makes, and without its compiler (LLVM), which short queries have no use for.
    "postgres-packages": Debian(
        packages=("postgresql-17",),
        changes=("ENV PATH=/usr/lib/postgresql/17/bin:/usr/local/bin:/usr/bin:/bin LANG=C.UTF-8",),
        hook='cd "$1" && rm -rf var/lib/postgresql/* etc/postgresql/* etc/ssl/private/* '
        "usr/lib/*/libLLVM* usr/lib/postgresql/17/lib/bitcode usr/lib/postgresql/17/lib/llvmjit*",
    ),
    "postgres": Built(
        directory="postgres",
        parent="postgres-packages",
        argument="PACKAGES",
        files={"start.sh": "images/postgres/start.sh"},
    ),
}
# What `all` builds; postgres is built where a home asks for it.
NAMES = ("base", "anaconda", "service", "redis")

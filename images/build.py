#!/usr/bin/env python3
"""Build Fumehood's container images, without a container registry: `python3 images/build.py [NAME …]`.

    base ── packages of the sandbox ── anaconda     what a script runs in
       └─── packages of the service ── service      API, worker and command
    redis                                           for docker-compose

An image is named after what goes into it: `fumehood-<name>:<12 hex digits over all of its inputs>`. If that tag exists,
nothing is done. The base and redis are Debian, made by mmdebstrap; the rest are Dockerfiles on top. Ends with one line
per image: its tag and its id.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import wheels

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent
PYTHON = "3.13"

# Debian 13 has Python 3.13. The archive changes with every security update, so a base is rebuilt on purpose only:
# raise the date.
SUITE, UPDATED = "trixie", "2026-11-23"

# Shell, run outside of the new root, which is "$1". Deletes what no container needs and what would name the machine
# that built it, and takes every setuid and setgid bit; bytecode goes because it is compiled again with the packages.
TIDY = " && ".join((
    'cd "$1"',
    "rm -rf usr/share/doc usr/share/man usr/share/info usr/share/locale usr/share/bash-completion usr/share/lintian",
    "rm -rf var/cache/debconf var/log/* etc/apt/sources.list* etc/hostname etc/resolv.conf etc/machine-id",
    "find usr/lib/python3* -depth -name __pycache__ -exec rm -rf {} +",
    "find . -xdev -perm /6000 -exec chmod ug-s {} +",
    "find . -xdev -type d -perm -0002 ! -path ./tmp -exec chmod 0755 {} +",
))


@dataclass(frozen=True, kw_only=True, slots=True)
class Debian:
    """An image made of Debian packages; `changes` are Dockerfile instructions for `docker import`."""

    packages: tuple[str, ...]
    changes: tuple[str, ...]
    parent: str | None = None

    def context(self) -> dict[str, Path]:
        return {}


@dataclass(frozen=True, kw_only=True, slots=True)
class Built:
    """An image made by the Dockerfile in `directory` from `parent`, which it gets as the build argument `argument`.

    `files`: name in the build context → path below the repository, a file or a directory. `locks`: the wheels it needs.
    """

    directory: str
    parent: str
    argument: str
    files: dict[str, str] = field(default_factory=dict)
    locks: tuple[str, ...] = ()

    def context(self) -> dict[str, Path]:
        """Every file of the build: name in the context → path. Bytecode of the host is left out."""
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
    return Built(directory="packages", parent="base", argument="BASE", files=files,
                 locks=(lock, "images/packages/tools.lock"))


IMAGES: dict[str, Debian | Built] = {
    # libgomp1 is lightgbm's OpenMP; the fonts are for Pillow and reportlab (matplotlib brings its own).
    "base": Debian(
        packages=("python3", "libstdc++6", "libgomp1", "tzdata", "ca-certificates", "fonts-dejavu-core"),
        changes=("ENV PATH=/usr/local/bin:/usr/bin:/bin LANG=C.UTF-8", 'CMD ["python3"]'),
    ),
    "anaconda-packages": packages_of("images/anaconda/requirements.lock"),
    "anaconda": Built(
        directory="anaconda", parent="anaconda-packages", argument="PACKAGES",
        files={"runner": "images/anaconda/runner"},
    ),
    "service-packages": packages_of("images/service/requirements.lock"),
    "service": Built(
        directory="service", parent="service-packages", argument="PACKAGES",
        files={f"app/{name}": name for name in ("fumehood", "api", "worker", "cli", "pyproject.toml")},
    ),
    # Password and settings come from the command line that docker-compose gives.
    "redis": Debian(
        packages=("redis-server", "redis-tools"),
        changes=("ENV PATH=/usr/bin:/bin LANG=C.UTF-8", "USER 65534:65534", "WORKDIR /data", "EXPOSE 6379",
                 'CMD ["redis-server", "--protected-mode", "yes"]'),
    ),
}
NAMES = ("base", "anaconda", "service", "redis")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(NAMES)} or all (the default)")
    parser.add_argument("--registry-base", metavar="IMAGE", help="use this image with Python 3.13 instead of our base")
    parser.add_argument("--mirror", metavar="URL", help="Debian mirror for mmdebstrap, if not the usual one")
    parser.add_argument("--print-tag", action="store_true", help="only compute and print the tag")
    parser.add_argument("--print-id", action="store_true", help="only print the image id; fails if it is not built")
    options = parser.parse_args()
    names = NAMES if set(options.names) <= {"all"} else options.names
    unknown = sorted(set(names) - set(IMAGES))
    if unknown:
        parser.error(f"no such image: {', '.join(unknown)}; expected {', '.join(NAMES)} or all")

    for name in names:
        tag = tag_of(name, options.registry_base)
        if options.print_tag:
            print(tag)
        elif options.print_id:
            print(image_id(tag) or sys.exit(f"{tag} is not built; run: python3 images/build.py {name}"))
        else:
            build(name, options.registry_base, options.mirror)
            note(name, image_id(tag))
            print(tag, image_id(tag), flush=True)


def tag_of(name: str, registry_base: str | None) -> str:
    """The name of the image as it is now in the checkout, from everything that goes into it."""
    image = IMAGES[name]
    parent = parent_of(image, registry_base)
    inputs: list[object] = [name, platform.machine(), parent]
    if isinstance(image, Debian):
        inputs += [SUITE, UPDATED, TIDY, image.packages, image.changes]
    for inside, path in image.context().items():
        inputs += [inside, bool(path.stat().st_mode & 0o100), hashlib.sha256(path.read_bytes()).hexdigest()]
    return f"fumehood-{name}:{hashlib.sha256(json.dumps(inputs).encode()).hexdigest()[:12]}"


def parent_of(image: Debian | Built, registry_base: str | None) -> str:
    if image.parent == "base" and registry_base:
        return registry_base
    return tag_of(image.parent, registry_base) if image.parent else ""


def build(name: str, registry_base: str | None, mirror: str | None) -> None:
    """Build `name` and what it stands on, unless it is there."""
    tag = tag_of(name, registry_base)
    if image_id(tag):
        return
    image = IMAGES[name]
    if image.parent and not (image.parent == "base" and registry_base):
        build(image.parent, registry_base, mirror)
    # One build at a time on this machine: the second of two finds the work done.
    with only_one():
        if image_id(tag):
            return
        print(f"── {tag}", flush=True)
        started = time.monotonic()
        try:
            if isinstance(image, Debian):
                import_debian(image, tag, name, mirror)
            else:
                run_dockerfile(image, tag, name, parent_of(image, registry_base))
        finally:
            # A failed build leaves its last good step behind, without a name.
            docker("image", "prune", "--force", "--filter", f"label=fumehood.image={name}", quiet=True)
        remove_old(name, tag)
        print(f"── {tag} took {time.monotonic() - started:.0f} s", flush=True)


def import_debian(image: Debian, tag: str, name: str, mirror: str | None) -> None:
    if not shutil.which("mmdebstrap"):
        sys.exit("mmdebstrap is missing; on Debian or Ubuntu: apt install mmdebstrap debian-archive-keyring, "
                 "or give an image that has Python 3.13 with --registry-base")
    epoch = int(datetime.fromisoformat(UPDATED).replace(tzinfo=timezone.utc).timestamp())
    with tempfile.TemporaryDirectory(prefix="fumehood-") as scratch:
        root = Path(scratch) / "root.tar"
        # A directory of its own for data is made here, because `docker import` can make none.
        hooks = [TIDY, 'install -d -o 65534 -g 65534 -m 0700 "$1/data"' if name == "redis" else "true"]
        subprocess.run(
            ["mmdebstrap", "--quiet", "--variant=essential", f"--include={','.join(image.packages)}",
             '--aptopt=APT::Install-Recommends "false"', *(f"--customize-hook={hook}" for hook in hooks),
             SUITE, str(root), *([mirror] if mirror else [])],
            check=True, env=os.environ | {"SOURCE_DATE_EPOCH": str(epoch)},
        )
        changes = [f"--change={change}" for change in (*image.changes, f"LABEL fumehood.image={name}")]
        docker("import", *changes, str(root), tag, quiet=True)


def run_dockerfile(image: Built, tag: str, name: str, parent: str) -> None:
    arguments = {image.argument: parent, "NAME": name}
    files = image.context()
    missing = [inside for inside in image.files if not any(f"{found}/".startswith(f"{inside}/") for found in files)]
    if missing:
        sys.exit(f"{tag} needs {', '.join(image.files[inside] for inside in missing)}, which is not there")
    with ExitStack() as stack:
        context = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fumehood-")))
        for inside, path in files.items():
            (context / inside).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, context / inside)
            (context / inside).chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
        if image.locks:
            directory = wheels.download([REPOSITORY / lock for lock in image.locks], PYTHON)
            # Docker hands a configured proxy to every build; the way to ourselves must not lead through it.
            arguments |= {"WHEELS": stack.enter_context(wheels.serve(directory)),
                          "no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1"}
        docker(
            "build", "--rm", "--force-rm", "--network", "host" if image.locks else "none", "--tag", tag,
            *(f"--build-arg={key}={value}" for key, value in arguments.items()), str(context),
        )


def remove_old(name: str, tag: str) -> None:
    """Remove older images of this name, except those a container uses and those of the last hour.

    The hour is for whoever still works with the image of a moment ago: tests in flight, a worker with warm sandboxes.
    """
    listed = docker("image", "ls", f"fumehood-{name}", "--format", "{{.Repository}}:{{.Tag}}", quiet=True).split()
    for old in sorted(set(listed) - {tag}):
        tagged = docker("image", "inspect", "--format", "{{.Metadata.LastTagTime.Unix}}", old, quiet=True)
        if time.time() - int(tagged) > 3600:
            # Docker refuses to remove what a container uses.
            subprocess.run(["docker", "image", "rm", old], capture_output=True)


def image_id(tag: str) -> str | None:
    found = subprocess.run(["docker", "image", "inspect", "--format", "{{.Id}}", tag], capture_output=True, text=True)
    if found.returncode and "No such image" not in found.stderr:
        sys.exit(f"docker does not answer: {found.stderr.strip()}")
    return found.stdout.strip() or None


def note(name: str, identity: str | None) -> None:
    """Leave the id in `.built/<name>` for tools that do not want to start this one."""
    path = HERE / ".built" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"{identity}\n")


def docker(*arguments: str, quiet: bool = False) -> str:
    """Run docker; its output is shown, or with `quiet` returned."""
    # The builder that every engine has; the newer one is a plug-in that may be missing.
    done = subprocess.run(["docker", *arguments], stdout=subprocess.PIPE if quiet else None, text=True,
                          env=os.environ | {"DOCKER_BUILDKIT": "0"})
    if done.returncode:
        sys.exit(f"docker {arguments[0]} failed")
    return done.stdout or ""


@contextmanager
def only_one() -> Iterator[None]:
    with open(wheels.cache() / "build.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    main()

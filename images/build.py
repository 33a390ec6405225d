#!/usr/bin/env python3
"""Build Fumehood's container images, without a container registry: `python3 images/build.py [NAME …]`.

    base ── packages of the sandbox ── anaconda     what a script runs in
       ├─── packages of the service ── service      API, worker and command
       └─── notebook                                what a user has who installed an exported environment; for tests
    redis, postgres                                 for docker-compose

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
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import wheels
from catalogue import EXPORTED, HERE, IMAGES, LIST_PACKAGES, NAMES, REPOSITORY, SUITE, TIDY, UPDATED, Built, Debian

PYTHON = "3.13"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(NAMES)} or all (the default)")
    parser.add_argument("--registry-base", metavar="IMAGE", help="use this image with Python 3.13 instead of our base")
    parser.add_argument("--mirror", metavar="URL", help="Debian mirror for mmdebstrap, if not the usual one")
    parser.add_argument("--requirements", metavar="FILE", type=Path, help="for notebook: what `fumehood images export` wrote")
    parser.add_argument("--print-tag", action="store_true", help="only compute and print the tag")
    parser.add_argument("--print-id", action="store_true", help="only print the image id; fails if it is not built")
    options = parser.parse_args()
    names = NAMES if set(options.names) <= {"all"} else options.names
    unknown = sorted(set(names) - set(IMAGES))
    if unknown:
        parser.error(f"no such image: {', '.join(unknown)}; expected {', '.join(NAMES)} or all")

    for name in names:
        plan = plan_for(name, options.registry_base, options.requirements if name == "notebook" else None)
        if options.print_tag:
            print(plan.tag)
        elif options.print_id:
            print(image_id(plan.tag) or sys.exit(f"{plan.tag} is not built; run: python3 images/build.py {name}"))
        else:
            build(plan, options.mirror)
            identity = image_id(plan.tag)
            note(name, identity)
            print(plan.tag, identity, flush=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """One image as the checkout says it now. The files were read once, so that the tag names what is built even if
    somebody saves one of them meanwhile. `below` is the image it stands on: a plan, a name in a registry, or nothing.
    """

    name: str
    image: Debian | Built
    below: Plan | str | None
    files: dict[str, tuple[bytes, bool]]  # name in the build context → contents, executable

    @property
    def parent(self) -> str | None:
        return self.below.tag if isinstance(self.below, Plan) else self.below

    @property
    def tag(self) -> str:
        inputs: list[object] = [self.name, platform.machine(), self.parent]
        if isinstance(self.image, Debian):
            inputs += [SUITE, UPDATED, TIDY, self.image.packages, self.image.changes, self.image.hook]
        elif self.image.lists_packages:
            inputs.append(LIST_PACKAGES)
        inputs += [(name, hashlib.sha256(text).hexdigest(), run) for name, (text, run) in sorted(self.files.items())]
        return f"fumehood-{self.name}:{hashlib.sha256(json.dumps(inputs).encode()).hexdigest()[:12]}"


def plan_for(name: str, registry_base: str | None, requirements: Path | None = None) -> Plan:
    image = IMAGES[name]
    below: Plan | str | None = None
    if image.parent:
        below = registry_base if image.parent == "base" and registry_base else plan_for(image.parent, registry_base)
    files = {name: (path.read_bytes(), bool(path.stat().st_mode & 0o100)) for name, path in image.sources().items()}
    if requirements:
        # Without its comments: they name the sandbox's image, and a change of the runner changes no package.
        pins = [line for line in requirements.read_text().splitlines() if line and not line.startswith("#")]
        files[EXPORTED] = ("\n".join(pins).encode(), False)
    return Plan(name=name, image=image, below=below, files=files)


def build(plan: Plan, mirror: str | None) -> None:
    """Build an image and what it stands on, unless it is there."""
    if image_id(plan.tag):
        return
    if isinstance(plan.below, Plan):
        build(plan.below, mirror)
    # One build at a time on this machine: the second of two finds the work done.
    with only_one():
        if image_id(plan.tag):
            return
        print(f"── {plan.tag}", flush=True)
        started = time.monotonic()
        try:
            if isinstance(plan.image, Debian):
                import_debian(plan, plan.image, mirror)
            else:
                run_dockerfile(plan, plan.image)
        finally:
            # A failed build leaves its last good step behind, without a name.
            docker("image", "prune", "--force", "--filter", f"label=fumehood.image={plan.name}", quiet=True)
        remove_old(plan)
        print(f"── {plan.tag} took {time.monotonic() - started:.0f} s", flush=True)


def import_debian(plan: Plan, image: Debian, mirror: str | None) -> None:
    if not shutil.which("mmdebstrap"):
        sys.exit(
            "mmdebstrap is missing; on Debian or Ubuntu: apt install mmdebstrap debian-archive-keyring, "
            "or give an image that has Python 3.13 with --registry-base"
        )
    epoch = int(datetime.fromisoformat(UPDATED).replace(tzinfo=UTC).timestamp())
    with tempfile.TemporaryDirectory(prefix="fumehood-") as scratch:
        root = Path(scratch) / "root.tar"
        subprocess.run(
            [
                "mmdebstrap",
                "--quiet",
                "--variant=essential",
                f"--include={','.join(image.packages)}",
                '--aptopt=APT::Install-Recommends "false"',
                f"--customize-hook={TIDY}",
                f"--customize-hook={image.hook}",
                SUITE,
                str(root),
                *([mirror] if mirror else []),
            ],
            check=True,
            env=os.environ | {"SOURCE_DATE_EPOCH": str(epoch)},
        )
        changes = [f"--change={change}" for change in (*image.changes, f"LABEL fumehood.image={plan.name}")]
        docker("import", *changes, str(root), plan.tag, quiet=True)


def run_dockerfile(plan: Plan, image: Built) -> None:
    missing = [place for inside, place in image.files.items() if not any(f"{name}/".startswith(f"{inside}/") for name in plan.files)]
    if missing:
        sys.exit(f"{plan.tag} needs {', '.join(missing)}, which is not there")
    arguments = {image.argument: plan.parent, "NAME": plan.name}
    labels: list[str] = []
    with ExitStack() as stack:
        context = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fumehood-")))
        for name, (text, executable) in plan.files.items():
            (context / name).parent.mkdir(parents=True, exist_ok=True)
            (context / name).write_bytes(text)
            (context / name).chmod(0o755 if executable else 0o644)
        if image.locks:
            directory = wheels.download([REPOSITORY / lock for lock in image.locks], PYTHON)
            # Docker hands a configured proxy to every build; the way to ourselves must not lead through it.
            if "requirements.lock" in plan.files:
                labels.append(f"--label=fumehood.lock={hashlib.sha256(plan.files['requirements.lock'][0]).hexdigest()}")
            arguments |= {"WHEELS": stack.enter_context(wheels.serve(directory)), "no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1"}
        if image.lists_packages:
            command = ["run", "--rm", "--network=none", str(plan.parent), "python", "-I", "-c", LIST_PACKAGES]
            labels.append(f"--label=fumehood.packages={docker(*command, quiet=True).strip()}")
        docker(
            "build",
            "--rm",
            "--force-rm",
            "--network",
            "host" if image.locks else "none",
            "--tag",
            plan.tag,
            *(f"--build-arg={key}={value}" for key, value in arguments.items()),
            *labels,
            str(context),
        )


def remove_old(plan: Plan) -> None:
    """Remove older images of this name, except those a container uses and those of the last hour.

    The hour is for whoever still works with the image of a moment ago: tests in flight, a service that is being restarted.
    """
    listed = docker("image", "ls", f"fumehood-{plan.name}", "--format", "{{.Repository}}:{{.Tag}}", quiet=True).split()
    for old in sorted(set(listed) - {plan.tag}):
        tagged_at = docker("image", "inspect", "--format", "{{.Metadata.LastTagTime.Unix}}", old, quiet=True)
        if time.time() - int(tagged_at) > 3600:
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
    done = subprocess.run(
        ["docker", *arguments], stdout=subprocess.PIPE if quiet else None, text=True, env=os.environ | {"DOCKER_BUILDKIT": "0"}
    )
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

"""What is inside, as CycloneDX: the packages that a lock pins, and the Debian packages of the image that was built with it.

The lock says names, versions and hashes; the image itself is asked, in a container without network, for its Debian packages and for
the licences that its Python packages name. Needs cyclonedx-python-lib, so it runs in `.venv`.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

ASK_SECONDS = 120
LICENCE_CHARACTERS = 200
_PINNED = re.compile(r"(?P<name>[a-z0-9-]+)==(?P<version>[^ ;\\]+)(?: ; (?P<marker>[^\\]+))?")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")

# Runs inside the image: what dpkg knows, and the licence of each Python package in the form in which it names one.
ASK = r"""
import importlib.metadata as metadata, json, re, subprocess
form = "${Package}\t${Version}\t${Architecture}\n"
listed = subprocess.run(["dpkg-query", "--show", "--showformat", form], capture_output=True, text=True, check=True).stdout
licences = {}
for found in metadata.distributions():
    about = found.metadata
    classified = [line.rsplit(" :: ", 1)[1] for line in about.get_all("Classifier", []) if line.startswith("License :: ")]
    licence = about.get("License-Expression") or " and ".join(classified) or (about.get("License") or "").strip().split("\n")[0]
    licences[re.sub("[-_.]+", "-", about["Name"]).lower()] = licence
print(json.dumps({"debian": [line.split("\t") for line in listed.splitlines()], "licences": licences}))
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pinned:
    """One package of a lock, with the SHA-256 of every wheel that may be installed."""

    name: str
    version: str
    marker: str | None
    sha256: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Inside:
    """What an image says of itself."""

    debian: tuple[tuple[str, str, str], ...] = ()
    """Name, version, architecture."""
    licences: Mapping[str, str] = field(default_factory=dict)
    """By the name of the Python package; empty where it names none."""


def read_lock(path: Path) -> Iterator[Pinned]:
    """Raises ValueError on a line that is neither a package, a hash nor a comment: what is not understood must not be left out."""
    joined = re.sub(r"\\\n\s*", " ", path.read_text())
    for line in joined.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        about, *_ = line.split(" --hash=")
        found = _PINNED.fullmatch(about.strip())
        hashes = _HASH.findall(line)
        if found is None or not hashes:
            raise ValueError(f"{path.name} has the line {line[:80]!r}; expected name==version and hashes")
        yield Pinned(name=found["name"], version=found["version"], marker=(found["marker"] or "").strip() or None, sha256=tuple(hashes))


def ask(image: str) -> Inside:
    """Ask an image, in a container of its own that is gone afterwards. Raises CalledProcessError, TimeoutExpired."""
    walls = ["--network=none", "--read-only", "--cap-drop=ALL", "--user=65534:65534", "--entrypoint=python"]
    command = ["docker", "run", "--rm", *walls, image, "-I", "-c", ASK]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=ASK_SECONDS)
    said = json.loads(done.stdout)
    return Inside(debian=tuple((name, version, architecture) for name, version, architecture in said["debian"]), licences=said["licences"])


def document(name: str, lock: Path, inside: Inside, *, image: str, distribution: str) -> str:
    """The SBOM as JSON; the same for the same lock and image, so that two can be compared."""
    bom = Bom()
    # Neither a time nor a random number: what is listed decides.
    bom.metadata.component = Component(name=name, type=ComponentType.CONTAINER, version=image, bom_ref=name)
    components = [
        *(_python(package, inside.licences) for package in read_lock(lock)),
        *(_debian(one, distribution) for one in inside.debian),
    ]
    for component in components:
        bom.components.add(component)
        bom.register_dependency(component)
    bom.register_dependency(bom.metadata.component, components)
    listed = "\n".join(sorted(str(component.purl) for component in components))
    bom.serial_number = uuid5(NAMESPACE_URL, f"{name}\n{image}\n{listed}")
    written = json.loads(JsonV1Dot6(bom).output_as_string())
    written["metadata"].pop("timestamp", None)
    return json.dumps(written, indent=1, sort_keys=True) + "\n"


def _python(package: Pinned, licences: Mapping[str, str]) -> Component:
    licence = licences.get(package.name, "")[:LICENCE_CHARACTERS]
    purl = PackageURL(type="pypi", name=package.name, version=package.version)
    return Component(
        name=package.name,
        version=package.version,
        type=ComponentType.LIBRARY,
        purl=purl,
        bom_ref=str(purl),
        licenses=[LicenseFactory().make_from_string(licence)] if licence else [],
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest) for digest in package.sha256],
        properties=[Property(name="fumehood:marker", value=package.marker)] if package.marker else [],
    )


def _debian(package: tuple[str, str, str], distribution: str) -> Component:
    name, version, architecture = package
    purl = PackageURL(type="deb", namespace="debian", name=name, version=version, qualifiers={"arch": architecture, "distro": distribution})
    return Component(name=name, version=version, type=ComponentType.LIBRARY, purl=purl, bom_ref=str(purl))

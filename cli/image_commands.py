"""Commands on the environments that scripts run in."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from cli import terminal
from cli.environment_files import FORMATS, Environment
from cli.job_commands import AsJson, connect, print_json

images_app = typer.Typer(help="The environments that scripts run in.", rich_markup_mode=None, invoke_without_command=True)

Digest = Annotated[str | None, typer.Argument(metavar="DIGEST", help="The image, or the beginning of its digest; else the current one.")]
Local = Annotated[bool, typer.Option("--local", help="Ask the Docker engine of this machine instead of the service.")]


class Format(StrEnum):
    REQUIREMENTS = "requirements"
    CONDA = "conda"


@images_app.callback()
def images(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        list_images()


@images_app.command("list")
def list_images(local: Local = False, as_json: AsJson = False) -> None:
    """List the images that the service has run, newest first."""
    found = _on_this_machine() if local else _on_service()
    if as_json:
        return print_json(found)
    rows = [
        (one["digest"][:19], one["python"] or "?", "?" if one["packages"] is None else one["packages"], "yes" if one["current"] else "")
        for one in found
    ]
    terminal.columns(("IMAGE", "PYTHON", "PACKAGES", "CURRENT"), rows)


@images_app.command("packages")
def list_packages(digest: Digest = None, local: Local = False, as_json: AsJson = False) -> None:
    """List the packages that a script can import, with their versions."""
    environment = _environment(digest, local)
    if as_json:
        return print_json([{"name": name, "version": version} for name, version in sorted(environment.packages.items())])
    terminal.say(f"{environment.digest[:19]}…, Python {environment.python}, {len(environment.packages)} packages")
    terminal.columns(("PACKAGE", "VERSION"), sorted(environment.packages.items()))


@images_app.command("export")
def export(
    digest: Digest = None,
    format: Annotated[Format, typer.Option(help="requirements for pip, conda for an environment.yml.")] = Format.REQUIREMENTS,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write to this file instead of stdout.")] = None,
    local: Local = False,
) -> None:
    """Write an image's environment, pinned, so that scripts can be written and debugged in the same one.

    With pip: `fumehood images export --out requirements.txt`, then `python3.13 -m venv environment` and `environment/bin/pip install
    -r requirements.txt`. With conda: `fumehood images export --format conda --out environment.yml`, then `conda env create -f
    environment.yml`.
    """
    environment = _environment(digest, local)
    text = FORMATS[format](environment)
    if out is None:
        sys.stdout.write(text)
        return
    out.write_text(text, encoding="utf-8")
    terminal.say(f"wrote {out}: Python {environment.python}, {len(environment.packages)} packages")


def _environment(digest: str | None, local: bool) -> Environment:
    from cli import environments

    if local:
        return environments.on_this_machine(digest)
    with connect() as client:
        return environments.on_service(client, digest)


def _on_service() -> list[dict[str, Any]]:
    with connect() as client:
        return list(client.listing("/v1/images"))


def _on_this_machine() -> list[dict[str, Any]]:
    """In the words of the service; current is what a local run takes."""
    from cli import environments
    from cli.local_engine import find_image, open_engine

    _, engine = open_engine()
    try:
        current, found = find_image(engine), environments.local_images(engine)
    finally:
        engine.close()
    return [
        {
            "digest": image.digest,
            "python": image.python,
            "packages": None if image.packages is None else len(image.packages),
            "current": image.digest == current,
        }
        for image in found
    ]

"""What the Makefile calls: `python3 setup COMMAND`. The standard library only, because it runs before anything is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import compose
import engine
import home
import python_packages
import trial
from progress import ROOT, SetupError, confirm, environment, logged, quiet, say, step

IMAGES_SECONDS = 3600.0
BUILD = ROOT / "images" / "build.py"
COMMAND = ROOT / ".venv" / "bin" / "fumehood"
# Tests that need a service fail, instead of being skipped, where it is missing.
TEST_ENVIRONMENT = {"FUMEHOOD_TEST_REQUIRE": "1"}


def run() -> None:
    """Set everything up, start the service and run the example."""
    serve(first=example)


def serve(*, first: Callable[[], object] = lambda: None) -> None:
    """Set everything up, start the service and say how to use it; `first` comes before the words."""
    here = start(with_venv=True)
    address = f"http://127.0.0.1:{here.remembered()['FUMEHOOD_API_PORT']}"
    configure(address, here.bootstrap_key)
    first()
    say(f"the service listens on {address}")
    print(f"""
  a script of yours   {_shown(COMMAND)} run script.py --dataset1 table.csv --out result.csv
  everything else     {_shown(COMMAND)} --help
  the service's log   make logs
  stop it             make stop     (what it stores stays in {here.path})""")


def start(*, with_venv: bool = False) -> home.Home:
    """The service, without the example and without touching the user's configuration."""
    engine.ensure()
    if with_venv:
        python_packages.ensure("service")
    here = home.find()
    home.ensure(here)
    store = home.choose_store(here)
    images = build_images(*([store] if store == "postgres" else []))
    port = home.choose_port(here, ours=compose.is_running(here, "api"))
    home.write_compose_env(here, images=images, port=port, store=store)
    compose.up(here)
    return here


def stop() -> None:
    """Stop the service; what it stores stays."""
    engine.ensure()
    with step("service: stopping"):
        compose.down(home.find())


def logs() -> None:
    """Follow the logs of the service."""
    engine.ensure()
    compose.logs(home.find())


def erase() -> None:
    """Stop the service and erase its home."""
    here = home.find()
    if confirm(f"Erase {here.path} with every job, dataset and key in it?"):
        engine.ensure()
        with step(f"service: erasing {here.path}"):
            compose.down(here)
            compose.remove_sandboxes(here)
            home.erase(here)


def uninstall() -> None:
    """Erase the service, its home, its images and the virtual environment."""
    here = home.find()
    if confirm(f"Erase {here.path} with every job, dataset and key in it, the images and .venv?"):
        os.environ["FORCE"] = "1"
        erase()
        listed = quiet(["docker", "image", "ls", "--filter", "label=fumehood.image", "--format", "{{.Repository}}:{{.Tag}}"])[1].split()
        images = [name for name in listed if "<none>" not in name]
        if images:
            with step(f"images: removing {len(images)}"):
                logged(["docker", "image", "rm", *images], deadline_seconds=300)
        # What has lost its name to a newer one; of ours only.
        logged(["docker", "image", "prune", "--force", "--filter", "label=fumehood.image"], deadline_seconds=300)
        shutil.rmtree(python_packages.VENV, ignore_errors=True)


def test() -> None:
    """Set everything up and run every test; with further arguments, what they say to one pytest."""
    engine.ensure()
    python_packages.ensure("service", "tests")
    build_images("postgres")
    os.environ.update(TEST_ENVIRONMENT)
    if len(sys.argv) == 2:
        raise SystemExit(trial.run(python_packages.PYTHON))
    os.chdir(ROOT)
    os.execv(python_packages.PYTHON, [str(python_packages.PYTHON), "-m", "pytest", "--durations=15", *sys.argv[2:]])


def audit() -> None:
    """Write what is inside into out/ and look up what is known against it; ends with 3 where that could not be looked up."""
    engine.ensure()
    python_packages.ensure("service", "tests")
    build_images()
    os.chdir(ROOT)
    os.execv(python_packages.PYTHON, [str(python_packages.PYTHON), str(ROOT / "images" / "audit.py")])


def bench() -> None:
    """Set everything up and measure; further arguments choose rows."""
    engine.ensure()
    python_packages.ensure("service", "tests")
    build_images()
    os.chdir(ROOT)
    os.execv(python_packages.PYTHON, [str(python_packages.PYTHON), "-m", "benchmarks", *sys.argv[2:]])


def notebook() -> None:
    """Open the example notebook in JupyterLab, which listens on this machine alone and asks for the token it prints."""
    python_packages.ensure("service", "notebook")
    say("the notebook talks to the service that `make run` or `make start` has started")
    os.chdir(ROOT / "examples")
    # JupyterLab does not start as root unasked; whoever calls make as root has asked.
    root = ["--allow-root"] if os.geteuid() == 0 else []
    os.execv(python_packages.PYTHON, [str(python_packages.PYTHON), "-m", "jupyterlab", *root, "notebooks/first_steps.ipynb"])


def docs() -> None:
    """Build the documentation's site."""
    python_packages.ensure("service", "tests")
    with step("docs: building the site"):
        logged([python_packages.PYTHON, "-m", "mkdocs", "build", "--strict", "--quiet"], deadline_seconds=300)
    say(f"open {ROOT / 'site' / 'index.html'}")


def build_images(*more: str) -> dict[str, str]:
    """Build what is not built, and `more` images than every home needs; the variables of docker-compose.yml that name them."""
    with step("images: looking what is to be built (minutes the first time)"):
        for names in ("all", *more):
            logged([sys.executable, BUILD, names], deadline_seconds=IMAGES_SECONDS)
    return {
        "FUMEHOOD_POSTGRES_IMAGE": _image("postgres", "--print-tag"),
        "FUMEHOOD_SERVICE_IMAGE": _image("service", "--print-tag"),
        "FUMEHOOD_REDIS_IMAGE": _image("redis", "--print-tag"),
        "FUMEHOOD_IMAGE": _image("anaconda", "--print-id"),
    }


def configure(address: str, key: Path) -> None:
    """Tell the user's command where the service is; the key goes by file, since arguments can be read by others."""
    with step("command: writing its configuration"):
        logged([COMMAND, "config", "write", "--url", address, "--key-file", key], deadline_seconds=30)


def example() -> None:
    """The first job, to see the whole way work."""
    say("example: feature importance")
    arguments = ["run", "examples/feature_importance.py", "--dataset1", "examples/pima-indians-diabetes.csv"]
    arguments += ["--out", "out/importance.arrow", "--figures", "out/"]
    (ROOT / "out").mkdir(exist_ok=True)
    done = subprocess.run([COMMAND, *arguments], cwd=ROOT, env=environment())
    if done.returncode:
        raise SetupError(f"the example ended with {done.returncode}; `make logs` shows what the service says")


def _image(name: str, what: str) -> str:
    code, output = quiet([sys.executable, BUILD, name, what])
    if code:
        raise SetupError(f"images/build.py {name} {what} failed: {output}")
    return output.splitlines()[-1]


def _shown(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


COMMANDS: dict[str, Callable[[], object]] = {
    "run": run,
    "serve": serve,
    "start": start,
    "stop": stop,
    "logs": logs,
    "erase": erase,
    "uninstall": uninstall,
    "test": test,
    "audit": audit,
    "bench": bench,
    "notebook": notebook,
    "docs": docs,
}


def main() -> int:
    if len(sys.argv) < 2 or sys.argv[1] not in COMMANDS:
        print(f"usage: python3 setup {'|'.join(COMMANDS)}", file=sys.stderr)
        return 2
    try:
        COMMANDS[sys.argv[1]]()
    except SetupError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

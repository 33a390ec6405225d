"""An engine that maps user ids (`userns-remap`): the corpus ends as without, and to the host a sandbox is a user of the range."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from fumehood.errors import SandboxError
from fumehood.outcome import Reason
from fumehood.settings import Settings
from tests.hostile.corpus import ATTACKS, Ground, standing
from tests.sandboxes import PYTHON, SMALL, run_script
from tests.walls import GVISOR_ARGUMENTS, engine_with, mapped_ids, packaged
from worker import host_check
from worker.docker_sandbox import DockerHost
from worker.sandbox import StopSignal
from worker.scratch import Scratch

USER, GROUP = "nobody", "nogroup"
FIRST_ON_HOST, FIRST_INSIDE = 200_000, 20_000


@pytest.fixture(scope="module")
def mapped(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    home: Path = tmp_path_factory.mktemp("mapped") / "home"
    configuration = {"userns-remap": f"{USER}:{GROUP}", "runtimes": {"runsc": {"path": "/usr/bin/runsc", "runtimeArgs": GVISOR_ARGUMENTS}}}
    with (
        mapped_ids(USER, first=FIRST_ON_HOST, count=host_check.MAPPED_IDS) as inside,
        engine_with(image, configuration, inside=inside) as engine,
        standing(home, image, worker="mapped", docker_host=engine.address, sandbox_uid_first=FIRST_INSIDE) as ground,
    ):
        yield ground


# Of those that waited, so that their limits are changed while they live.
@pytest.mark.parametrize("name", ATTACKS)
def test_the_attack_ends_as_it_says(name: str, mapped: Ground) -> None:
    attack, ran = ATTACKS[name], mapped.ran(name, "warm")
    assert ran.outcome.reason is attack.reason, (ran.outcome.message, ran.outcome.error, ran.exit, ran.log[-2000:])
    assert not ran.scratch.exists()
    assert mapped.canary.read_text() == mapped.secret


def test_to_the_host_a_sandbox_is_a_user_of_the_range_and_its_root_is_nobody(mapped: Ground) -> None:
    scratch = Scratch.create(mapped.home, worker="mapped")
    with mapped.host.prepare(scratch, SMALL) as sandbox:
        assert sandbox.make_ready(StopSignal())
        process = Path("/proc") / str(mapped.client.inspect_container(sandbox.name)["State"]["Pid"])
        status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
        assert set(map(int, status["Uid"].split())) == {FIRST_ON_HOST + sandbox.uid}
        assert (process / "uid_map").read_text().split() == ["0", str(FIRST_ON_HOST), str(host_check.MAPPED_IDS)]
    scratch.erase()


def test_user_ids_beyond_the_range_are_refused_before_anything_starts(mapped: Ground) -> None:
    settings = Settings(home=mapped.home, image=mapped.host.image, docker_host=mapped.settings["docker_host"])
    with contextlib.closing(DockerHost(settings, worker_id="beyond")) as host, pytest.raises(SandboxError, match="maps user ids"):
        host.check()


def test_gvisor_does_not_start_there_and_the_check_says_so(mapped: Ground) -> None:
    packaged("runsc")
    settings = Settings(home=mapped.home, image=mapped.host.image, **{**mapped.settings, "runtime": "runsc"})
    with contextlib.closing(DockerHost(settings, worker_id="both")) as host:
        with pytest.raises(SandboxError, match="maps user ids"):
            host.check()
        with capture_logs() as logs, pytest.raises(SandboxError, match="could not start"):
            run_script(host, mapped.home, "")
    assert "cannot create sandbox" in str(logs)


@pytest.mark.parametrize("mode", ["host", ""])
def test_the_services_own_containers_keep_their_user_id(mode: str, mapped: Ground) -> None:
    """What `userns_mode: host` in docker-compose.yml is for: the home belongs to the service's user."""
    ours = mapped.home / "mine"
    code = f"import os; os.listdir({str(mapped.home)!r}); open({str(ours)!r}, 'w')"
    config = {
        "Image": mapped.host.image,
        "Entrypoint": [PYTHON, "-c", code],
        "User": str(mapped.home.stat().st_uid),
        "HostConfig": {"UsernsMode": mode, "NetworkMode": "none", "Binds": [f"{mapped.home}:{mapped.home}"]},
    }
    made = mapped.client.create_container_from_config(config)["Id"]
    try:
        mapped.client.start(made)
        assert (mapped.client.wait(made, timeout=60)["StatusCode"] == 0) is (mode == "host")
    finally:
        mapped.client.remove_container(made, force=True, v=True)
        ours.unlink(missing_ok=True)


def test_a_good_script_runs(mapped: Ground) -> None:
    ran = run_script(mapped.host, mapped.home, "import pandas\ndef azureml_main(): return pandas.DataFrame({'a': [1]})\n")
    assert ran.outcome.reason is Reason.OK, ran.outcome
    assert ran.result_bytes

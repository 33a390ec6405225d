"""What the gate lets through, to the letter: the calls of a worker, and the sandboxes that the policy makes. No engine."""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from fumehood.errors import Misconfigured
from fumehood.limits import CEILING, FLOOR, MIB, Limits
from fumehood.settings import Settings
from gate import bodies, calls, sources
from gate.__main__ import check
from gate.bodies import Rules
from gate.calls import ROUTES, Call
from gate.refusal import Refused
from worker import isolation, runtimes, seccomp
from worker.isolation import LABEL_HOME, LABEL_SANDBOX, LABEL_WORKER, Host
from worker.recipe import PROBE_LIMITS, errand_limits
from worker.scratch import Scratch

Literal = dict[str, Any]
EXAMPLES = hypothesis_settings(max_examples=int(os.environ.get("FUMEHOOD_TEST_EXAMPLES", "400")))

HOME = Path("/srv/home")
IMAGE = "sha256:" + "0a" * 32
SCRATCH = "0123456789abcdef" * 2
NAME = "fumehood-" + SCRATCH
HOST = Host(cpus=2)
SETTINGS = Settings(home=HOME, image=IMAGE)
RULES = Rules.of(SETTINGS)


def document(
    *, limits: Limits | None = None, uid: int = RULES.uids.start, host: Host = HOST, wait_seconds: float = 90, scratch: str = SCRATCH
) -> Literal:
    """What a worker sends for a sandbox."""
    config, host_config = isolation.container(
        image=IMAGE,
        scratch=Scratch(HOME, scratch, {}),
        limits=limits or Limits(),
        uid=uid,
        host=host,
        labels={LABEL_HOME: str(HOME), LABEL_WORKER: "wrk_0123456789abcdef", LABEL_SANDBOX: scratch},
        wait_seconds=wait_seconds,
    )
    return copy.deepcopy(config | {"HostConfig": host_config})


def create(asked: Any, *, rules: Rules = RULES, host: Host = HOST) -> Literal:
    made: Literal = json.loads(bodies.create(NAME, json.dumps(asked).encode(), rules=rules, host=host))
    return made


def judge(method: str, target: str, body: bytes = b"", *, upgrade: bool = False) -> Call:
    return calls.judge(method, target, body, upgrade=upgrade, rules=RULES, host=HOST)


# what is made ----------------------------------------------------------------------------------------------------------------
@st.composite
def any_limits(draw: st.DrawFn) -> Limits:
    memory = draw(st.integers(int(FLOOR["memory_bytes"]), CEILING.memory_bytes))
    return Limits(
        memory_bytes=memory,
        disk_bytes=draw(st.integers(int(FLOOR["disk_bytes"]), min(memory - 1, CEILING.disk_bytes))),
        cpus=draw(st.floats(FLOOR["cpus"], CEILING.cpus)),
        processes=draw(st.integers(int(FLOOR["processes"]), CEILING.processes)),
        output_bytes=draw(st.integers(int(FLOOR["output_bytes"]), CEILING.output_bytes)),
    )


@pytest.mark.parametrize("runtime", runtimes.FAMILIES)
@EXAMPLES
@given(limits=any_limits(), uid=st.sampled_from(RULES.uids), wait_seconds=st.sampled_from([60, 90.0, 1920.0]), swap=st.booleans())
def test_whatever_a_worker_makes_passes_as_it_is(runtime: str, limits: Limits, uid: int, wait_seconds: float, swap: bool) -> None:
    host = Host(cpus=3, swap_limit=swap, private_cgroup_namespace=swap, runtime=runtime)
    asked = document(limits=limits, uid=uid, host=host, wait_seconds=wait_seconds)
    assert create(asked, host=host, rules=replace(RULES, runtime=runtime)) == asked


def test_a_number_of_tasks_that_no_number_of_processes_makes_is_refused() -> None:
    asked = document(host=Host(cpus=2, runtime="runsc"))
    asked["HostConfig"]["PidsLimit"] += 1
    with pytest.raises(Refused, match="PidsLimit"):
        create(asked, host=Host(cpus=2, runtime="runsc"), rules=replace(RULES, runtime="runsc"))


@pytest.mark.parametrize("limits", [PROBE_LIMITS, errand_limits(SETTINGS), SETTINGS.limits], ids=["probe", "errand", "job"])
def test_the_service_s_own_sandboxes_pass_below_a_low_ceiling_too(limits: Limits) -> None:
    low = Settings(home=HOME, image=IMAGE, limits=limits, ceiling=limits)
    for own in (limits, PROBE_LIMITS, errand_limits(low)):
        asked = document(limits=own)
        assert create(asked, rules=Rules.of(low)) == asked


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every key and item of a document, inner ones too."""
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, inner in steps:
        yield (*path, step)
        yield from places(inner, (*path, step))


def at(value: Any, path: tuple[Any, ...]) -> Any:
    for step in path:
        value = value[step]
    return value


PLACES = list(places(document()))
OTHER_VALUES = [None, True, False, 0, 1, -1, 1.0, 10**15, "", "host", "/", "unconfined", [], ["x"], {}, {"x": "y"}]


@pytest.mark.parametrize("path", PLACES, ids=lambda path: ".".join(map(str, path))[:60])
def test_no_part_of_the_policy_can_be_another_or_missing(path: tuple[Any, ...]) -> None:
    for value in OTHER_VALUES:
        asked = document()
        if json.dumps(at(asked, path)) == json.dumps(value):
            continue
        at(asked, path[:-1])[path[-1]] = value
        with pytest.raises(Refused):
            create(asked)
    asked = document()
    del at(asked, path[:-1])[path[-1]]
    with pytest.raises(Refused):
        create(asked)


def test_the_walk_reaches_every_key_of_the_policy() -> None:
    walked = {path[-1] for path in PLACES}
    assert {*isolation.ISOLATION, *isolation.CONFIG, "Mounts", "Ulimits", "Tmpfs", "Memory", "User", "Image"} <= walked


ADDED = ["privileged", "PRIVILEGED", "Privileged ", "Entrypoint", "Cmd", "Volumes", "NetworkingConfig", "Isolation"]
OBJECTS = [(), ("HostConfig",), ("HostConfig", "Mounts", 0), ("HostConfig", "Ulimits", 1), ("Labels",)]


@pytest.mark.parametrize("key", ADDED)
@pytest.mark.parametrize("path", OBJECTS, ids=str)
def test_nothing_can_be_added(path: tuple[Any, ...], key: str) -> None:
    asked = document()
    at(asked, path)[key] = ["/bin/sh"]
    with pytest.raises(Refused):
        create(asked)


def test_what_a_worker_wrote_never_reaches_the_engine() -> None:
    """Two readers of JSON may take two different values of a key that stands twice; here both read what the gate wrote."""
    text = json.dumps(document())
    twice = '{"HostConfig": {"Privileged": true, "Sysctls": {"kernel.core_pattern": "|/x"}}, ' + text[1:]
    made = bodies.create(NAME, twice.encode(), rules=RULES, host=HOST)
    assert json.loads(made) == document()
    assert b"core_pattern" not in made


def altered(**values: Any) -> Callable[[Literal], None]:
    return lambda asked: asked["HostConfig"].update(values)


def another_source(asked: Literal) -> None:
    asked["HostConfig"]["Mounts"][0]["Source"] = f"{HOME}/scratch/../.."


ATTACKS: dict[str, tuple[Callable[[Literal], Any], str]] = {
    "privileged": (altered(Privileged=True), "HostConfig.Privileged is True; expected False"),
    "the host mounted": (altered(Binds=["/:/host"]), "HostConfig.Binds is"),
    "the host as a source": (another_source, "HostConfig.Mounts is"),
    "no filter": (altered(SecurityOpt=["seccomp=unconfined"]), "HostConfig.SecurityOpt is"),
    "the host's network": (altered(NetworkMode="host"), "HostConfig.NetworkMode is 'host'; expected 'none'"),
    "another runtime": (altered(Runtime="runsc"), "HostConfig.Runtime is 'runsc'; expected 'runc'"),
    "more memory than the ceiling": (altered(Memory=CEILING.memory_bytes + 1), "Memory is .*; expected a whole number from"),
    "more than fits the disk": (altered(Tmpfs={"/job": f"size={CEILING.disk_bytes + 1}"}), "/job and /dev/shm together are"),
    "root": (lambda asked: asked.update(User="0:0"), "User is 0; expected one of"),
    "a user beside the range": (lambda asked: asked.update(User=f"{RULES.uids.stop}:{RULES.uids.stop}"), "expected one of"),
    "another image": (lambda asked: asked.update(Image="sha256:" + "0b" * 32), "Image is"),
    "an image by tag": (lambda asked: asked.update(Image="busybox:latest"), "Image is 'busybox:latest'"),
    "a command": (lambda asked: asked.update(Cmd=["debug"]), "'Cmd' is not one of a sandbox's"),
    "more environment": (lambda asked: asked["Env"].append("LD_PRELOAD=/in/x"), "Env is"),
    "for ever": (lambda asked: asked.update(Env=["FUMEHOOD_WAIT_SECONDS=1000000"]), "expected a number up to 3600"),
    "another home": (lambda asked: asked["Labels"].update({LABEL_HOME: "/srv/other"}), "Labels is"),
    "another sandbox": (lambda asked: asked["Labels"].update({LABEL_SANDBOX: "0" * 32}), "Labels is"),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_told_what_is_wrong(name: str) -> None:
    change, sentence = ATTACKS[name]
    asked = document()
    change(asked)
    with pytest.raises(Refused, match=sentence):
        create(asked)


NO_SANDBOX = [b"", b"\xff", b"[]", b"1", b"{}", b"[" * 100_000, b'{"HostConfig": NaN}', b'{"Memory": ' + b"9" * 5000 + b"}"]


@pytest.mark.parametrize("body", NO_SANDBOX, ids=range(len(NO_SANDBOX)))
def test_what_is_no_description_of_a_sandbox_is_refused(body: bytes) -> None:
    for reader in (lambda: bodies.create(NAME, body, rules=RULES, host=HOST), lambda: bodies.update(body, rules=RULES, host=HOST)):
        with pytest.raises(Refused):
            reader()


# updates ---------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("swap", [True, False])
def test_an_update_is_what_the_policy_calls_changeable(swap: bool) -> None:
    host = Host(swap_limit=swap)
    wanted = isolation.changeable(Limits(memory_bytes=300 * MIB, disk_bytes=MIB, cpus=0.29), host=document(host=host)["HostConfig"])
    assert json.loads(bodies.update(json.dumps(wanted).encode(), rules=RULES, host=host)) == wanted


@pytest.mark.parametrize(
    "change",
    [
        {"Memory": CEILING.memory_bytes + 1, "MemorySwap": CEILING.memory_bytes + 1},
        {"MemorySwap": -1},
        {"NanoCpus": 10**12},
        {"PidsLimit": -1},
        {"PidsLimit": 0},
        {"PidsLimit": True},
        {"Memory": 0, "MemorySwap": 0},
        {"RestartPolicy": {"Name": "always"}},
        {"Devices": [{"PathOnHost": "/dev/sda"}]},
        {"CpusetCpus": "0"},
    ],
    ids=str,
)
def test_an_update_of_anything_else_is_refused(change: Literal) -> None:
    asked = isolation.changeable(Limits(), host=document()["HostConfig"]) | change
    with pytest.raises(Refused):
        bodies.update(json.dumps(asked).encode(), rules=RULES, host=HOST)


# calls -----------------------------------------------------------------------------------------------------------------------
FILTERS = "%7B%22label%22%3A+%5B%22fumehood.home%3D%2Fsrv%2Fhome%22%5D%7D"
ALLOWED = {
    "ping": ("GET", "/_ping"),
    "version": ("GET", "/version"),
    "info": ("GET", "/v1.41/info"),
    "image": ("GET", f"/v1.41/images/{IMAGE}/json"),
    "create": ("POST", f"/v1.41/containers/create?name={NAME}"),
    "attach": ("POST", f"/v1.41/containers/{NAME}/attach?stdin=1&stdout=1&stderr=1&stream=1&detachKeys="),
    "start": ("POST", f"/v1.41/containers/{NAME}/start"),
    "update": ("POST", f"/v1.41/containers/{NAME}/update"),
    "inspect": ("GET", f"/v1.41/containers/{NAME}/json"),
    "kill": ("POST", f"/v1.41/containers/{NAME}/kill?signal=SIGKILL"),
    "wait": ("POST", f"/v1.41/containers/{NAME}/wait?condition=not-running"),
    "stats": ("GET", f"/v1.41/containers/{NAME}/stats?stream=False&one-shot=True"),
    "list": ("GET", f"/v1.41/containers/json?limit=-1&all=1&size=0&trunc_cmd=0&filters={FILTERS}"),
    "remove": ("DELETE", f"/v1.41/containers/{NAME}?v=True&link=False&force=True"),
}
BODIES = {
    "create": json.dumps(document()).encode(),
    "update": json.dumps(isolation.changeable(Limits(), host=document()["HostConfig"])).encode(),
}


@pytest.mark.parametrize("name", ROUTES)
def test_a_call_of_a_worker_passes_and_no_other_like_it(name: str) -> None:
    method, target = ALLOWED[name]
    body, upgrade = BODIES.get(name, b""), name == "attach"
    call = judge(method, target, body, upgrade=upgrade)
    assert (call.route, call.method, call.target, call.upgrade) == (name, method, target, upgrade)
    methods = {"GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS", "CONNECT"}
    wrong = [(other, target, body, upgrade) for other in methods - {method}]
    joint = "&" if "?" in target else "?"
    wrong += [
        (method, f"{target}{joint}x=1", body, upgrade),
        (method, f"{target}{joint}{'force' if name != 'remove' else 'f'}=1", body, upgrade),
        (method, target.partition("?")[0] + "/../json", body, upgrade),
        (method, target.partition("?")[0] + "/", body, upgrade),
        (method, target.replace("/", "//", 1), body, upgrade),
        (method, target.replace("/", "/%2e/", 1), body, upgrade),
        (method, "http://engine" + target, body, upgrade),
        (method, target, body, not upgrade),
        (method, target, b'{"x": 1}', upgrade),
    ]
    if "?" in target:
        path, _, query = target.partition("?")
        pairs = query.split("&")
        wrong += [(method, "?".join([path, "&".join(pairs[:n] + pairs[n + 1 :])]).rstrip("?"), body, upgrade) for n in range(len(pairs))]
        wrong += [(method, f"{target}&{pair}", body, upgrade) for pair in pairs]
        wrong += [(method, target.replace(pair, pair.partition("=")[0] + "=other"), body, upgrade) for pair in pairs]
    for asked in wrong:
        with pytest.raises(Refused):
            judge(*asked[:3], upgrade=asked[3])


@pytest.mark.parametrize("name", [name for name in ROUTES if name not in ("ping", "version")])
def test_an_api_that_does_not_know_the_whole_policy_is_refused(name: str) -> None:
    method, target = ALLOWED[name]
    with pytest.raises(Refused, match=r"in version 1.40 of the API; expected at least 1.41"):
        judge(method, target.replace("/v1.41", "/v1.40"), BODIES.get(name, b""), upgrade=name == "attach")


HOSTILE_CALLS = [
    ("POST", f"/v1.41/containers/{NAME}/exec"),
    ("POST", "/v1.41/exec/0123/start"),
    ("GET", f"/v1.41/containers/{NAME}/archive?path=/etc"),
    ("PUT", f"/v1.41/containers/{NAME}/archive?path=/"),
    ("GET", f"/v1.41/containers/{NAME}/export"),
    ("GET", f"/v1.41/containers/{NAME}/logs?stdout=1"),
    ("POST", f"/v1.41/containers/{NAME}/rename?name=x"),
    ("POST", f"/v1.41/containers/{NAME}/pause"),
    ("POST", f"/v1.41/containers/{NAME}/stop"),
    ("POST", f"/v1.41/containers/{NAME}/kill?signal=SIGSTOP"),
    ("POST", "/v1.41/containers/create"),
    ("POST", "/v1.41/containers/create?name=other"),
    ("GET", "/v1.41/containers/json"),
    ("GET", "/v1.41/containers/0123456789ab/json"),
    ("DELETE", "/v1.41/containers/postgres?v=True&link=False&force=True"),
    ("POST", "/v1.41/build"),
    ("POST", "/v1.41/images/create?fromImage=busybox"),
    ("GET", "/v1.41/images/json"),
    ("GET", "/v1.41/images/busybox/json"),
    ("DELETE", f"/v1.41/images/{IMAGE}"),
    ("POST", "/v1.41/volumes/create"),
    ("GET", "/v1.41/volumes"),
    ("POST", "/v1.41/networks/create"),
    ("POST", "/v1.41/containers/prune"),
    ("POST", "/v1.41/swarm/init"),
    ("GET", "/v1.41/secrets"),
    ("GET", "/v1.41/events"),
    ("GET", "/v1.41/system/df"),
    ("POST", "/v1.41/plugins/pull?remote=x"),
    ("POST", "/session"),
    ("POST", "/grpc"),
    ("GET", ""),
    ("GET", "*"),
]


@pytest.mark.parametrize(("method", "target"), HOSTILE_CALLS)
def test_any_other_call_of_the_engine_is_refused(method: str, target: str) -> None:
    with pytest.raises(Refused, match=r"is no call that a worker needs; allowed are|expected"):
        judge(method, target)


# whatever comes --------------------------------------------------------------------------------------------------------------
@st.composite
def tampered(draw: st.DrawFn) -> Literal:
    asked = document()
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(PLACES))
        try:
            holder = at(asked, path[:-1])
            holder[path[-1]] = copy.deepcopy(draw(st.sampled_from(OTHER_VALUES) | st.integers() | st.text(max_size=20)))
        except (KeyError, IndexError, TypeError):
            continue
    return asked


@EXAMPLES
@given(asked=tampered())
def test_a_body_is_refused_or_made_anew_within_the_policy(asked: Literal) -> None:
    try:
        made = create(asked)
    except Refused:
        return
    limits = made["HostConfig"]
    assert {key: limits[key] for key in isolation.ISOLATION if key != "MaskedPaths"} == {
        key: value for key, value in isolation.ISOLATION.items() if key != "MaskedPaths"
    }
    assert limits["Mounts"] == document()["HostConfig"]["Mounts"]
    assert 0 < limits["Memory"] <= CEILING.memory_bytes
    assert 0 < limits["PidsLimit"] <= CEILING.processes
    assert made["Image"] == IMAGE


TARGETS = st.sampled_from([target for _, target in ALLOWED.values()])


@st.composite
def bent(draw: st.DrawFn) -> str:
    target = draw(TARGETS)
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(target)))
        end = min(len(target), start + draw(st.integers(0, 6)))
        target = target[:start] + draw(st.text(max_size=4) | st.sampled_from(["/", "..", "%2f", "?", "&", "=", "\n", " "])) + target[end:]
    return target


@EXAMPLES
@given(
    method=st.sampled_from(["GET", "POST", "DELETE", "PUT", ""]) | st.text(max_size=8),
    target=bent() | st.text(max_size=60),
    body=st.sampled_from([b"", *BODIES.values()]) | st.binary(max_size=60),
    upgrade=st.booleans(),
)
def test_a_head_is_refused_or_one_of_the_table(method: str, target: str, body: bytes, upgrade: bool) -> None:
    try:
        call = judge(method, target, body, upgrade=upgrade)
    except Refused:
        return
    path = re.sub(r"^/v1\.[0-9]+", "", call.target).partition("?")[0]
    assert ROUTES[call.route].path.fullmatch(path)
    assert call.sandbox is None or re.fullmatch(r"fumehood-[0-9a-f]{32}", call.sandbox)
    assert call.target.isascii()
    assert call.target.isprintable()
    assert " " not in call.target


# what is mounted -------------------------------------------------------------------------------------------------------------
@pytest.fixture
def scratch(home: Path) -> Iterator[Scratch]:
    scratch = Scratch.create(home, worker="w1")
    yield scratch
    scratch._close()
    shutil.rmtree(home)


PARTS = ["", "in", "out", "hosts", "out/result.arrow", "out/log"]


def test_a_scratch_as_a_worker_makes_it_may_be_mounted(scratch: Scratch, home: Path) -> None:
    sources.check(home, scratch.name)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("place", ["link", "nothing", "fifo"])
def test_anything_else_is_not_mounted(scratch: Scratch, home: Path, part: str, place: str) -> None:
    path = scratch.directory / part
    aside = home / "aside"
    path.rename(aside)
    if place == "link":
        path.symlink_to(aside)
    elif place == "fifo":
        os.mkfifo(path)
    with pytest.raises(Refused):
        sources.check(home, scratch.name)


def test_a_link_above_the_scratch_is_seen(scratch: Scratch, home: Path) -> None:
    (home / "scratch").rename(home / "elsewhere")
    (home / "scratch").symlink_to("elsewhere")
    with pytest.raises(Refused, match="not as a worker makes it"):
        sources.check(home, scratch.name)


def test_the_worker_s_own_filter_is_a_sandbox_s_without_links_by_name() -> None:
    def names(profile: Literal) -> set[str]:
        return {name for rule in profile["syscalls"] for name in rule["names"]}

    ours, sandbox = names(seccomp.service_profile()), names(seccomp.profile())
    assert sandbox - ours == {"symlink", "symlinkat"}
    assert ours - sandbox == {"copy_file_range", "sendfile"}
    # What would make a link, or a mount, past the filter.
    assert not ours & {"io_uring_setup", "io_uring_enter", "mount", "move_mount", "unshare", "setns", "open_by_handle_at", "ptrace"}
    assert seccomp.service_profile()["defaultAction"] == "SCMP_ACT_ERRNO"


# settings --------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"image": IMAGE}, "gate_socket is not set"),
        ({"image": IMAGE, "gate_socket": "/run/g", "docker_host": "tcp://h:1"}, "the gate expects unix://"),
        ({"gate_socket": "/run/g"}, "image is not set"),
    ],
)
def test_a_gate_that_lacks_a_setting_says_which(settings: Callable[..., Settings], values: Literal, sentence: str) -> None:
    with pytest.raises(Misconfigured, match=sentence):
        check(settings(**values))


def test_a_gate_knows_both_sockets(settings: Callable[..., Settings]) -> None:
    assert check(settings(image=IMAGE, gate_socket="/run/g", docker_host="unix:///e")) == (Path("/e"), Path("/run/g"))

"""A script's page in a real browser: from its address, with a key, to an answer in a table."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from fumehood.job import Job, Kind, Lane
from tests.browser import Tab, browser
from tests.services import until
from tests.unit.front_desk import SCRIPT, Made, Stand, ran
from tests.unit.test_openapi import Server

HOSTILE = "<img src=x onerror=\"document.title='owned'\"></script><script>document.title='owned'</script>"
COLUMNS = [{"name": name, "type": "int64", "nullable": False} for name in ("a", HOSTILE)]
ANSWER = [{"b": 4, HOSTILE: HOSTILE}, {"b": 6, HOSTILE: None}]


@pytest.fixture
def address(stand: Stand) -> Iterator[str]:
    """Of the page of a script that is published there, and answers every call with the same."""

    def make(job: Job, content: bytes) -> Made:
        made = ran()
        made.report = {**made.report, "schemas": {"inputs": {"dataset1": COLUMNS}, "outputs": {"result": COLUMNS}}}
        if job.kind is not Kind.CHECK:
            made.outputs = {**made.outputs, "result": json.dumps(ANSWER).encode()}
        return made

    stand.worker.make = make
    parameters = {"factor": {"type": "float", "default": 2.0, "description": HOSTILE}}
    document = {"script": SCRIPT, "sample": stand.us.dataset(), "description": HOSTILE, "parameters": parameters}
    for _ in range(2):
        assert stand.us.put("/v1/scripts/stretch", json=document).status_code == 202
    stand.worker.work(Lane.JOBS)
    stand.queue.awake = set(Lane)
    server = Server(stand)
    yield f"http://127.0.0.1:{server.port}/v1/scripts/stretch/help"
    server.stop()


@pytest.fixture
def tab(tmp_path: Path) -> Iterator[Tab]:
    with browser(tmp_path) as made:
        yield made


def test_a_person_with_a_key_gets_from_the_address_to_an_answer(stand: Stand, address: str, tab: Tab) -> None:
    tab.open(address)
    tab.type("#secret", "fh_wrong")
    tab.click("#ask button")
    until(lambda: "known key" in tab.text("#said"), seconds=20, what="a wrong key is refused")
    tab.type("#secret", stand.key)
    tab.click("#ask button")
    until(lambda: tab.text("h1") == "stretch", seconds=20, what="the page of the script")
    # Only the page without a key is one that the browser keeps a trace of.
    assert (tab.run("location.href"), tab.run("localStorage.length + sessionStorage.length"), tab.run("document.cookie")) == (
        address,
        0,
        "",
    )
    assert tab.run("getComputedStyle(document.querySelector('td')).borderTopWidth") == "1px", "our own style is allowed"

    assert json.loads(tab.run("document.querySelector('#rows').value"))[0] == {"a": 1, HOSTILE: 1}
    tab.type("[data-parameter=factor]", "3.5")
    tab.click("#call")
    until(lambda: "stretch/2" in tab.text("#told"), seconds=30, what="an answer")
    cells = tab.run("[...document.querySelectorAll('#answer th, #answer td')].map((cell) => cell.textContent)")
    assert cells == ["b", HOSTILE, "4", HOSTILE, "6", "null"]
    (job,) = [job for job in stand.us.get("/v1/jobs").json()["items"] if job["id"] not in checks(stand)]
    assert stand.us.get(f"/v1/jobs/{job['id']}").json()["parameters"]["factor"] == 3.5

    tab.click('a[href="?version=1"]')
    until(lambda: "Version 1," in tab.text("main"), seconds=20, what="the other version, without asking for the key again")
    assert tab.run("location.search") == "?version=1"
    assert tab.run("document.title") == "stretch"
    assert tab.run("document.querySelectorAll('img, main script').length") == 0
    # The 401s that were asked for are told, too; nothing else was refused but the icon that no page of ours has, and nothing failed.
    assert [each for each in tab.complaints if "401" not in each and "favicon" not in each] == []


def checks(stand: Stand) -> set[str]:
    return {stand.us.get(f"/v1/scripts/stretch/versions/{number}").json()["job"] for number in (1, 2)}


def test_a_script_that_gets_into_the_page_does_not_run(address: str, tab: Tab) -> None:
    """The policy holds where escaping would not: the page is asked to do what it must not be able to."""
    tab.open(address)
    for attempt in (
        "const made = document.createElement('script'); made.text = 'document.title=1'; document.body.append(made)",
        "document.body.innerHTML = '<b>'",
        "document.body.setAttribute('onclick', 'document.title=1'); document.body.click()",
        "const frame = document.createElement('iframe'); frame.src = 'data:text/html,x'; document.body.append(frame)",
    ):
        tab.run(f"(() => {{ try {{ {attempt} }} catch (error) {{ return error.name }} }})()")
    assert tab.run("fetch('http://127.0.0.1:9/').then(() => 'sent', () => 'refused')") == "refused"
    assert (tab.run("document.title"), tab.run("document.querySelector('#ask') !== null")) == ("A script", True)

    def told() -> bool:
        tab.run("0")  # what was said before the answer to this is read by then
        return all(any(word in each for each in tab.complaints) for word in ("TrustedHTML", "connect-src"))

    until(told, seconds=10, what="the browser says what it has refused")

"""A message on its way out of the composed service, and what the courier sees of the rest of it."""

from __future__ import annotations

import json

from fumehood.webhook import verify
from tests.e2e.stand import Stand, docker
from tests.services import until
from tests.unit.receivers import Receiver, receiving


def test_the_courier_sees_the_store_and_nothing_else(stand: Stand) -> None:
    hidden = ["secrets", "signing", "scratch", "blobs", "incoming", "unsettled", "workers", "uids"]
    code = (
        "import os, socket\n"
        f"home = {str(stand.home)!r}\n"
        f"for name in {hidden!r}:\n"
        "    try: print(name, os.listdir(home + '/' + name))\n"
        "    except OSError as error: print(error.strerror)\n"
        "for name in ('redis', 'api', 'gate', 'worker'):\n"
        "    try: print(name, socket.getaddrinfo(name, 80))\n"
        "    except OSError as error: print('no', name)\n"
        "try: os.symlink('/', home + '/link')\n"
        "except OSError as error: print(error.strerror)\n"
        "print(os.access(home + '/fumehood.db', os.W_OK), os.access(home + '/config/settings.env', os.W_OK))\n"
    )
    said = docker("exec", stand.containers()["courier"], "python", "-c", code).splitlines()
    nobody = ["no redis", "no api", "no gate", "no worker"]
    assert said == ["Permission denied"] * len(hidden) + nobody + ["Operation not permitted", "True False"]
    found = stand.inspect("courier")
    assert sorted(found["NetworkSettings"]["Networks"]) == [f"{stand.project}_store", f"{stand.project}_world"]


def gateway(stand: Stand) -> str:
    """The host, as the courier reaches it."""
    found: str = stand.inspect("courier")["NetworkSettings"]["Networks"][f"{stand.project}_world"]["Gateway"]
    return found


def test_a_job_s_end_arrives_signed_where_the_operator_allows_it(stand: Stand) -> None:
    settings = stand.home / "config" / "settings.env"
    before = settings.read_text()
    receiver = Receiver("0.0.0.0")
    with receiving(receiver):
        document = {"script": "def azureml_main():\n    pass\n", "callback_url": f"http://{gateway(stand)}:{receiver.port}/hook"}
        with stand.client() as client:
            refused = client.post("/v1/jobs", json=document)
            assert [error["pointer"] for error in refused.json()["errors"]] == ["/callback_url"]
        try:
            settings.write_text(f"{before}FUMEHOOD_WEBHOOK_ALLOW=10.0.0.0/8,172.16.0.0/12,192.168.0.0/16\n")
            stand.setup("start")
            document["callback_url"] = f"http://{gateway(stand)}:{receiver.port}/hook"
            with stand.client() as client:
                secret = client.get("/v1/webhooks/secret").json()["secret"]
                job = client.post("/v1/jobs", json=document).raise_for_status().json()["id"]
                until(lambda: receiver.got, seconds=90, what="the message arrives")
                (got,) = receiver.got
                assert verify(got.body, got.headers, secret) == got.headers["webhook-id"]
                assert json.loads(got.body)["data"]["id"] == job
                wanted = {"state": "delivered", "about": job}
                until(lambda: client.get("/v1/webhooks/deliveries", params=wanted).json()["items"], seconds=30, what="it is written down")
        finally:
            settings.write_text(before)
            stand.setup("start")

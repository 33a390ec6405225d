"""Tenants and their keys, datasets, workers: what the store keeps besides jobs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fumehood.errors import Misconfigured, NotFound
from fumehood.image import Image, labelled
from fumehood.job_store import JobStore
from fumehood.tenant import new_key
from fumehood.testing import dataset


def test_a_tenant_is_made_once_and_may_have_several_keys(store: JobStore) -> None:
    first, second = new_key(), new_key()
    made = store.ensure_tenant("lab", first)
    assert store.ensure_tenant("lab", first) == made == store.ensure_tenant("lab", second)
    assert store.tenant_of_key(first) == made == store.tenant_of_key(second)
    assert store.ensure_tenant("other lab", new_key()).id != made.id


@pytest.mark.parametrize(
    "spoil", [lambda key: key[:-1] + ("0" if key[-1] != "0" else "1"), lambda _: new_key(), lambda key: key + " ", lambda _: ""]
)
def test_a_key_that_is_not_known_belongs_to_nobody(store: JobStore, spoil: Any) -> None:
    key = new_key()
    store.ensure_tenant("lab", key)
    assert store.tenant_of_key(spoil(key)) is None


def test_a_key_is_nowhere_in_the_store(store: JobStore, store_url: str) -> None:
    key = new_key()
    store.ensure_tenant("lab", key)
    store.close()
    if store_url.startswith("sqlite:///"):
        with open(store_url.removeprefix("sqlite:///"), "rb") as file:
            assert key.rpartition("_")[2].encode() not in file.read()


def test_what_is_no_key_is_refused_without_repeating_it(store: JobStore) -> None:
    with pytest.raises(Misconfigured) as caught:
        store.ensure_tenant("lab", "hunter2")
    assert "hunter2" not in str(caught.value)


def test_two_keys_cannot_share_a_prefix(store: JobStore) -> None:
    key = new_key()
    store.ensure_tenant("lab", key)
    twin = key[:16] + new_key()[16:]
    with pytest.raises(Misconfigured, match=key[3:15]):
        store.ensure_tenant("lab", twin)
    with pytest.raises(Misconfigured):
        store.ensure_tenant("other lab", key)


def test_a_dataset_comes_back_as_it_was_added(store: JobStore, clock: Any) -> None:
    asked = dataset(name="naïve.csv", rows=2**40, bytes=2**36)
    stored, new = store.add_dataset(asked)
    assert new
    assert asked.kept_seconds is not None
    assert stored == replace(asked, created_at=clock.now, expires_at=clock.now + asked.kept_seconds)
    assert stored == store.get_dataset("ten_test", asked.id) == store.find_dataset("ten_test", sha256=asked.sha256, format="csv")


def test_the_same_bytes_in_the_same_format_are_one_dataset(store: JobStore) -> None:
    first, _ = store.add_dataset(dataset(sha256="f" * 64))
    assert store.add_dataset(dataset(sha256="f" * 64, name="another name")) == (first, False)
    for other in (dataset(sha256="f" * 64, format="json"), dataset(sha256="f" * 64, tenant="ten_other")):
        assert store.add_dataset(other)[1]


def test_a_deleted_dataset_is_gone_and_may_come_again(store: JobStore) -> None:
    stored, _ = store.add_dataset(dataset())
    assert store.delete_dataset("ten_test", stored.id) == stored
    for ask in (store.get_dataset, store.delete_dataset):
        with pytest.raises(NotFound):
            ask("ten_test", stored.id)
    assert store.find_dataset("ten_test", sha256=stored.sha256, format="csv") is None
    assert store.add_dataset(stored) == (stored, True)


def test_datasets_are_listed_newest_first(store: JobStore) -> None:
    ids = [store.add_dataset(dataset())[0].id for _ in range(3)]
    page, cursor = store.list_datasets("ten_test", limit=2)
    assert [each.id for each in page] == ids[:0:-1]
    rest, end = store.list_datasets("ten_test", before=cursor, limit=2)
    assert ([each.id for each in rest], end) == (ids[:1], None)


def test_datasets_are_found_by_their_exact_name(store: JobStore) -> None:
    ids = [store.add_dataset(dataset(name=name))[0].id for name in ("a.csv", "b.csv", "a.csv", "A.csv", "a.csv")]
    page, cursor = store.list_datasets("ten_test", name="a.csv", limit=2)
    assert [each.id for each in page] == [ids[4], ids[2]]
    rest, end = store.list_datasets("ten_test", name="a.csv", before=cursor, limit=2)
    assert ([each.id for each in rest], end) == ([ids[0]], None)
    assert store.list_datasets("ten_other", name="a.csv") == ([], None)


def test_workers_are_there_while_they_are_seen(store: JobStore, clock: Any) -> None:
    store.worker_beat("worker-1", {"ready": False, "why": "no image"})
    store.worker_beat("worker-2", {"ready": True})
    clock.now += 10
    store.worker_beat("worker-1", {"ready": True})
    assert store.workers(seen_within_seconds=5) == [{"worker": "worker-1", "seen_at": clock.now, "ready": True}]
    assert [each["worker"] for each in store.workers(seen_within_seconds=10)] == ["worker-1", "worker-2"]
    store.forget_worker("worker-1")
    store.forget_worker("worker-1")
    assert [each["worker"] for each in store.workers(seen_within_seconds=10)] == ["worker-2"]


DIGEST = "sha256:" + "a" * 64


def test_an_image_is_kept_with_what_is_in_it(store: JobStore, clock: Any) -> None:
    store.keep_image(labelled(DIGEST, '{"python": "3.13.1", "packages": {"numpy": "2.4.6", "pandas": "3.0.1"}}'))
    clock.now += 10
    store.keep_image(Image(digest="sha256:" + "b" * 64))
    store.keep_image(Image(digest=DIGEST))
    known = Image(digest=DIGEST, python="3.13.1", packages={"numpy": "2.4.6", "pandas": "3.0.1"}, seen_at=clock.now)
    assert store.get_image(DIGEST) == known
    assert store.images() == [known, Image(digest="sha256:" + "b" * 64, seen_at=clock.now)]
    with pytest.raises(NotFound):
        store.get_image("sha256:" + "c" * 64)


@pytest.mark.parametrize("label", [None, "", "[]", "nonsense", '{"python": 3, "packages": ["numpy"]}', '{"packages": {"numpy": 2}}'])
def test_a_label_of_another_shape_says_nothing(label: str | None) -> None:
    assert labelled(DIGEST, label) == Image(digest=DIGEST)

"""Check which texts are paths inside a lake, and which links in it are followed."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import boto3
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from moto.server import ThreadedMotoServer

from crypto_assets.errors import StoredDataError, UnsafePath
from crypto_assets.storage.files import content_of
from crypto_assets.storage.inside import inside, safe_name
from crypto_assets.storage.open_store import open_store
from crypto_assets.storage.stores import FolderStore, Store
from crypto_assets_tests.storage.other_user import STRANGER, needs_root

DAY = "exchange=binance/market_type=spot/dataset=ohlcv_1m/symbol=BTC-USDT/date=2024-01-01/data.parquet"

OUTSIDE: dict[str, Any] = {
    "absolute": "/etc/cron.d/x",
    "absolute twice": "//etc/cron.d/x",
    "up": "../x",
    "up in the middle": "staging/../../x",
    "up at the end": "staging/..",
    "up by a backslash": "..\\..\\x",
    "here": "./x",
    "here in the middle": "a/./x",
    "an empty name": "a//x",
    "a slash at the end": "a/x/",
    "nothing": "",
    "NUL": "a\0b",
    "a line end": "a\nb",
    "a line end at the end": "a\n",
    "a terminal code": "a\x1b]0;title\x07",
    "a terminal code of one byte": "a\x9b2J",
    "half a surrogate pair": "a\udcffb",
    "a long name": "a" * 256,
    "a long name of few letters": "币" * 86,
    "a long path": "/".join(["a" * 100] * 11),
    "bytes": b"/etc/passwd",
    "a number": 7,
}

USES: dict[str, Callable[[Store, Any], Any]] = {
    "put": lambda store, path: store.put(path, b"theirs"),
    "create": lambda store, path: store.create(path, b"theirs"),
    "get": lambda store, path: store.get(path),
    "open": lambda store, path: store.open(path),
    "delete": lambda store, path: store.delete(path),
    "keep from": lambda store, path: store.keep(path, "versions/x"),
    "keep to": lambda store, path: store.keep(DAY, path),
    "publish": lambda store, path: store.stage("staging/a/0.staged", b"theirs").publish(path),
}


@pytest.fixture(scope="module")
def bucket() -> Any:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    s3 = boto3.client(
        "s3",
        endpoint_url=f"http://{host}:{port}",
        aws_access_key_id="key",
        aws_secret_access_key="secret",
        region_name="us-east-1",
    )
    yield s3
    server.stop()


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "folder":
        store: Store = FolderStore(tmp_path / "deep" / "lake")
    else:
        s3 = request.getfixturevalue("bucket")
        name = f"lake-{uuid4().hex[:8]}"
        s3.create_bucket(Bucket=name)
        store = open_store(f"s3://{name}/some/prefix", lambda: s3)
    store.put(DAY, b"ours")
    return store


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_no_use_of_a_store_takes_a_path_that_leads_outside(
    store: Store, tmp_path: Path, use: Callable[..., Any]
) -> None:
    taken = []
    for name, path in OUTSIDE.items():
        with suppress(UnsafePath):
            use(store, path)
            taken.append(name)
    assert taken == []
    assert [path for path in store.paths("") if not path.startswith("staging/")] == [DAY]
    assert store.get(DAY) == b"ours"
    assert [p for p in tmp_path.rglob("*") if p.is_file() and not p.is_relative_to(tmp_path / "deep" / "lake")] == []


@pytest.mark.parametrize("prefix", ["../", "/etc/", "a/../../", "a//b/", "\0/"])
def test_no_listing_leads_outside(store: Store, prefix: str) -> None:
    for listing in (store.paths, store.children):
        with pytest.raises(UnsafePath):
            list(listing(prefix))
    with pytest.raises(UnsafePath):
        store.sizes(prefix, "x", "", "~")


def test_a_message_names_the_text_and_stays_short() -> None:
    with pytest.raises(UnsafePath, match=r"^\.\./x: expected a path inside /lake, found one with \.\. or \. in it; "):
        inside("/lake", "../x")
    with pytest.raises(UnsafePath) as long:
        inside("/lake", "../" + "x" * 1_000_000)
    assert len(str(long.value)) < 400
    with pytest.raises(UnsafePath) as coded:
        inside("/lake", "a\x1b[2J\nb")
    assert "a\\x1b[2J\\nb" in str(coded.value)


@pytest.mark.parametrize(
    "path", [DAY, "_lake.json", ".hidden", "a..b/c.", "...", "币安人生-USDT/x y", "a" * 255, "a|b=c:d"]
)
def test_paths_of_ours_and_odd_names_are_inside(path: str) -> None:
    assert inside("/lake", path) == f"/lake/{path}"


@given(st.text(st.characters(), max_size=60) | st.text("./\\a\0\n", max_size=12))
@example("../" * 20 + "etc/passwd")
def test_whatever_is_accepted_lies_below_the_root(text: str) -> None:
    try:
        path = inside("/a/root", text)
    except UnsafePath:
        return
    assert os.path.normpath(path) == path
    assert path.startswith("/a/root/")
    assert path.isprintable() or not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in path)
    os.fsencode(path)


@given(st.text(st.characters(), max_size=300) | st.text("./\\a\0\n", max_size=12) | st.just("../" + "x/" * 5_000))
def test_any_key_of_an_exchange_makes_a_path(key: str) -> None:
    assert inside("/lake", f"quarantine/{safe_name(key)}.0123456789ab.reason.json").startswith("/lake/quarantine/")


@pytest.mark.parametrize("what", ["a link", "a pipe", "a folder", "a device"])
def test_what_is_no_file_is_not_read_and_is_replaced_not_written_into(tmp_path: Path, what: str) -> None:
    store = FolderStore(tmp_path / "lake")
    place, victim = tmp_path / "lake" / DAY, tmp_path / "victim"
    place.parent.mkdir(parents=True)
    victim.write_bytes(b"secret")
    if what == "a link":
        place.symlink_to(victim)
    elif what == "a pipe":
        os.mkfifo(place)
    elif what == "a folder":
        place.mkdir()
    else:
        try:
            os.mknod(place, 0o020600, os.makedev(1, 5))  # /dev/zero, which is endless
        except PermissionError:
            pytest.skip("only root may make a device")
    for use in (store.get, store.open):
        with pytest.raises(StoredDataError, match="expected a file, found "):
            use(DAY)
    assert store.sizes(DAY.rpartition("/date=")[0] + "/", "data.parquet", "", "~") == {}
    assert not store.create(DAY, b"ours")
    store.put(DAY, b"ours")
    assert store.get(DAY) == b"ours"
    assert victim.read_bytes() == b"secret"


def test_a_bad_place_of_the_disk_speaks_of_its_file() -> None:
    if not Path("/proc/self/mem").exists():
        pytest.skip("there is no file here that answers with EIO")
    with pytest.raises(
        StoredDataError, match=r"/proc/self/mem: expected a readable file, found one that cannot be read"
    ):
        content_of(Path("/proc/self/mem"))


@pytest.mark.parametrize("where", ["quarantine/a", "versions/a", "staging/a"])
def test_no_link_is_followed_where_nobody_needs_one(tmp_path: Path, where: str) -> None:
    store = FolderStore(tmp_path / "lake")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "x").write_bytes(b"secret")
    (tmp_path / "lake" / where).parent.mkdir(parents=True)
    (tmp_path / "lake" / where).symlink_to(tmp_path / "elsewhere")
    for use in USES.values():
        if use not in (USES["keep from"], USES["keep to"], USES["publish"]):
            with pytest.raises(UnsafePath, match="expected a folder, found a link"):
                use(store, f"{where}/x")
    with pytest.raises(UnsafePath, match="found a link"):
        list(store.children(f"{where}/"))
    assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == ["x"]
    assert (tmp_path / "elsewhere" / "x").read_bytes() == b"secret"


def test_a_part_of_the_lake_may_lie_behind_a_link_of_its_own(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "lake")
    (tmp_path / "disk").mkdir()
    (tmp_path / "lake").mkdir()
    for name in ("exchange=binance", "versions"):
        (tmp_path / "disk" / name).mkdir()
        (tmp_path / "lake" / name).symlink_to(tmp_path / "disk" / name)
    store.put(DAY, b"ours")
    store.keep(DAY, "versions/x.parquet")
    assert (tmp_path / "disk" / DAY).read_bytes() == store.get("versions/x.parquet") == b"ours"
    folder = DAY.rpartition("/date=")[0] + "/"
    assert store.sizes(folder, "data.parquet", "", "~") == {"date=2024-01-01": 4}


@needs_root
@pytest.mark.parametrize("link", ["exchange=binance", "/".join(DAY.split("/")[:4]), DAY.rpartition("/")[0]])
def test_a_link_of_another_user_is_not_followed(tmp_path: Path, link: str) -> None:
    store = FolderStore(tmp_path / "lake")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "lake" / link).parent.mkdir(parents=True)
    (tmp_path / "lake" / link).symlink_to(tmp_path / "elsewhere")
    os.lchown(tmp_path / "lake" / link, 65_534, 65_534)
    for use in (
        store.get,
        store.open,
        store.delete,
        lambda path: store.put(path, b"x"),
        store.stage("staging/a", b"x").publish,
    ):
        with pytest.raises(UnsafePath, match="found a link of user 65534; remove it, or make it yours"):
            use(DAY)
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert (
        store.sizes(DAY.rpartition("/date=")[0] + "/", "data.parquet", "", "~") == {} if link.count("/") == 4 else True
    )


def test_sweeping_removes_links_and_nothing_behind_them(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "lake")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "x").write_bytes(b"secret")
    store.put("staging/a/1.former", b"x")
    (tmp_path / "lake/staging/a/file").symlink_to(tmp_path / "elsewhere" / "x")
    (tmp_path / "lake/staging/a/gone").symlink_to(tmp_path / "nothing")
    (tmp_path / "lake/staging/a/folder").symlink_to(tmp_path / "elsewhere")
    store.sweep(-60.0, ())
    assert (tmp_path / "elsewhere" / "x").read_bytes() == b"secret"
    assert not os.path.lexists(tmp_path / "lake/staging/a/file")
    assert not os.path.lexists(tmp_path / "lake/staging/a/gone")


def test_many_threads_may_use_a_store(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "lake")
    threads = [threading.Thread(target=store.put, args=(DAY, bytes([n]))) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.get(DAY) in {bytes([n]) for n in range(8)}


@needs_root
@pytest.mark.parametrize(
    ("owner", "follows"), [(0, True), (STRANGER, True), (STRANGER + 1, True), (STRANGER + 2, False)]
)
def test_a_link_is_followed_for_a_user_who_reads_a_lake_of_another_one(owner: int, follows: bool) -> None:
    """It may belong to root, to the user or to the owner of the lake, and to nobody else."""
    with TemporaryDirectory(dir="/tmp") as name:
        folder, disk = Path(name), Path(name) / "disk"
        folder.chmod(0o755)
        FolderStore(disk).put(DAY, b"ours")
        store = FolderStore(folder / "lake")
        (folder / "lake").mkdir()
        (folder / "lake" / "exchange=binance").symlink_to(disk / "exchange=binance")
        os.chown(folder / "lake", STRANGER + 1, -1)
        os.lchown(folder / "lake" / "exchange=binance", owner, -1)
        os.seteuid(STRANGER)
        try:
            if follows:
                assert store.get(DAY) == b"ours"
            else:
                with pytest.raises(UnsafePath, match=f"found a link of user {owner}"):
                    store.get(DAY)
        finally:
            os.seteuid(0)

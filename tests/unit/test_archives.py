"""Archives unpack whole and beneath their folder, or not at all."""

import io
import stat
import tarfile
import zipfile
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from disks import full_at

from polymodal.datasets import archives
from polymodal.datasets.archives import is_unpacked, unpack
from polymodal.datasets.download import Remote, fetch
from polymodal.datasets.transfer import md5_of

TREE = {"a/one.txt": b"one" * 1000, "a/b/two.bin": bytes(range(256)) * 50, "three.txt": b"", "a/ä ö.txt": b"letters"}
KINDS = ("tar", "tgz", "tar.xz", "zip")
PLENTY = 2**30


def pack(path, tree, change=None):
    """An archive of the kind that its name ends in; `change` may make something else of a tar's or zip's members."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr("a/", b"")
            for name, content in tree.items():
                member = zipfile.ZipInfo(name)
                member.external_attr = (stat.S_IFREG | 0o600) << 16
                file.writestr(change(member) if change else member, content)
        return path
    compression = {".tgz": "gz", ".xz": "xz"}.get(path.suffix, "")
    with tarfile.open(path, f"w:{compression}") as file:
        folder = tarfile.TarInfo("a")
        folder.type = tarfile.DIRTYPE
        file.addfile(folder)
        for name, content in tree.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            file.addfile(change(member) if change else member, io.BytesIO(content))
    return path


def held(root, *, besides=()):
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and path not in besides and not path.name.endswith(".unpacked")
    }


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


def refused(archive, most=PLENTY):
    """The sentence of an archive that is refused, which leaves its folder, and what is around it, as they were."""
    above = archive.parents[1]
    before = sorted(above.rglob("*"))
    with pytest.raises(ValueError, match="must") as caught:
        unpack(archive, archive.parent, "key", most=most)
    assert sorted(above.rglob("*")) == before
    assert not is_unpacked(archive, archive.parent, "key")
    assert str(archive) in str(caught.value)
    return str(caught.value)


@pytest.fixture
def root(tmp_path):
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


def test_all_of_it_is_unpacked(root, kind):
    archive = pack(root / f"x.{kind}", TREE)
    assert not is_unpacked(archive, root, "key")
    unpack(archive, root, "key", most=sum(map(len, TREE.values())))
    assert held(root, besides=[archive]) == TREE
    assert is_unpacked(archive, root, "key")
    assert not is_unpacked(archive, root, "another version's")
    assert {path.name for path in root.iterdir()} == {"a", "three.txt", archive.name, f".{archive.name}.unpacked"}


def test_the_archive_may_be_removed_and_what_it_held_may_not(root, kind):
    archive = pack(root / f"x.{kind}", TREE)
    unpack(archive, root, "key", most=PLENTY)
    archive.unlink()
    assert is_unpacked(archive, root, "key")
    (root / "three.txt").unlink()
    assert not is_unpacked(archive, root, "key")


def test_what_else_is_there_stays_and_what_is_of_the_archive_is_replaced(root, kind):
    (root / "a" / "mine").mkdir(parents=True)
    (root / "a" / "mine" / "notes.txt").write_bytes(b"years")
    (root / "a" / "one.txt").write_bytes(b"half of i")
    archive = pack(root / f"x.{kind}", TREE)
    unpack(archive, root, "key", most=PLENTY)
    assert held(root, besides=[archive]) == {**TREE, "a/mine/notes.txt": b"years"}


@pytest.mark.parametrize("name", ["../out.txt", "a/../../out.txt", "/tmp/out.txt", "a\\..\\out.txt", "C:out.txt"])
def test_paths_outside_the_folder_are_refused(root, kind, name):
    def change(member):
        kind = "filename" if isinstance(member, zipfile.ZipInfo) else "name"
        if getattr(member, kind) == "bad":
            setattr(member, kind, name)
        return member

    archive = pack(root / f"x.{kind}", {"a/fine.txt": b"fine", "bad": b"bad"}, change)
    assert "only paths inside its folder; it contains" in refused(archive)


@pytest.mark.parametrize("type_", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_tar_are_refused(root, type_):
    def change(member):
        if member.name == "bad":
            member.type, member.linkname, member.size = type_, "/etc/passwd", 0
        return member

    archive = pack(root / "x.tgz", {"a/fine.txt": b"fine", "bad": b""}, change)
    assert "only files and folders; bad is a link" in refused(archive)


def test_links_in_a_zip_are_refused(root):
    def change(member):
        member.external_attr = (stat.S_IFLNK | 0o777) << 16
        return member

    assert "only files and folders; bad is a link" in refused(pack(root / "x.zip", {"bad": b"/etc/passwd"}, change))


def test_more_than_it_may_hold_is_refused_before_it_is_written(root, kind, monkeypatch):
    monkeypatch.setattr(archives, "_extract_members", None)
    archive = pack(root / f"x.{kind}", {"zeros": bytes(5_000_000)})
    assert "must hold at most 4,999,999 bytes; it holds 5,000,000" in refused(archive, most=4_999_999)


def test_a_zip_whose_index_lies_is_refused(root):
    archive = pack(root / "x.zip", {"zeros": bytes(100_000)})
    told = archive.read_bytes()
    archive.write_bytes(told.replace((100_000).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    assert "must be a complete .zip or .tar" in refused(archive)


@pytest.mark.parametrize("left", [0.0, 0.3, 0.9])
def test_archives_that_are_cut_short_are_refused(root, kind, left):
    archive = pack(root / f"x.{kind}", {"a/noise.bin": b"".join(i.to_bytes(3, "big") for i in range(30_000))})
    archive.write_bytes(archive.read_bytes()[: int(left * archive.stat().st_size)])
    assert "must be a complete .zip or .tar" in refused(archive)


def test_damaged_archives_are_refused(root):
    for kind in ("zip", "tar.xz"):  # a tgz does not tell; it is `fetch` that looks at its checksum
        archive = pack(root / f"x.{kind}", {"a/one.txt": TREE["a/b/two.bin"]})
        told = bytearray(archive.read_bytes())
        told[len(told) // 3] ^= 255
        archive.write_bytes(told)
        refused(archive)


def test_what_is_no_archive_is_refused(root, kind):
    (root / f"x.{kind}").write_text("<html>" * 1000)
    assert "must be a complete .zip or .tar" in refused(root / f"x.{kind}")


def test_a_full_disk_leaves_nothing(root):
    archive = pack(root / "x.tgz", {"zeros": bytes(3_000_000)})
    with full_at(1_000_000), pytest.raises(OSError, match=r"x\.tgz could not be unpacked into .*: File too large$"):
        unpack(archive, root, "key", most=PLENTY)
    assert list(root.iterdir()) == [archive]


def test_what_a_killed_process_left_is_no_hindrance(root, kind):
    archive = pack(root / f"x.{kind}", TREE)
    (root / f".{archive.name}.unpacking").mkdir()
    (root / f".{archive.name}.unpacking" / "junk").write_text("half")
    unpack(archive, root, "key", most=PLENTY)
    assert held(root, besides=[archive]) == TREE


def test_an_archive_is_fetched_and_unpacked_once(root, tmp_path, kind, capsys):
    served = tmp_path / "served"
    served.mkdir()
    archive = pack(served / f"x.{kind}", TREE)
    asked = []

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *told):
            super().__init__(*told, directory=str(served))

        def log_message(self, *told):
            asked.append(told)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/{archive.name}"
        remote = Remote(url, archive.name, md5_of(archive), archive.stat().st_size, unpack=True)
        fetch([remote], root, "")
        assert held(root, besides=[root / archive.name]) == TREE
        fetch([remote], root, "")
        assert len(asked) == 1
        (root / "a" / "one.txt").unlink()
        (root / "three.txt").unlink()
        fetch([remote], root, "")
        assert held(root, besides=[root / archive.name]) == TREE
        assert len(asked) == 1  # the archive was still there
        server.shutdown()
    assert "unpacking x." in capsys.readouterr().err

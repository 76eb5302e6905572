from __future__ import annotations

import datetime as dt
import gzip
import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from chatwright.errors import DataError
from chatwright.sources import archives
from chatwright.sources.archives import is_archive, open_archive

TIME = 1_600_000_000


def make_tar(path: Path, members: dict[str, bytes | tuple[str, str]], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.mtime = TIME
            if isinstance(content, tuple):
                info.type = tarfile.SYMTYPE if content[0] == "sym" else tarfile.LNKTYPE
                info.linkname = content[1]
                tar.addfile(info)
            else:
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return path


def contents(path: Path) -> dict[str, bytes]:
    with open_archive(path) as archive:
        return {m.path: m.open().read() for m in archive.members}


@pytest.mark.parametrize(
    ("name", "mode"),
    [("a.tar.gz", "w:gz"), ("a.tgz", "w:gz"), ("a.tar.bz2", "w:bz2"), ("a.tar.xz", "w:xz"),
     ("a.tar", "w")],
)  # fmt: skip
def test_members_come_sorted_without_their_top_folder(
    tmp_path: Path, cache: Path, name: str, mode: str
) -> None:
    members = {f"pkg-1.0/{n}": n.encode() * 99 for n in ("z.txt", "doc/b.html", "doc/a.html", "m")}
    path = make_tar(tmp_path / name, dict(members), mode)
    with open_archive(path) as archive:
        assert [m.path for m in archive.members] == ["doc/a.html", "doc/b.html", "m", "z.txt"]
        assert {m.time for m in archive.members} == {dt.datetime.fromtimestamp(TIME, dt.UTC)}
        for member in reversed(archive.members):  # any order will do
            assert member.open().read() == members[member.name]
    assert list(cache.glob("*")) == []


def test_zip(tmp_path: Path) -> None:
    path = tmp_path / "a.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(zipfile.ZipInfo("pkg/x.txt", (2021, 2, 3, 4, 5, 6)), b"x" * 1000)
        file.writestr(zipfile.ZipInfo("pkg-1.dist-info/y.txt"), "y")
        link = zipfile.ZipInfo("pkg/link")
        link.external_attr = 0o120777 << 16
        file.writestr(link, "/etc/passwd")
    with open_archive(path) as archive:
        assert [m.path for m in archive.members] == ["pkg-1.dist-info/y.txt", "pkg/x.txt"]
        assert [m.time for m in archive.members] == [
            None,  # 1980-01-01 is what a zip says that knows no time
            dt.datetime(2021, 2, 3, 4, 5, 6, tzinfo=dt.UTC),
        ]
        assert archive.skipped == [("pkg/link", "link")]
        assert archive.members[1].open().read() == b"x" * 1000


def test_names_that_lead_out_and_links_are_put_aside(tmp_path: Path) -> None:
    path = make_tar(
        tmp_path / "a.tar.gz",
        {
            "pkg/good.txt": b"good",
            "../../evil.txt": b"evil",
            "/etc/evil.txt": b"evil",
            "pkg/../../evil2.txt": b"evil",
            "C:/evil3.txt": b"evil",
            "pkg\\evil4.txt": b"evil",
            "pkg/link": ("sym", "/etc/passwd"),
            "pkg/hard": ("hard", "pkg/good.txt"),
        },
    )
    with open_archive(path) as archive:
        assert [m.path for m in archive.members] == ["good.txt"]
        assert len(archive.skipped) == 7
    assert sorted(p.name for p in tmp_path.rglob("*evil*")) == []


def test_the_last_of_two_members_with_one_name_counts(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as tar:
        for content in (b"old", b"newer"):
            info = tarfile.TarInfo("top/a.txt")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    assert contents(path) == {"a.txt": b"newer"}


def test_a_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    monkeypatch.setattr(archives, "_SMALL", 1 << 20)
    path = make_tar(tmp_path / "bomb.tar.gz", {"zeros": b"\0" * 50_000_000})
    with pytest.raises(DataError, match="swells"), open_archive(path):
        pass
    zipped = tmp_path / "bomb.zip"
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("zeros", b"\0" * 50_000_000)
    with pytest.raises(DataError, match="would fill"), open_archive(zipped):
        pass
    assert list(cache.glob("*")) == []


def test_a_cut_archive_gives_what_is_whole_and_says_so(tmp_path: Path) -> None:
    members = {f"top/{n:03}.txt": bytes([n]) * 5000 for n in range(100)}
    import random

    noise = random.Random(0)
    members = {name: noise.randbytes(5000) for name in members}
    path = make_tar(tmp_path / "a.tar.gz", dict(members))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with open_archive(path) as archive:
        assert archive.broken
        whole = 0
        for member in archive.members:
            try:
                data = member.open().read()
            except tarfile.TarError:
                continue
            if len(data) == member.size:
                assert data == members[f"top/{member.path}"]
                whole += 1
        assert 40 <= whole <= 50


@pytest.mark.parametrize("name", ["a.tar.gz", "a.zip", "a.tar", "a.whl"])
@pytest.mark.parametrize(
    "content", [b"", b"this is no archive at all", gzip.compress(b"nor this", mtime=0)]
)
def test_what_is_no_archive(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match="not a readable archive") as caught, open_archive(path):
        pass
    assert caught.value.where == str(path)


def test_impossible_times_are_no_times(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as tar:
        for number, mtime in enumerate((0, -5, 10**15)):
            info = tarfile.TarInfo(f"t/{number}")
            info.mtime = mtime
            tar.addfile(info)
    with open_archive(path) as archive:
        assert [m.time for m in archive.members] == [None, None, None]


def test_which_names_are_archives() -> None:
    assert all(map(is_archive, ["a.tar.gz", "A.TGZ", "b.zip", "c.whl", "d.tar", "e.tar.zst"]))
    assert not any(map(is_archive, ["a.gz", "a.warc.gz", "tar", "a.tar.txt", "zip.jsonl.gz"]))

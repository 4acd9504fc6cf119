"""A backup as a file: round trips, every kind of damage, and what the system refuses."""

import errno
import hashlib
import json
import os
import random
import stat
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from chargewatch.server.db.backups import archive as archives
from chargewatch.server.db.backups.archive import (
    BackupError,
    Manifest,
    SequenceEntry,
    TableEntry,
    check_target,
    new_archive,
    open_archive,
)

ROWS = {
    "tenants": b"1\tnorth\n2\tsouth\n",
    "sessions": b"1\t" + bytes(range(32, 127)) * 50 + b"\n",
    "empty": b"",
}
KEY = b"k" * 40


def manifest(entries: list[TableEntry], *, has_secret_key: bool = False) -> Manifest:
    return Manifest(
        chargewatch="0.2.0",
        schema="0002",
        postgresql="15.4",
        created_at=datetime(2026, 2, 27, 10, tzinfo=UTC),
        secret_key_fingerprint="00c0ffee",
        has_secret_key=has_secret_key,
        tables=tuple(entries),
        sequences=(SequenceEntry(name="entries", last_value=7, is_called=True),),
    )


def write(path: Path, rows: dict[str, bytes] = ROWS, secret_key: bytes | None = None) -> Manifest:
    with new_archive(path) as archive:
        entries = []
        for name, text in rows.items():
            with archive.table(name) as member:
                for start in range(0, len(text), 1000):
                    member.write(text[start : start + 1000])
                entries.append(
                    TableEntry(
                        name=name,
                        columns=("id", "name"),
                        rows=text.count(b"\n"),
                        bytes=member.bytes,
                        sha256=member.sha256,
                    )
                )
        written = manifest(entries, has_secret_key=secret_key is not None)
        archive.finish(written, secret_key)
    return written


def read(path: Path) -> tuple[Manifest, dict[str, bytes], bytes | None]:
    with open_archive(path) as archive:
        archive.verify(lambda what, more: None)
        rows = {table.name: b"".join(archive.rows_of(table)) for table in archive.manifest.tables}
        return archive.manifest, rows, archive.secret_key() if archive.manifest.has_secret_key else None


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "monday.backup"


def test_what_was_written_is_read(path: Path) -> None:
    written = write(path)
    assert read(path) == (written, ROWS, None)
    assert written.rows() == {"tenants": 2, "sessions": 1, "empty": 0}
    assert written.tables[0].sha256 == hashlib.sha256(ROWS["tenants"]).hexdigest()
    assert names(path.parent) == ["monday.backup"]


def test_it_is_closed_to_others_and_any_unzip_opens_it(path: Path) -> None:
    before = os.umask(0)
    try:
        write(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with zipfile.ZipFile(path) as plain:
        assert plain.testzip() is None
        assert plain.namelist() == [*(f"data/{name}.copy" for name in ROWS), "manifest.json"]
        text = json.loads(plain.read("manifest.json"))
    assert list(text)[:3] == ["format", "format_version", "chargewatch"]


def test_the_secret_key_is_in_it_only_when_that_was_asked_for(path: Path) -> None:
    write(path, secret_key=KEY)
    assert read(path)[2] == KEY
    write(path)
    with zipfile.ZipFile(path) as plain:
        assert "secret_key" not in plain.namelist()


def test_progress_is_told(path: Path) -> None:
    write(path)
    told: dict[str, int] = {}
    with open_archive(path) as archive:
        archive.verify(lambda what, more: told.update({what: told.get(what, 0) + more}))
    assert told == {f"checking {name}": len(text) for name, text in ROWS.items() if text}


# --- where it goes -----------------------------------------------------------------------------------------


def test_a_file_that_is_there_is_kept(path: Path) -> None:
    assert check_target(path, overwrite=False) == path
    path.write_text("precious")
    with pytest.raises(BackupError, match=r"monday\.backup exists already: .* --force"):
        check_target(path, overwrite=False)
    assert check_target(path, overwrite=True) == path
    write(path)
    assert read(path)[1] == ROWS


def test_places_where_no_file_can_be(tmp_path: Path) -> None:
    for place, said in [("nowhere/monday", "there is no folder"), (".", "something else than a file")]:
        with pytest.raises(BackupError, match=said):
            check_target(tmp_path / place, overwrite=True)


def test_the_target_of_a_link_is_written(tmp_path: Path, path: Path) -> None:
    (tmp_path / "disk").mkdir()
    path.symlink_to(tmp_path / "disk" / "monday")
    write(check_target(path, overwrite=False))
    assert path.is_symlink()
    assert names(tmp_path / "disk") == ["monday"]


def test_a_failure_leaves_nothing_and_what_was_there(path: Path) -> None:
    path.write_text("the one of yesterday")
    with (  # noqa: PT012
        pytest.raises(ZeroDivisionError),
        new_archive(path) as archive,
        archive.table("sessions") as member,
    ):
        member.write(b"half of it")
        raise ZeroDivisionError
    assert names(path.parent) == ["monday.backup"]
    assert path.read_text() == "the one of yesterday"


@pytest.mark.parametrize("room", [0, 10, 200, 3000])
def test_a_full_disk_leaves_nothing(path: Path, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    left = room
    really_write = os.write

    def write_while_there_is_room(descriptor: int, data: bytes) -> int:
        nonlocal left
        if left <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = really_write(descriptor, data[:left])
        left -= written
        return written

    monkeypatch.setattr(archives.os, "write", write_while_there_is_room)
    noise = random.Random(1).randbytes(20_000)
    with pytest.raises(BackupError, match=r"No space left on device; no backup was made: .* make room there"):
        write(path, {"tenants": ROWS["tenants"], "sessions": noise})
    assert names(path.parent) == []


def test_a_folder_that_takes_no_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> int:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(archives.os, "open", refuse)
    with pytest.raises(BackupError, match=r"cannot write .*: Permission denied"):
        write(path)


# --- what is read ------------------------------------------------------------------------------------------


def test_files_that_are_no_backup(path: Path, tmp_path: Path) -> None:
    with pytest.raises(BackupError, match=r"cannot read .*: No such file"):
        read(path)
    with pytest.raises(BackupError, match=r"cannot read .*: Is a directory"):
        read(tmp_path)
    for content in (b"", b"PK", b"a text\n" * 1000, b"PGDMP" + bytes(100)):
        path.write_bytes(content)
        with pytest.raises(BackupError, match="is no backup of chargewatch, or not the whole of one"):
            read(path)


@pytest.mark.parametrize("manifest", [None, b"{}", b"[]", b"not JSON", b'{"format":"x","format_version":1}'])
def test_other_archives(path: Path, manifest: bytes | None) -> None:
    with zipfile.ZipFile(path, "w") as plain:
        plain.writestr("data/sessions.copy", b"")
        if manifest is not None:
            plain.writestr("manifest.json", manifest)
    with pytest.raises(BackupError, match="is no backup of chargewatch"):
        read(path)


def test_a_newer_format_is_told(path: Path) -> None:
    heading = {"format": "chargewatch backup", "format_version": 2, "chargewatch": "9.1.0", "new": {}}
    with zipfile.ZipFile(path, "w") as plain:
        plain.writestr("manifest.json", json.dumps(heading))
    with pytest.raises(BackupError, match=r"made by chargewatch 9\.1\.0, in a format .* or a newer one"):
        read(path)


def test_every_truncation_is_found(path: Path) -> None:
    write(path)
    whole = path.read_bytes()
    for length in range(0, len(whole), 37):
        path.write_bytes(whole[:length])
        with pytest.raises(BackupError):
            read(path)


@pytest.mark.parametrize("seed", range(3))
def test_no_damage_goes_unnoticed(path: Path, seed: int) -> None:
    """A changed byte is found, or it changes nothing of what is read."""
    rng = random.Random(seed)
    rows = ROWS | {"noise": rng.randbytes(3000)}
    written = write(path, rows, KEY)
    whole = path.read_bytes()
    found = 0
    for _ in range(400):
        damaged = bytearray(whole)
        damaged[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        try:
            same = read(path) == (written, rows, KEY)
        except BackupError:
            found += 1
        else:
            assert same
    assert found > 300


def edited(path: Path, **changes: bytes) -> None:
    """Writes the archive anew with other content for some members, as an editor would."""
    with zipfile.ZipFile(path) as plain:
        members = {name: plain.read(name) for name in plain.namelist()}
    with zipfile.ZipFile(path, "w") as plain:
        for name, content in (members | changes).items():
            plain.writestr(name, content)


@pytest.mark.parametrize("text", [b"", b"1\tnorth\n2\tsoutx\n", b"1\tnorth\n2\tsouth\n3\teast\n"])
def test_rows_that_were_edited(path: Path, text: bytes) -> None:
    write(path)
    edited(path, **{"data/tenants.copy": text})
    with pytest.raises(BackupError, match="is damaged: restore from another copy"):
        read(path)


def test_a_manifest_that_was_edited(path: Path) -> None:
    write(path)
    with zipfile.ZipFile(path) as plain:
        text = json.loads(plain.read("manifest.json"))
    for change in (
        {"tables": None},
        {"tables": [text["tables"][0] | {"name": "gone"}]},
        {"has_secret_key": True},
    ):
        edited(path, **{"manifest.json": json.dumps(text | change).encode()})
        with pytest.raises(BackupError, match="is damaged"):
            read(path)

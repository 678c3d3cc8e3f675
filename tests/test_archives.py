"""A hostile archive costs no disk, no second and no good file; what is left out is named with its reason."""

import gzip
import io
import os
import random
import struct
import tarfile
import time
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from curation import archives
from curation.archives import ArchiveFile, read_archive
from curation.errors import WrongInput
from curation.records import Skipped

CODE = b"print('hello')\n"
Listed = list[tuple[str, str]]


@pytest.fixture(autouse=True)
def nothing_appears_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unpacking anywhere would need one of these."""
    for function in ("mkdir", "makedirs", "symlink", "link", "mkfifo", "mknod"):
        monkeypatch.setattr(f"curation.archives.os.{function}", None)


def tar_of(*members: tuple[tarfile.TarInfo | str, bytes], format: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as tar:
        for member, data in members:
            info = tarfile.TarInfo(member) if isinstance(member, str) else member
            if info.isreg():
                info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def zip_of(*members: tuple[zipfile.ZipInfo | str, bytes], packing: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", packing) as file:
        for member, data in members:
            file.writestr(member, data, None if isinstance(member, str) else member.compress_type)
    return buffer.getvalue()


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def seen(path: Path, after: int = -1) -> Listed:
    """Name each item with "ok" or the reason it was skipped for."""
    items = [item for _, item in read_archive(path, after)]
    return [(item.path, item.reason if isinstance(item, Skipped) else "ok") for item in items]


def write(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


# --- what is good ---------------------------------------------------------------------------------


@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
@pytest.mark.parametrize("packed", [True, False])
def test_a_tar_gives_its_files_in_its_own_order(tmp_path: Path, format: int, packed: bool) -> None:
    long = "/".join(["folder_of_code"] * 6) + "/last.py"  # 97 characters: fits every format
    members = [("b/x.py", CODE), ("./a.py", b""), (special("b", tarfile.DIRTYPE), b""), (long, b"x" * 700)]
    if format != tarfile.USTAR_FORMAT:
        members += [("deep/" * 60 + "x.py", CODE), ("naïve/ß.py", CODE)]
    data = tar_of(*members, format=format)
    path = write(tmp_path, "a.tar", gzip.compress(data) if packed else data)
    expected = [ArchiveFile(info.removeprefix("./"), data) for info, data in members if isinstance(info, str)]
    assert [item for _, item in read_archive(path)] == expected


@pytest.mark.parametrize("packing", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_gives_its_files(tmp_path: Path, packing: int) -> None:
    data = zip_of(("b/", b""), ("b/x.py", CODE), ("a.py", b""), ("naïve/ß.py", b"y" * 900), packing=packing)
    expected = [
        (1, ArchiveFile("b/x.py", CODE)),
        (2, ArchiveFile("a.py", b"")),
        (3, ArchiveFile("naïve/ß.py", b"y" * 900)),
    ]
    assert list(read_archive(write(tmp_path, "a.zip", data))) == expected


def test_names_that_windows_wrote_get_slashes(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("x")
    info.filename = "src\\main.cs"
    assert seen(write(tmp_path, "a.zip", zip_of((info, CODE)))) == [("src/main.cs", "ok")]


@pytest.mark.parametrize("make", [tar_of, zip_of])
def test_reading_goes_on_behind_the_last_entry(tmp_path: Path, make: Callable[..., bytes]) -> None:
    path = write(tmp_path, "a", make(*((f"{name}.py", CODE) for name in "abcd")))
    numbers = [number for number, _ in read_archive(path)]
    for at, number in enumerate(numbers):
        assert [later for later, _ in read_archive(path, after=number)] == numbers[at + 1 :]


def test_an_archive_in_an_archive_is_simply_a_file(tmp_path: Path) -> None:
    inner = zip_of(("inner.zip", b"never looked into"))
    (item,) = [item for _, item in read_archive(write(tmp_path, "a.zip", zip_of(("inner.zip", inner))))]
    assert item == ArchiveFile("inner.zip", inner)


def test_a_small_archive_that_packs_well_is_no_bomb(tmp_path: Path) -> None:
    path = write(tmp_path, "a.tgz", gzip.compress(tar_of(*((f"{n:02}.py", b"") for n in range(40)))))
    assert 50 * path.stat().st_size < 40 * 512
    assert len(seen(path)) == 40


# --- single entries that are left out ------------------------------------------------------------------


def test_each_bad_entry_of_a_tar_is_skipped_for_its_own_reason(tmp_path: Path) -> None:
    data = tar_of(
        ("good.py", CODE),
        ("../x.py", CODE),
        ("a/../../x.py", CODE),
        ("/etc/cron.d/x.py", CODE),
        ("C:\\x.py", CODE),
        (special("link.py", tarfile.SYMTYPE, "/etc/passwd"), b""),
        (special("hard.py", tarfile.LNKTYPE, "good.py"), b""),
        (special("null.py", tarfile.CHRTYPE), b""),
        (special("pipe.py", tarfile.FIFOTYPE), b""),
        ("./good.py", b"the second of its name"),
        ("bell\x07.py", CODE),
        ("line\nbreak.py", CODE),
        ("bad\udcff.py", CODE),
        ("big.py", b"x" * (archives.FILE_LIMIT + 1)),
        ("n" * 5_000 + ".py", CODE),
        ("last.py", CODE),
    )
    found = seen(write(tmp_path, "a.tar", data))
    assert found[:-2] == [
        ("good.py", "ok"),
        ("../x.py", "parent_path"),
        ("a/../../x.py", "parent_path"),
        ("/etc/cron.d/x.py", "absolute_path"),
        ("C:\\x.py", "absolute_path"),
        ("link.py", "link"),
        ("hard.py", "link"),
        ("null.py", "device"),
        ("pipe.py", "device"),
        ("./good.py", "duplicate_path"),
        ("bell⟦U+0007⟧.py", "bad_name"),
        ("line⟦U+000A⟧break.py", "bad_name"),
        ("bad\\udcff.py", "bad_name"),
        ("big.py", "large_file"),
    ]
    assert found[-2][1] == "bad_name" and len(found[-2][0]) == 200
    assert found[-1] == ("last.py", "ok")


def test_a_sparse_file_that_claims_a_disk_costs_nothing(tmp_path: Path) -> None:
    disk = special("disk.py", tarfile.GNUTYPE_SPARSE)
    pax = tarfile.TarInfo("holes.py")
    pax.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.realsize": str(1 << 60)}
    path = write(tmp_path, "a.tar", tar_of((disk, b""), (pax, b"1\n"), ("good.py", CODE)))
    assert seen(path) == [("disk.py", "sparse_file"), ("holes.py", "sparse_file"), ("good.py", "ok")]


def test_each_bad_entry_of_a_zip_is_skipped_for_its_own_reason(tmp_path: Path) -> None:
    link, pipe = zipfile.ZipInfo("link.py"), zipfile.ZipInfo("pipe.py")
    link.create_system = pipe.create_system = 3
    link.external_attr, pipe.external_attr = 0o120777 << 16, 0o010644 << 16
    rare = zipfile.ZipInfo("rare.py")
    rare.compress_type = zipfile.ZIP_LZMA
    with pytest.warns(UserWarning, match="Duplicate name"):
        data = zip_of(
            ("../x.py", CODE),
            ("..\\y.py", CODE),
            ("/etc/x.py", CODE),
            (link, b"/etc/passwd"),
            (pipe, b""),
            (rare, CODE),
            ("secret.py", CODE),
            ("nul_.py", CODE),
            ("bad__.py", CODE),
            ("same.py", b"1"),
            ("same.py", b"2"),
            ("big.py", b"x" * (archives.FILE_LIMIT + 1)),
            ("last.py", CODE),
        )
    data = data.replace(b"nul_.py", b"nul\0.py").replace(b"bad__.py", b"bad\xff\xfe.py")
    data = with_flags(data, b"secret.py", 1)
    data = with_flags(data, b"bad\xff\xfe.py", 0x800)
    assert seen(write(tmp_path, "a.zip", data)) == [
        ("../x.py", "parent_path"),
        ("../y.py", "parent_path"),
        ("/etc/x.py", "absolute_path"),
        ("link.py", "link"),
        ("pipe.py", "device"),
        ("rare.py", "unknown_packing"),
        ("secret.py", "encrypted"),
        ("nul⟦U+0000⟧.py", "bad_name"),
        ("bad\\udcff\\udcfe.py", "bad_name"),
        ("same.py", "ok"),
        ("same.py", "duplicate_path"),
        ("big.py", "large_file"),
        ("last.py", "ok"),
    ]


def with_flags(data: bytes, name: bytes, flags: int) -> bytes:
    """Set bits in the flags of an entry, in both places where a zip has them."""
    changed = bytearray(data)
    for mark, flags_at, name_at in ((b"PK\x03\x04", 6, 30), (b"PK\x01\x02", 8, 46)):
        at = -1
        while (at := data.find(mark, at + 1)) >= 0:
            if data[at + name_at :].startswith(name):
                old = struct.unpack_from("<H", changed, at + flags_at)[0]
                struct.pack_into("<H", changed, at + flags_at, old | flags)
    return bytes(changed)


def test_a_zip_whose_sizes_lie_is_not_unpacked_beyond_them(tmp_path: Path) -> None:
    data = bytearray(zip_of(("bomb.py", b"\0" * 30_000_000), ("less.py", b"12345"), ("good.py", CODE)))
    for mark, size_at, name_at in ((b"PK\x03\x04", 22, 30), (b"PK\x01\x02", 24, 46)):
        for name, lie in ((b"bomb.py", 10), (b"less.py", 6)):
            at = data.find(name) if name_at == 30 else data.rfind(name)
            assert data[at - name_at : at - name_at + 4] == mark
            struct.pack_into("<L", data, at - name_at + size_at, lie)
    path = write(tmp_path, "a.zip", bytes(data))
    tracemalloc.start()
    items = [item for _, item in read_archive(path)]
    assert tracemalloc.get_traced_memory()[1] < 2_000_000  # of 30 MB
    tracemalloc.stop()
    assert items == [
        Skipped("bomb.py", "lying_size", "it says it has 10 bytes and holds more"),
        Skipped("less.py", "damaged_entry", "it says it has 6 bytes and holds 5"),
        ArchiveFile("good.py", CODE),
    ]


def test_a_damaged_file_in_a_zip_costs_only_itself(tmp_path: Path) -> None:
    rng = random.Random(5)
    noise = [bytes(rng.randrange(256) for _ in range(400)) for _ in range(3)]
    data = zip_of(*((f"{n}.py", part) for n, part in enumerate(noise)), packing=zipfile.ZIP_STORED)
    data = data.replace(noise[1], noise[1][:-1] + bytes([noise[1][-1] ^ 1]))
    items = [item for _, item in read_archive(write(tmp_path, "a.zip", data))]
    assert items[1] == Skipped("1.py", "damaged_entry", "its checksum is wrong")
    assert [item.path for item in items if isinstance(item, ArchiveFile)] == ["0.py", "2.py"]


# --- bombs --------------------------------------------------------------------------------------------


def refused(path: Path, match: str) -> None:
    with pytest.raises(WrongInput, match=match) as caught:
        read_archive(path)
    assert "\n" not in str(caught.value) and "give its folder" in str(caught.value)


def test_a_bomb_of_204_kb_is_refused_in_every_packing(tmp_path: Path) -> None:
    """faults.md S36: 204 KB that unpack to 210 MB."""
    zeros = b"\0" * 210_000_000
    big = zip_of(("zeros.py", zeros))
    assert 200_000 < len(big) < 210_000
    refused(write(tmp_path, "one.zip", big), "more than 100 times")
    packed = write(tmp_path, "one.tgz", gzip.compress(tar_of(("zeros.py", zeros)), 1))
    refused(packed, "more than 100 times")
    small = zip_of(*((f"{n}.py", zeros[:900_000]) for n in range(30)))
    refused(write(tmp_path, "many.zip", small), "more than 100 times")
    many = gzip.compress(tar_of(*((f"{n}.py", zeros[:900_000]) for n in range(30))), 6)
    refused(write(tmp_path, "many.tgz", many), "more than 100 times")


def test_a_header_that_claims_a_terabyte_is_believed_at_once(tmp_path: Path) -> None:
    info = tarfile.TarInfo("x.py")
    info.size = 1 << 40
    path = write(tmp_path, "a.tar", tar_of(("good.py", CODE))[:1024] + info.tobuf(tarfile.GNU_FORMAT))
    refused(path, "unpacks to more than 500 MB")


def test_zeros_behind_a_small_header_are_counted_though_it_lies(tmp_path: Path) -> None:
    """The tar says 15 bytes; the gzip data goes on with extension headers for hundreds of megabytes."""
    noise = special("pax", b"g")
    noise.size = 60_000
    block = noise.tobuf(tarfile.USTAR_FORMAT) + b"\0" * (-(-60_000 // 512) * 512)
    data = tar_of(("good.py", CODE))[:1024] + b"".join(
        block + tarfile.TarInfo(f"{n}.py").tobuf() for n in range(1_000)
    )
    refused(write(tmp_path, "a.tgz", gzip.compress(data, 1)), "more than 100 times")


def test_too_many_entries_are_refused(tmp_path: Path) -> None:
    names = [(f"{n}.py", b"") for n in range(archives.ENTRY_LIMIT + 1)]
    packed = gzip.compress(tar_of(*names, format=tarfile.USTAR_FORMAT), 1)
    refused(write(tmp_path, "a.tgz", packed), "more than 10,000 entries")
    whole = zip_of(*names, packing=zipfile.ZIP_STORED)
    refused(write(tmp_path, "a.zip", whole), "more than 10,000 entries")
    at = whole.rfind(b"PK\x05\x06")
    lying = whole[: at + 8] + struct.pack("<2H", 3, 3) + whole[at + 12 :]
    refused(write(tmp_path, "b.zip", lying), "more than 10,000 entries")
    assert len(seen(write(tmp_path, "c.zip", zip_of(*names[:-1], packing=zipfile.ZIP_STORED)))) == 10_000


def test_entries_that_share_their_bytes_are_counted_each(tmp_path: Path) -> None:
    """The zip of David Fifield: the list names the same bytes again and again."""
    one = zip_of(("a.py", b"\0" * 900_000))
    at, end = one.find(b"PK\x01\x02"), one.rfind(b"PK\x05\x06")
    entry = one[at:end]
    count = 2_000
    tail = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count, count, count * len(entry), at, 0)
    path = write(tmp_path, "a.zip", one[:at] + entry * count + tail)
    assert path.stat().st_size < 120_000
    refused(path, "more than 500 MB|more than 100 times")


def test_a_list_of_a_zip_is_not_read_to_its_end_to_be_counted(tmp_path: Path) -> None:
    one = zip_of(("a.py", b""))
    at, end = one.find(b"PK\x01\x02"), one.rfind(b"PK\x05\x06")
    entry, count = one[at:end], 1_000_000
    tail = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 3, 3, count * len(entry), at, 0)
    path = write(tmp_path, "a.zip", one[:at] + entry * count + tail)
    before = bytes_read()
    refused(path, "more than 10,000 entries")
    assert bytes_read() - before < path.stat().st_size / 4


def bytes_read() -> int:
    """Count what this process has read so far; nothing where the system does not tell."""
    told = Path("/proc/self/io")
    return int(told.read_text().split()[1]) if told.is_file() else 0


def test_an_archive_that_becomes_a_bomb_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "a.tgz", gzip.compress(tar_of(("a.py", CODE))))
    reading = read_archive(path)
    write(tmp_path, "a.tgz", gzip.compress(tar_of(*((f"{n}.py", b"\0" * 900_000) for n in range(30))), 1))
    with pytest.raises(WrongInput, match="more than 100 times"):
        list(reading)


def test_an_archive_under_the_limits_is_read_though_large(tmp_path: Path) -> None:
    noise = os.urandom(900_000)
    path = write(tmp_path, "a.tar", tar_of(*((f"{n}.py", noise) for n in range(300))))
    assert {reason for _, reason in seen(path)} == {"ok"}  # 270 MB, counted once and not twice


# --- what breaks off -----------------------------------------------------------------------------------


def test_a_truncated_tar_gz_keeps_the_files_before_the_break(tmp_path: Path) -> None:
    rng = random.Random(7)
    parts = [(f"{n}.py", bytes(rng.choices(range(256), k=20_000))) for n in range(5)]
    data = gzip.compress(tar_of(*parts))
    path = write(tmp_path, "a.tar.gz", data[: int(len(data) * 0.7)])
    items = [item for _, item in read_archive(path)]
    assert items[:-1] == [ArchiveFile(*part) for part in parts[:3]]
    assert items[-1] == Skipped(
        "a.tar.gz",
        "broken_archive",
        "the gzip data ends early; the 3 entries before the break were read",
    )


def test_a_damaged_header_ends_a_tar_with_its_place(tmp_path: Path) -> None:
    data = bytearray(tar_of(*((f"{n}.py", CODE) for n in range(4)), format=tarfile.USTAR_FORMAT))
    data[2 * 1024 + 10] ^= 1
    items = [item for _, item in read_archive(write(tmp_path, "a.tar", bytes(data)))]
    assert [item.path for item in items] == ["0.py", "1.py", "a.tar"]
    broken = items[-1]
    assert isinstance(broken, Skipped) and "a header is damaged; the 2 entries" in broken.evidence


def test_a_tar_without_its_closing_zeros_is_whole(tmp_path: Path) -> None:
    data = tar_of(("a.py", CODE), ("b.py", b"x" * 512), format=tarfile.USTAR_FORMAT)
    items = seen(write(tmp_path, "a.tar", data[: 512 + 512 + 512 + 512]))
    assert items[:2] == [("a.py", "ok"), ("b.py", "ok")]


def test_a_truncated_zip_keeps_the_files_before_the_break(tmp_path: Path) -> None:
    data = zip_of(*((f"{n}.py", os.urandom(300)) for n in range(4)))
    third = data.find(b"2.py") + 100
    items = seen(write(tmp_path, "a.zip", data[:third]))
    assert items == [("0.py", "ok"), ("1.py", "ok"), ("a.zip", "broken_archive")]


def test_a_chain_of_extension_headers_ends(tmp_path: Path) -> None:
    block = special("pax", b"g").tobuf(tarfile.USTAR_FORMAT)
    path = write(tmp_path, "a.tar", tar_of(("a.py", CODE))[:1024] + block * 50_000)
    start = time.process_time()
    assert seen(path) == [("a.py", "ok"), ("a.tar", "broken_archive")]
    assert time.process_time() - start < 5  # seconds; a tenth on an idle machine


def test_a_long_name_that_would_fill_memory_is_a_break(tmp_path: Path) -> None:
    info = special("long", b"L")
    info.size = 400_000
    data = tar_of(("a.py", CODE))[:1024] + info.tobuf(tarfile.USTAR_FORMAT) + b"x" * 409_600
    items = [item for _, item in read_archive(write(tmp_path, "a.tar", data))]
    broken = items[1]
    assert isinstance(broken, Skipped) and "a name claims 400,000 bytes" in broken.evidence


@pytest.mark.parametrize(
    ("pax", "reason"),
    [
        (b"99999999999999999999 path=x\n", "damaged"),
        (b"20 size=-1000000000\n", "no number"),
        (b"0 path=x\n", "damaged"),
        (b"5 p=\n" * 3 + b"1000 path=short\n", "damaged"),
    ],
)
def test_an_extended_header_that_makes_no_sense_is_a_break(tmp_path: Path, pax: bytes, reason: str) -> None:
    info = special("pax", b"x")
    info.size = len(pax)
    data = tar_of(("a.py", CODE), format=tarfile.USTAR_FORMAT)[:1024]
    data += info.tobuf(tarfile.USTAR_FORMAT) + pax.ljust(512, b"\0") + tarfile.TarInfo("b.py").tobuf()
    items = [item for _, item in read_archive(write(tmp_path, "a.tar", data))]
    first, broken = items
    assert first == ArchiveFile("a.py", CODE)
    assert isinstance(broken, Skipped) and broken.reason == "broken_archive" and reason in broken.evidence


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.tar", b"", "empty"),
        ("a.tar.gz", gzip.compress(b"hello" * 200, mtime=0), "no tar archive inside"),
        ("a.zip", b"no archive at all" * 100, "neither tar, tar.gz nor zip"),
        ("a.tar.gz", gzip.compress(b"", mtime=0)[:5], "breaks off before its first file"),
    ],
)
def test_what_is_no_archive_is_refused_in_one_line(
    tmp_path: Path, name: str, data: bytes, words: str
) -> None:
    with pytest.raises(WrongInput, match=words) as caught:
        read_archive(write(tmp_path, name, data))
    assert "\n" not in str(caught.value)


def test_bytes_changed_at_random_never_raise_anything_else(tmp_path: Path) -> None:
    rng = random.Random(11)
    kinds = [
        tar_of(("a.py", CODE), ("b/" * 60 + "x.py", CODE), ("c.py", CODE)),
        gzip.compress(tar_of(("a.py", CODE), ("b.py", CODE * 100))),
        zip_of(("a.py", CODE), ("b.py", CODE * 100), ("c.py", b"")),
    ]
    for round in range(450):
        data = bytearray(kinds[round % 3])
        for _ in range(rng.randrange(1, 6)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        if rng.random() < 0.2:
            del data[rng.randrange(len(data)) :]
        path = write(tmp_path, "a", bytes(data))
        try:
            items = [item for _, item in read_archive(path)]
        except WrongInput:
            continue
        assert all(isinstance(item, ArchiveFile | Skipped) for item in items)

"""Read the files of a .tar, .tar.gz, .tgz or .zip that a stranger made, without ever unpacking it to disk.

tarfile reads headers of any length into memory and loses what is before a break in gzip data, and zipfile
gives up a whole archive for one bad name or a missing end. So the walk from entry to entry is done here;
of tarfile only the reading of one block of 512 bytes is used.
"""

import os
import re
import struct
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from stat import S_IFDIR, S_IFLNK, S_IFMT, S_IFREG
from typing import BinaryIO, NamedTuple, NoReturn

from curation.errors import WrongInput
from curation.hidden_characters import CONTROL, revealed
from curation.reading import CHUNK, Torn, blocks, gunzipped
from curation.records import Skipped

# faults.md S36: beyond any of these the whole archive is refused.
TOTAL_LIMIT = 500_000_000  # bytes, unpacked
RATIO_LIMIT = 100  # bytes unpacked for each byte of the archive
ENTRY_LIMIT = 10_000
# tar pads every entry to 512 bytes, so twenty empty files pack at a ratio over 100. What unpacks to
# less than this harms nobody.
RATIO_FLOOR = 10_000_000

FILE_LIMIT = 1_000_000  # bytes of one file; what is longer is no code that a person wrote
NAME_LIMIT = 4_096  # bytes of a path: PATH_MAX of Linux
_SHOWN = 200  # characters of a name in a message

_BLOCK = 512
_EXTENSION_LIMIT = 1 << 16  # bytes of a header with a long name; real ones have some hundred
_EXTENSIONS_IN_A_ROW = 8  # global, own, long name, long link: four; more are no honest work
_NUMBER = re.compile(rb"\d{1,18}")


class ArchiveFile(NamedTuple):
    """A regular file of an archive."""

    path: str  # as it is called inside, with "/" and without "." or empty parts
    data: bytes


def read_archive(path: Path, after: int = -1) -> Iterator[tuple[int, ArchiveFile | Skipped]]:
    """Yield the number (from 0) and content of every entry behind number `after`, in the archive's order.

    Folders are passed over. Raises WrongInput at once for what is no such archive, or one that unpacks to
    more than the limits above allow, whatever its headers say. When an archive breaks off, its last item
    is a Skipped with the reason "broken_archive".
    """
    archive = _open(path)
    for _, entry in archive.entries(with_data=False):  # to its end: a refusal comes before any file
        _count(archive, entry)
    return _files(archive, after)


def shown_name(name: str) -> str:
    """Make a name from an archive or a disk fit for a message: no control characters, not too long."""
    text = revealed(name.encode(errors="backslashreplace").decode())
    text = text.replace("\n", "⟦U+000A⟧").replace("\r", "⟦U+000D⟧").replace("\t", "⟦U+0009⟧")
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def bad_name(name: str) -> tuple[str, str] | None:
    """Say what is wrong with the path of an entry, as reason and evidence; None when nothing is."""
    if any("\udc80" <= character <= "\udcff" for character in name):
        return "bad_name", "its name is not valid UTF-8"
    if "\0" in name or CONTROL.search(name) or re.search(r"[\t\n\r]", name):
        return "bad_name", "its name holds control characters"
    if len(name.encode(errors="replace")) > NAME_LIMIT:
        return "bad_name", f"its name is longer than {NAME_LIMIT:,} bytes"
    if re.match(r"[/\\]|[A-Za-z]:[/\\]", name):
        return "absolute_path", "its name begins at the root of a disk"
    if ".." in re.split(r"[/\\]", name):
        return "parent_path", "its name climbs out of the archive with .."
    return None


# --- what tar and zip have in common ---------------------------------------------------------------


@dataclass(slots=True)
class _Entry:
    name: str
    kind: str  # "file", "folder", or the reason to skip it
    size: int  # bytes that it says it unpacks to
    data: bytes | None = None
    fault: tuple[str, str] | None = None  # what reading it showed: reason and evidence


class _Broken(Exception):
    """The archive cannot be followed beyond here."""


@dataclass(slots=True)
class _Archive:
    path: Path
    packed: int = 0  # bytes of the archive itself
    declared: int = 0
    count: int = 0

    def entries(self, with_data: bool, after: int = -1) -> Iterator[tuple[int, _Entry]]:
        raise NotImplementedError

    def check(self, unpacked: int) -> None:
        """Refuse the archive when it unpacks to this many bytes."""
        if unpacked > TOTAL_LIMIT:
            self.refuse(f"unpacks to more than {TOTAL_LIMIT // 1_000_000} MB")
        if unpacked > max(RATIO_FLOOR, RATIO_LIMIT * self.packed):
            self.refuse(f"unpacks to more than {RATIO_LIMIT} times its {self.packed:,} bytes")

    def refuse(self, why: str) -> NoReturn:
        raise WrongInput(
            f"{self.path} {why}, as archives do that are made to fill a disk; "
            "if it is yours, unpack it and give its folder"
        )


def _open(path: Path) -> "_Archive":
    if not path.is_file():
        raise WrongInput(f"{path} is no file; check the path")
    packed = path.stat().st_size
    if packed > TOTAL_LIMIT:
        _Archive(path).refuse(f"is larger than {TOTAL_LIMIT // 1_000_000} MB by itself")
    head = next(blocks(path, _BLOCK), b"")
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _Zip(path, packed)
    gzip = head.startswith(b"\x1f\x8b")
    with suppress(Torn):
        if gzip:
            head = next(gunzipped(blocks(path, CHUNK), _BLOCK), b"")
    if not head or (gzip and packed < 20):  # the least that gzip writes
        raise WrongInput(f"{path} is empty or breaks off before its first file; fetch it again")
    if _header(head) is None and head.strip(b"\0"):
        kind = "holds no tar archive inside its gzip data" if gzip else "is neither tar, tar.gz nor zip"
        raise WrongInput(f"{path} {kind}; pack the code again as .tar.gz or .zip, or give its folder")
    return _Tar(path, packed, gzip=gzip)


def _count(archive: _Archive, entry: _Entry) -> None:
    archive.count += 1
    archive.declared += entry.size
    if archive.count > ENTRY_LIMIT:
        archive.refuse(f"holds more than {ENTRY_LIMIT:,} entries")
    archive.check(archive.declared)


def _files(archive: _Archive, after: int) -> Iterator[tuple[int, ArchiveFile | Skipped]]:
    seen: set[str] = set()
    number = -1
    try:
        for number, entry in archive.entries(with_data=True, after=after):
            if entry.kind == "folder":
                continue
            item = _file(entry, seen)
            if number > after:
                yield number, item
    except _Broken as broken:
        yield (
            number + 1,
            Skipped(
                shown_name(archive.path.name),
                "broken_archive",
                f"{broken}; the {number + 1} entries before the break were read",
            ),
        )


def _file(entry: _Entry, seen: set[str]) -> ArchiveFile | Skipped:
    path = "/".join(part for part in entry.name.split("/") if part not in ("", "."))
    fault = bad_name(entry.name) or _bad_kind(entry)
    if not path:
        fault = "bad_name", "its name is empty"
    if fault is None and path in seen:
        fault = "duplicate_path", "an entry before it has the same name"
    seen.add(path)
    if fault is None and entry.size > FILE_LIMIT:
        fault = "large_file", f"it has {entry.size:,} bytes; {FILE_LIMIT:,} are allowed"
    fault = fault or entry.fault
    if fault or entry.data is None:
        return Skipped(shown_name(entry.name), *(fault or ("unreadable_file", "it has no content")))
    return ArchiveFile(path, entry.data)


_KINDS = {
    "link": "it is a link, which is not followed",
    "device": "it is a device or a pipe, not a file",
    "sparse_file": "it is stored with holes, as disk images are",
    "encrypted": "it is encrypted",
    "unknown_packing": "it is packed in a way other than zip's usual one",
    "unknown_entry": "it is of a kind that is no file",
}


def _bad_kind(entry: _Entry) -> tuple[str, str] | None:
    return None if entry.kind == "file" else (entry.kind, _KINDS[entry.kind])


# --- tar ---------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Tar(_Archive):
    gzip: bool = False

    def entries(self, with_data: bool, after: int = -1) -> Iterator[tuple[int, _Entry]]:
        stream = _Stream(self)
        number = 0
        try:
            while entry := self._next(stream, with_data, number > after):
                yield number, entry
                number += 1
        except _Broken:
            if with_data:
                raise

    def _next(self, stream: "_Stream", with_data: bool, wanted: bool) -> _Entry | None:
        said: dict[str, str] = {}  # what extension headers say of the entry behind them
        for _ in range(_EXTENSIONS_IN_A_ROW):
            block = stream.read(_BLOCK)
            if not block.strip(b"\0"):
                return None
            info = _header(block)
            if info is None:
                raise _Broken("a header is damaged")
            if info.type not in (b"x", b"g", b"L", b"K", b"X"):
                return self._entry(stream, block, info, said, with_data and wanted)
            if info.type == b"g":  # says nothing of one entry; git writes its commit there
                stream.skip(info.size)
            else:
                said |= _said(info, stream)
        raise _Broken("extension headers follow each other without an entry")

    def _entry(
        self, stream: "_Stream", block: bytes, info: tarfile.TarInfo, said: dict[str, str], with_data: bool
    ) -> _Entry:
        size = int(said.get("size", info.size))
        kind = _tar_kind(info, said)
        if info.type == tarfile.GNUTYPE_SPARSE:
            more = block[482]
            while more:
                more = stream.read(_BLOCK)[504]
        entry = _Entry(said.get("path", info.name), kind, size)
        if kind in ("link", "device", "folder"):
            entry.size = 0
        elif with_data and kind == "file" and size <= FILE_LIMIT:
            entry.data = stream.read(size, padded=True)
        else:
            stream.skip(size)
        return entry


def _header(block: bytes) -> tarfile.TarInfo | None:
    """Read one header; None for what is none. The numbers of a header can say anything but its length."""
    try:
        info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError, OverflowError):
        return None
    return info if info.size >= 0 else None


def _tar_kind(info: tarfile.TarInfo, said: dict[str, str]) -> str:
    if info.type == tarfile.GNUTYPE_SPARSE or "sparse" in said:
        return "sparse_file"
    if info.type in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE):
        return "folder" if said.get("path", info.name).endswith("/") and not info.size else "file"
    if info.type in (tarfile.LNKTYPE, tarfile.SYMTYPE):
        return "link"
    if info.type in (tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE):
        return "device"
    return "folder" if info.type == tarfile.DIRTYPE else "unknown_entry"


def _said(info: tarfile.TarInfo, stream: "_Stream") -> dict[str, str]:
    """Read what an extension header says of the entry that follows: its path and its size."""
    if info.size > _EXTENSION_LIMIT:
        raise _Broken(f"a header with a name claims {info.size:,} bytes")
    data = stream.read(info.size, padded=True)
    if info.type == b"L":
        return {"path": data.rstrip(b"\0").decode(errors="surrogateescape")}
    if info.type == b"K":  # where a link leads
        return {}
    said: dict[str, str] = {}
    at = 0
    while at < len(data) and (number := _NUMBER.match(data, at)):
        end = at + int(number[0])
        key, equals, value = data[number.end() + 1 : end - 1].partition(b"=")
        if end <= number.end() or end > len(data) or not equals:
            raise _Broken("an extended header is damaged")
        text = value.decode(errors="surrogateescape")
        if key == b"path":
            said["path"] = text
        elif key == b"size":
            if not _NUMBER.fullmatch(value):
                raise _Broken("an extended header gives a size that is no number")
            said["size"] = text
        elif key.startswith(b"GNU.sparse."):
            said["sparse"] = text
        at = end
    return said


class _Stream:
    """The unpacked bytes of a tar, counted as they come."""

    def __init__(self, archive: _Tar) -> None:
        self._archive = archive
        chunks = blocks(archive.path, CHUNK)
        self._chunks = gunzipped(chunks, CHUNK) if archive.gzip else chunks
        self._held = bytearray()
        self._total = 0

    def read(self, size: int, padded: bool = False) -> bytes:
        """Give exactly `size` bytes (and pass over the rest of their last block)."""
        whole = -(-size // _BLOCK) * _BLOCK if padded else size
        while len(self._held) < size:
            self._fill(size)
        data = bytes(self._held[:size])
        # The padding behind the last file may be missing: the file itself is whole.
        while len(self._held) < whole and self._fill(size, needed=False):
            pass
        del self._held[:whole]
        return data

    def skip(self, size: int) -> None:
        self._archive.check(self._total - len(self._held) + size)  # before going through all of it
        left = -(-size // _BLOCK) * _BLOCK
        while left:
            if not self._held:
                self._fill(left)
            part = min(left, len(self._held))
            del self._held[:part]
            left -= part

    def _fill(self, wanted: int, needed: bool = True) -> bool:
        try:
            chunk = next(self._chunks, b"")
        except Torn as torn:
            raise _Broken(str(torn)) from torn
        if not chunk and needed:
            raise _Broken(f"it ends {wanted - len(self._held):,} bytes early")
        self._total += len(chunk)
        self._archive.check(self._total)
        self._held += chunk
        return bool(chunk)


# --- zip ---------------------------------------------------------------------------------------------

_END = struct.Struct("<4s4H2LH")
_END64_PLACE = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_ENDS_WITHIN = (1 << 16) + _END.size  # bytes from the end: a comment has up to 65,535
_FULL = 0xFFFFFFFF  # the number stands in the extra field instead
_STORED, _DEFLATED = 0, 8


@dataclass(slots=True)
class _Member:
    """Where an entry of a zip is and what the archive says of it."""

    name: str
    flags: int
    packing: int
    crc: int
    packed: int
    size: int
    at: int  # offset of its local header, or of its data
    mode: int = 0


@dataclass(slots=True)
class _Zip(_Archive):
    _members: list[_Member] | None = field(default=None)

    def entries(self, with_data: bool, after: int = -1) -> Iterator[tuple[int, _Entry]]:
        with self.path.open("rb") as file:
            if self._members is None:
                self._members = _central_directory(self, file)
            if self._members is None:
                yield from self._without_directory(file, with_data)
                return
            for number, member in enumerate(self._members):
                entry = _Entry(member.name.replace("\\", "/"), _zip_kind(member), member.size)
                if with_data and number > after and entry.kind == "file" and member.size <= FILE_LIMIT:
                    _read_member(file, member, entry)
                yield number, entry

    def _without_directory(self, file: BinaryIO, with_data: bool) -> Iterator[tuple[int, _Entry]]:
        """Walk from one local header to the next: the list at the end is missing."""
        file.seek(0)
        number = 0
        while (member := _local(file)) is not None:
            entry = _Entry(member.name.replace("\\", "/"), _zip_kind(member), member.size)
            start = file.tell()
            if member.flags & 8 or start + member.packed > os.fstat(file.fileno()).st_size:
                break  # its length stands behind it, or it is cut off
            if with_data and entry.kind == "file" and member.size <= FILE_LIMIT:
                _unpack(file, member, entry)
            yield number, entry
            number += 1
            file.seek(start + member.packed)
        if with_data:
            raise _Broken("the list of its files at the end of the zip is missing or damaged")


def _zip_kind(member: _Member) -> str:
    if member.name.endswith(("/", "\\")):
        return "folder"
    kind = S_IFMT(member.mode)  # 0 where the writer kept only the permissions
    if kind not in (0, S_IFREG):
        return {S_IFLNK: "link", S_IFDIR: "folder"}.get(kind, "device")
    if member.flags & 1:
        return "encrypted"
    return "file" if member.packing in (_STORED, _DEFLATED) else "unknown_packing"


def _central_directory(archive: _Zip, file: BinaryIO) -> list[_Member] | None:
    """List the entries; None when there is no whole list. Raises WrongInput when it is too long."""
    place = _directory_place(file)
    if place is None:
        return None
    start, length, shift, count = place
    if count > ENTRY_LIMIT:
        archive.refuse(f"holds more than {ENTRY_LIMIT:,} entries")
    file.seek(start)
    members: list[_Member] = []
    while length >= _CENTRAL.size:
        member, used = _central(file, shift)
        if member is None:
            return None
        length -= used
        members.append(member)
        if len(members) > ENTRY_LIMIT:
            archive.refuse(f"holds more than {ENTRY_LIMIT:,} entries")
    return members if not length else None


def _directory_place(file: BinaryIO) -> tuple[int, int, int, int] | None:
    """Find the list of entries: where, how many bytes, what to add to offsets, how many entries."""
    end = file.seek(0, os.SEEK_END)
    file.seek(max(0, end - _ENDS_WITHIN))
    tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < _END.size:
        return None
    _, _, _, _, count, length, offset, _ = _END.unpack_from(tail, at)
    list_end = end - len(tail) + at
    if count == 0xFFFF or _FULL in (length, offset):
        big = _directory_64(file, list_end)
        if big is not None:
            count, length, offset, list_end = big
    start = list_end - length
    return (start, length, start - offset, count) if 0 <= offset <= start else None


def _directory_64(file: BinaryIO, end: int) -> tuple[int, int, int, int] | None:
    if end < _END64_PLACE.size + _END64.size:
        return None
    file.seek(end - _END64_PLACE.size)
    mark, _, at, _ = _END64_PLACE.unpack(file.read(_END64_PLACE.size))
    if mark != b"PK\x06\x07" or at > end - _END64.size:
        return None
    file.seek(at)
    found = _END64.unpack(file.read(_END64.size))
    return (found[7], found[8], found[9], at) if found[0] == b"PK\x06\x06" else None


def _central(file: BinaryIO, shift: int) -> tuple[_Member | None, int]:
    block = file.read(_CENTRAL.size)
    if len(block) < _CENTRAL.size or not block.startswith(b"PK\x01\x02"):
        return None, 0
    (
        _,
        made,
        _,
        flags,
        packing,
        _,
        _,
        crc,
        packed,
        size,
        n_name,
        n_extra,
        n_comment,
        _,
        _,
        attributes,
        at,
    ) = _CENTRAL.unpack(block)
    rest = file.read(n_name + n_extra + n_comment)
    if len(rest) < n_name + n_extra + n_comment:
        return None, 0
    size, packed, at = _zip64(rest[n_name : n_name + n_extra], size, packed, at)
    mode = attributes >> 16 if made >> 8 in (3, 19) else 0  # Unix and macOS keep the mode there
    name = _zip_name(rest[:n_name], flags)
    member = _Member(name, flags, packing, crc, packed, size, at + shift, mode)
    return member, len(block) + len(rest)


def _zip64(extra: bytes, *numbers: int) -> tuple[int, int, int]:
    """Replace the numbers that are all ones by those of the extra field, in the order it has them."""
    values: list[int] = []
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        if kind == 1:
            part = extra[at + 4 : at + 4 + length]
            values = [number for (number,) in struct.iter_unpack("<Q", part[: len(part) // 8 * 8])]
            break
        at += 4 + length
    size, packed, offset = (values.pop(0) if n == _FULL and values else n for n in numbers)
    return size, packed, offset


def _zip_name(data: bytes, flags: int) -> str:
    return data.decode(errors="surrogateescape") if flags & 0x800 or _is_utf8(data) else data.decode("cp437")


def _is_utf8(data: bytes) -> bool:
    """Many writers store UTF-8 without the flag that says so."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _local(file: BinaryIO) -> _Member | None:
    block = file.read(_LOCAL.size)
    if len(block) < _LOCAL.size or not block.startswith(b"PK\x03\x04"):
        return None
    _, _, flags, packing, _, _, crc, packed, size, n_name, n_extra = _LOCAL.unpack(block)
    rest = file.read(n_name + n_extra)
    size, packed, _ = _zip64(rest[n_name:], size, packed, 0)
    return _Member(_zip_name(rest[:n_name], flags), flags, packing, crc, packed, size, file.tell())


def _read_member(file: BinaryIO, member: _Member, entry: _Entry) -> None:
    file.seek(min(member.at, os.fstat(file.fileno()).st_size))
    if _local(file) is None:
        entry.fault = "damaged_entry", "the list of the zip points to no file"
    else:
        _unpack(file, member, entry)


def _unpack(file: BinaryIO, member: _Member, entry: _Entry) -> None:
    """Read the content; never unpack more than one byte beyond what the entry says it has."""
    try:
        data = _inflated(file, member)
    except zlib.error as error:
        entry.fault = "damaged_entry", f"its packed data is damaged ({error})"
        return
    if len(data) > member.size:
        entry.fault = "lying_size", f"it says it has {member.size:,} bytes and holds more"
    elif len(data) < member.size:
        entry.fault = "damaged_entry", f"it says it has {member.size:,} bytes and holds {len(data):,}"
    elif zlib.crc32(data) != member.crc:
        entry.fault = "damaged_entry", "its checksum is wrong"
    else:
        entry.data = data


def _inflated(file: BinaryIO, member: _Member) -> bytes:
    if member.packing == _STORED:
        return file.read(min(member.packed, member.size + 1))
    inflater = zlib.decompressobj(wbits=-15)
    data, left = bytearray(), member.packed
    while left and not inflater.eof and len(data) <= member.size:
        block = file.read(min(CHUNK, left))
        if not block:
            break
        left -= len(block)
        data += inflater.decompress(block, member.size + 1 - len(data))
    return bytes(data)

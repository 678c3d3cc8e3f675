"""Where a teacher answers: an address that people type, read strictly and held in one spelling.

A key is bound to scheme, host and port (faults.md S28), so two spellings of one place must be one origin, and
no spelling may hide a place that nobody should be asked at: the metadata service of a cloud gives
its machine's own credentials to whoever asks (S30). Programs disagree about unusual spellings of a host
(`0177.0.0.1`, percent signs, full-width digits), so that what was checked here could be read
otherwise by the client. Numbers are therefore read as the C library's `inet_aton` reads them and written out
as four decimal numbers; what is left of unusual spellings is refused.

No message repeats what was typed before the host is known to be one: it may hold a password, or be a key that
was put into the wrong field.
"""

import os
import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from ipaddress import (
    AddressValueError,
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Literal

from curation.errors import SourceUnavailable, WrongInput

DEFAULT = "https://api.openai.com/v1"
VARIABLE = "OPENAI_BASE_URL"  # as the openai client names it
LONGEST = 2_000  # characters; browsers and proxies take no longer address either
PORTS = {"http": 80, "https": 443}

Kind = Literal["loopback", "private", "public", "name", "refused"]  # name: known once it is resolved
Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

LOOPBACK = tuple(map(ip_network, ("127.0.0.0/8", "::1/128")))
# RFC 1918 and 4193
PRIVATE = tuple(map(ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")))

# Looked at before all others, because some lie in a private range.
_METADATA = "gives the credentials of a cloud's machine"
_REFUSED = {
    ip_network(network): why
    for network, why in {
        "0.0.0.0/8": "means any address of this machine",  # Linux connects it to the loopback
        "100.64.0.0/10": "belongs to the provider's inner network",  # RFC 6598; 100.100.100.200 is metadata
        "169.254.0.0/16": "is link-local, where clouds give away credentials",  # .169.254, .170.2, .170.23
        "168.63.129.16/32": _METADATA,  # Azure
        "192.0.0.0/24": _METADATA,  # RFC 6890; 192.0.0.192 is Oracle's
        "224.0.0.0/4": "is a multicast address",
        "240.0.0.0/4": "is reserved or a broadcast address",
        "::/128": "means any address of this machine",
        "fe80::/10": "is link-local",
        "fec0::/10": "is site-local, which is no longer used",
        "fd00:ec2::/32": _METADATA,  # Amazon: ::254, ::23
        "fd20:ce::254/128": _METADATA,  # Google
        "fd00:c1::a9fe:a9fe/128": _METADATA,  # Oracle
        "100::/64": "leads nowhere",
        "ff00::/8": "is a multicast address",
    }.items()
}
_REFUSED_NAMES = (
    "metadata",
    "metadata.goog",
    "metadata.google.internal",
    "instance-data",
    "instance-data.ec2.internal",
)

# Addresses of version 6 that carry one of version 4: whoever holds the gateway would be asked there.
_CARRIERS = tuple(map(ip_network, ("::/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48")))

_PARTS = re.compile(r"(?P<scheme>https?)://(?P<place>[^/?#]*)(?P<path>[^?#]*)(?P<rest>.*)", re.I | re.S)
_PLACE = re.compile(r"(?P<host>\[[^\]]*\]|[^:\[\]]*)(?::(?P<port>[0-9]{0,5}))?")
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_NUMBER = re.compile(r"0x[0-9a-f]*|[0-9]+")
_PATH = re.compile(r"(?:/(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})+)*")
_CALLS = ("/chat/completions", "/completions", "/responses", "/models", "/embeddings")


@dataclass(frozen=True)
class Endpoint:
    """An address of a teacher, in its one spelling. Made by `read_endpoint` alone, which checks it."""

    scheme: str  # http or https
    host: str  # lower-case; an address as the standard spells it, of version 6 without brackets
    port: int
    path: str  # "" or begins with "/"; does not end with it

    def __str__(self) -> str:
        return self.base_url

    @cached_property
    def base_url(self) -> str:
        """The address as a client is given it: no default port, no slash at the end."""
        port = "" if self.port == PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{self._written_host}{port}{self.path}"

    @cached_property
    def origin(self) -> str:
        """What a key is bound to: scheme, host and port, the port always said."""
        return f"{self.scheme}://{self._written_host}:{self.port}"

    @property
    def _written_host(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host

    @cached_property
    def kind(self) -> Kind:
        """What is known of the host without asking anybody."""
        return kind_of(self.host)

    @property
    def is_unencrypted(self) -> bool:
        """Whether a key may be read on its way: plain http to what is not known to be near.

        A name is not known to be near before it is resolved; `check_key_may_travel` looks.
        """
        return self.scheme == "http" and self.kind not in ("loopback", "private")


# --- reading what a person typed ---


def read_endpoint(text: str, allow_local: bool = True) -> Endpoint:
    """Read a base URL. Resolves no name; `addresses` does.

    allow_local: this machine and private networks are fine, for vLLM or `transformers serve`.
    Raises WrongInput, in one line, for what is no plain http(s) address and for places never to be asked.
    """
    text = text.strip()
    _refuse_odd_characters(text)
    parts = _PARTS.fullmatch(text)
    if not parts:
        raise WrongInput("the teacher's address must begin with https:// or http://, such as " + DEFAULT)
    if "@" in parts["place"]:
        raise WrongInput("the teacher's address holds a name or password before @; leave it out")
    if parts["rest"]:
        raise WrongInput("the teacher's address holds ? or #; give what stands before it")
    place = _PLACE.fullmatch(parts["place"])
    if not place:
        raise WrongInput("the teacher's address has no clear host and port; write it as " + DEFAULT)
    scheme = parts["scheme"].lower()
    endpoint = Endpoint(
        scheme,
        _read_host(place["host"].lower()),
        _read_port(place["port"], scheme),
        _read_path(parts["path"]),
    )
    _refuse_place(endpoint.host, endpoint.host, allow_local)
    return endpoint


def default_endpoint() -> Endpoint:
    """Give the teacher that OPENAI_BASE_URL names, else OpenAI's own. Raises WrongInput."""
    given = os.environ.get(VARIABLE, "").strip()
    try:
        return read_endpoint(given or DEFAULT)
    except WrongInput as error:
        raise WrongInput(f"{VARIABLE}: {error}") from None


def _refuse_odd_characters(text: str) -> None:
    if len(text) > LONGEST:
        raise WrongInput(
            f"the teacher's address is longer than {LONGEST:,} characters; write it as {DEFAULT}"
        )
    if not text.isascii():
        raise WrongInput(
            "the teacher's address holds letters or digits that are not ASCII; "
            "type it with plain ones (a name in another script as xn--...)"
        )
    if "\\" in text or not text.isprintable() or " " in text:
        raise WrongInput(
            "the teacher's address holds a backslash, a space or a control character; leave it out"
        )


def _read_port(text: str | None, scheme: str) -> int:
    port = int(text) if text else PORTS[scheme]
    if not 1 <= port <= 65_535:
        raise WrongInput(f"the port of the teacher's address is {port}; it lies between 1 and 65535")
    return port


def _read_path(path: str) -> str:
    path = path.rstrip("/")
    parts = path.lower().replace("%2e", ".").split("/")
    if not _PATH.fullmatch(path) or "." in parts or ".." in parts:
        raise WrongInput(
            "the path of the teacher's address is not a plain one; write it as in https://HOST/v1"
        )
    for call in _CALLS:
        if path.endswith(call):
            raise WrongInput(f"the teacher's address names a call; give what stands before {call}")
    return path


def _read_host(host: str) -> str:
    """Give a host in its one spelling. Raises WrongInput for what two programs may read in two ways."""
    if host.startswith("["):
        return str(_read_version_6(host[1:-1]))
    labels = host.removesuffix(".").split(".")
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise WrongInput(
            "the host of the teacher's address is empty or holds what no host name does; write it as "
            + DEFAULT
        )
    if _NUMBER.fullmatch(labels[-1]):  # no name ends in a number (RFC 3696, section 2)
        return str(_read_version_4(labels))
    return ".".join(labels)


def _read_version_6(text: str) -> Address:
    """Read an address of version 6; one that means an address of version 4 becomes that."""
    try:
        address = IPv6Address(text)
    except AddressValueError:
        raise WrongInput("the teacher's address has brackets round what is no address of version 6") from None
    if address.scope_id is not None:
        raise WrongInput("the teacher's address names a network card (%); such addresses are link-local")
    return address.ipv4_mapped or address


def _read_version_4(labels: list[str]) -> IPv4Address:
    """Read one to four numbers, decimal, octal (0...) or hexadecimal (0x...), as `inet_aton` does."""
    try:
        numbers = [_read_number(label) for label in labels]
    except ValueError:
        numbers = []
    *first, last = numbers or [-1]
    fits = len(numbers) <= 4 and all(one < 256 for one in first) and 0 <= last < 256 ** (4 - len(first))
    if not fits:
        raise WrongInput(
            "the host of the teacher's address ends in a number and is no address of version 4; "
            "write it as four numbers up to 255"
        )
    return IPv4Address(sum(one << 8 * (3 - place) for place, one in enumerate(first)) + last)


def _read_number(label: str) -> int:
    if label.startswith("0x"):
        return int(label[2:] or "0", 16)
    return int(label, 8 if len(label) > 1 and label.startswith("0") else 10)


# --- what kind of place it is ---


def kind_of(host: str) -> Kind:
    """Tell what a host is, as an Endpoint spells it or as a resolver gives it."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        if _why_refused_name(host):
            return "refused"
        return "loopback" if host == "localhost" or host.endswith(".localhost") else "name"  # RFC 6761
    carried = _carried(address)
    if _why_refused_address(address):
        return "refused"
    if _lies_in(carried or address, LOOPBACK):
        return "loopback"
    return "private" if _lies_in(carried or address, PRIVATE) else "public"


def _lies_in(address: Address, networks: Iterable[Network]) -> bool:
    return any(address in network for network in networks)


def _carried(address: Address) -> IPv4Address | None:
    """Give the address of version 4 that one of version 6 carries: mapped, translated, or tunnelled."""
    if isinstance(address, IPv4Address) or address.is_loopback or address.is_unspecified:
        return None
    if address.ipv4_mapped or address.sixtofour:
        return address.ipv4_mapped or address.sixtofour
    if address.teredo:
        return address.teredo[1]
    return IPv4Address(int(address) & 0xFFFFFFFF) if _lies_in(address, _CARRIERS) else None


def _why_refused_address(address: Address) -> str:
    """Say why nobody should be asked at an address; "": nothing speaks against it."""
    for network, why in _REFUSED.items():
        if address in network:
            return why
    carried = _carried(address)
    if carried is None:
        return ""
    mapped = isinstance(address, IPv6Address) and address.ipv4_mapped is not None
    if why := _why_refused_address(carried):
        return why
    is_near = _lies_in(carried, (*LOOPBACK, *PRIVATE))
    return f"hides the address {carried}; write that" if is_near and not mapped else ""


def _why_refused_name(name: str) -> str:
    is_one = any(name == one or name.endswith(f".{one}") for one in _REFUSED_NAMES)
    return _METADATA if is_one else ""


def _refuse_place(host: str, shown: str, allow_local: bool) -> None:
    """Raise WrongInput when a host or what it resolves to is never to be asked, or not here."""
    kind = kind_of(host)
    if kind == "refused":
        try:
            why = _why_refused_address(ip_address(host.partition("%")[0]))
        except ValueError:
            why = _why_refused_name(host)
        raise WrongInput(f"{shown} {why}; name another teacher")
    if kind in ("loopback", "private") and not allow_local:
        raise WrongInput(f"{shown} is on this machine or a private network, which is not allowed here")


# --- with the network's help ---


def addresses(endpoint: Endpoint, allow_local: bool = True) -> list[str]:
    """Resolve the host and check what it resolves to. May wait for the network.

    Raises SourceUnavailable when the name is not known now, WrongInput as `check_addresses` does.
    """
    try:
        found = socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SourceUnavailable(
            f"{endpoint.host} cannot be resolved ({reason}); check the teacher's address and the network"
        ) from error
    unique = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    check_addresses(endpoint, unique, allow_local)
    return unique


def check_addresses(endpoint: Endpoint, found: Iterable[str], allow_local: bool = True) -> None:
    """Raise WrongInput when a single one of the addresses must not be asked: a client may take any."""
    for address in found:
        _refuse_place(address, f"{endpoint.host} resolves to {address}, which", allow_local)
        if endpoint.kind == "loopback" and kind_of(address) != "loopback":
            raise WrongInput(
                f"{endpoint.host} resolves to {address}, which is not this machine; write 127.0.0.1"
            )


def check_key_may_travel(endpoint: Endpoint) -> None:
    """Raise WrongInput when a key sent to this endpoint could be read on its way.

    Plain http is fine to this machine and to private networks. A name is resolved first, so this may wait
    for the network and raise SourceUnavailable.
    """
    if not endpoint.is_unencrypted:
        return
    if endpoint.kind == "name":
        kinds = {kind_of(address) for address in addresses(endpoint)}
        if kinds <= {"loopback", "private"}:
            return
    raise WrongInput(
        f"the key would travel to {endpoint.base_url} unencrypted; use https:// or leave the key out"
    )

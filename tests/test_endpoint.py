"""Which addresses of a teacher are taken, as what, and under which one spelling (faults.md S28, S30)."""

import socket

import pytest

from curation.endpoint import (
    Endpoint,
    addresses,
    check_addresses,
    check_key_may_travel,
    default_endpoint,
    kind_of,
    read_endpoint,
)
from curation.errors import SourceUnavailable, WrongInput


@pytest.mark.parametrize(
    ("typed", "base_url", "origin"),
    [
        ("https://api.openai.com/v1", "https://api.openai.com/v1", "https://api.openai.com:443"),
        ("HTTPS://API.OpenAI.com:443/v1/", "https://api.openai.com/v1", "https://api.openai.com:443"),
        ("  https://api.openai.com./v1//\n", "https://api.openai.com/v1", "https://api.openai.com:443"),
        ("https://api.openai.com:0443", "https://api.openai.com", "https://api.openai.com:443"),
        ("https://api.openai.com:/v1", "https://api.openai.com/v1", "https://api.openai.com:443"),
        ("http://localhost:8000/v1", "http://localhost:8000/v1", "http://localhost:8000"),
        ("http://127.1:80", "http://127.0.0.1", "http://127.0.0.1:80"),
        ("http://[0:0:0:0:0:0:0:1]:8000/V1", "http://[::1]:8000/V1", "http://[::1]:8000"),
        ("http://[::FFFF:127.0.0.1]:8000", "http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("http://my_vllm:8000/v1", "http://my_vllm:8000/v1", "http://my_vllm:8000"),
        (
            "https://x.openai.azure.com/openai/deployments/a%20b",
            "https://x.openai.azure.com/openai/deployments/a%20b",
            "https://x.openai.azure.com:443",
        ),
    ],
)
def test_a_place_has_one_spelling(typed: str, base_url: str, origin: str) -> None:
    """Case, default ports, dots and slashes at the end and odd numbers change nothing; a path's case does."""
    endpoint = read_endpoint(typed)
    assert (endpoint.base_url, endpoint.origin, str(endpoint)) == (base_url, origin, base_url)
    assert read_endpoint(endpoint.base_url) == endpoint, "reading it again changes nothing"


def test_scheme_host_and_port_make_the_origin() -> None:
    """Four places on one host that must not get each other's key, and a path that does not matter."""
    typed = (
        "https://a.example/v1",
        "http://a.example/v1",
        "https://a.example:8443/v1",
        "https://b.a.example/v1",
    )
    assert len({read_endpoint(one).origin for one in typed}) == 4
    assert read_endpoint("https://a.example/v2").origin == read_endpoint(typed[0]).origin


# What each spelling means. "refused" stands for a refusal, whose line must hold the words beside it.
SPELLINGS = [
    # this machine
    ("http://localhost:8000", "loopback", ""),
    ("http://LOCALHOST.", "loopback", ""),
    ("http://vllm.localhost", "loopback", ""),
    ("http://127.0.0.1", "loopback", ""),
    ("http://127.1", "loopback", ""),
    ("http://127.0.0.1.", "loopback", ""),
    ("http://2130706433", "loopback", ""),  # 127.0.0.1 as one number
    ("http://017700000001", "loopback", ""),
    ("http://0x7f.1", "loopback", ""),
    ("http://0x7F000001", "loopback", ""),
    ("http://0177.0.0.1", "loopback", ""),
    ("http://127.000.000.001", "loopback", ""),
    ("http://[::1]", "loopback", ""),
    ("http://[::ffff:127.0.0.1]", "loopback", ""),
    ("http://[::ffff:7f00:1]", "loopback", ""),
    # a private network
    ("http://10.0.0.7:8000", "private", ""),
    ("http://172.31.255.255", "private", ""),
    ("http://192.168.1", "private", ""),  # 192.168.0.1
    ("http://0xc0a80001", "private", ""),
    ("http://[fd12:3456::1]", "private", ""),
    ("http://[::ffff:10.0.0.7]", "private", ""),
    # everybody's
    ("https://8.8.8.8", "public", ""),
    ("https://172.32.0.1", "public", ""),
    ("https://100.63.255.255", "public", ""),
    ("https://[2606:4700::1111]", "public", ""),
    ("https://[64:ff9b::808:808]", "public", ""),  # 8.8.8.8 behind a translator
    ("https://api.openai.com", "name", ""),
    ("https://xn--bcher-kva.example", "name", ""),
    ("https://127.0.0.1.nip.io", "name", ""),  # what it resolves to is looked at later
    ("https://notlocalhost", "name", ""),
    # what gives credentials away, however it is written
    ("http://169.254.169.254", "refused", "169.254.169.254 is link-local"),
    ("http://169.254.169.254./latest", "refused", "169.254.169.254 is link-local"),
    ("http://2852039166", "refused", "169.254.169.254 is link-local"),
    ("http://0xa9fea9fe", "refused", "169.254.169.254 is link-local"),
    ("http://0251.0376.0251.0376", "refused", "169.254.169.254 is link-local"),
    ("http://0xa9.254.43518", "refused", "169.254.169.254 is link-local"),
    ("http://169.254.170.2", "refused", "is link-local"),
    ("http://[::ffff:169.254.169.254]", "refused", "169.254.169.254 is link-local"),
    ("http://[::ffff:a9fe:a9fe]", "refused", "169.254.169.254 is link-local"),
    ("http://[::169.254.169.254]", "refused", "is link-local"),
    ("http://[64:ff9b::a9fe:a9fe]", "refused", "is link-local"),
    ("http://[2002:a9fe:a9fe::1]", "refused", "is link-local"),
    ("http://[fd00:ec2::254]", "refused", "credentials of a cloud"),
    ("http://[fd00:0EC2:0::0254]", "refused", "credentials of a cloud"),
    ("http://[fd20:ce::254]", "refused", "credentials of a cloud"),
    ("http://metadata.google.internal", "refused", "credentials of a cloud"),
    ("http://METADATA.google.internal.", "refused", "credentials of a cloud"),
    ("http://x.metadata.google.internal", "refused", "credentials of a cloud"),
    ("http://metadata", "refused", "credentials of a cloud"),
    ("http://168.63.129.16", "refused", "credentials of a cloud"),
    ("http://192.0.0.192", "refused", "credentials of a cloud"),
    ("http://100.100.100.200", "refused", "provider's inner network"),  # Alibaba's
    ("http://100.64.0.1", "refused", "provider's inner network"),
    ("http://[fe80::1]", "refused", "is link-local"),
    ("http://[fe80::1%25eth0]", "refused", "network card"),
    # no single machine
    ("http://0.0.0.0:8000", "refused", "any address of this machine"),
    ("http://0", "refused", "any address of this machine"),
    ("http://[::]", "refused", "any address of this machine"),
    ("http://224.0.0.1", "refused", "multicast"),
    ("http://[ff02::1]", "refused", "multicast"),
    ("http://255.255.255.255", "refused", "broadcast"),
    ("http://4294967295", "refused", "broadcast"),
    # this machine and private networks where nobody would look for them
    ("http://[::127.0.0.1]", "refused", "hides the address 127.0.0.1"),
    ("http://[64:ff9b::7f00:1]", "refused", "hides the address 127.0.0.1"),
    ("http://[2002:a00:7::1]", "refused", "hides the address 10.0.0.7"),
    # spellings that two programs may read in two ways
    ("http://127.0.0.%31", "refused", "holds what no host name does"),
    ("http://%31%36%39.254.169.254", "refused", "holds what no host name does"),
    ("http://127.0.0.1%2f@x", "refused", "before @"),
    ("http://\uff11\uff12\uff17.0.0.1", "refused", "not ASCII"),  # full-width digits
    ("http://127\u30020\u30020\u30021", "refused", "not ASCII"),  # ideographic full stops
    ("http://169\uff0e254\uff0e169\uff0e254", "refused", "not ASCII"),
    ("http://\u2460\u2461\u2466.0.0.1", "refused", "not ASCII"),  # digits in circles
    ("http://loc\u0430lhost", "refused", "not ASCII"),  # a Cyrillic letter
    ("http://a@b", "refused", "before @"),
    ("http://api.openai.com@169.254.169.254", "refused", "before @"),
    ("http://api.openai.com:443@evil.example/v1", "refused", "before @"),
    ("http://@127.0.0.1", "refused", "before @"),
    ("http:\\\\127.0.0.1", "refused", "backslash"),
    ("https://api.openai.com\\@evil.example", "refused", "backslash"),
    ("https://api.openai.com\t.evil.example", "refused", "control character"),
    ("https://api.open\nai.com", "refused", "control character"),
    ("https://api.openai.com/v1 x", "refused", "space"),
    ("https://api.openai.com\x00.evil.example", "refused", "control character"),
    ("https://api.openai.com#@evil.example", "refused", "? or #"),
    ("https://api.openai.com?x=1", "refused", "? or #"),
    ("http://1.2.3.4.5", "refused", "no address of version 4"),
    ("http://256.1.1.1", "refused", "no address of version 4"),
    ("http://08.0.0.1", "refused", "no address of version 4"),  # no octal number
    ("http://4294967296", "refused", "no address of version 4"),
    ("http://example.0x7f", "refused", "no address of version 4"),
    ("http://[127.0.0.1]", "refused", "no address of version 6"),
    ("http://[::1", "refused", "no clear host and port"),
    ("http://::1", "refused", "no clear host and port"),
    ("http://a..b", "refused", "holds what no host name does"),
    ("http://-a.example", "refused", "holds what no host name does"),
    ("http://", "refused", "is empty"),
    ("http:///v1", "refused", "is empty"),
    ("http://localhost:0", "refused", "port"),
    ("http://localhost:65536", "refused", "port"),
    ("http://localhost:80a", "refused", "no clear host and port"),
    ("localhost:8000/v1", "refused", "must begin with https://"),
    ("file:///etc/passwd", "refused", "must begin with https://"),
    ("gopher://127.0.0.1", "refused", "must begin with https://"),
    ("http:127.0.0.1", "refused", "must begin with https://"),
    ("", "refused", "must begin with https://"),
    ("https://a.example/v1/../admin", "refused", "path"),
    ("https://a.example/v1/%2E%2e/admin", "refused", "path"),
    ("https://a.example/v1//x", "refused", "path"),
    ("https://a.example/v1/%zz", "refused", "path"),
    ("https://a.example/v1/chat/completions", "refused", "give what stands before /chat/completions"),
    ("https://a.example/" + "x" * 2000, "refused", "longer than 2,000 characters"),
]


@pytest.mark.parametrize(("typed", "kind", "words"), SPELLINGS, ids=lambda value: ascii(value)[:60])
def test_every_spelling_has_its_class(typed: str, kind: str, words: str) -> None:
    if kind != "refused":
        assert read_endpoint(typed).kind == kind
        return
    with pytest.raises(WrongInput) as refusal:
        read_endpoint(typed)
    line = str(refusal.value)
    assert words in line and "\n" not in line and len(line) < 200


@pytest.mark.parametrize(
    ("typed", "kind"), [(typed, kind) for typed, kind, _ in SPELLINGS if kind != "refused"], ids=ascii
)
def test_local_teachers_may_be_switched_off(typed: str, kind: str) -> None:
    """Without `allow_local` this machine and private networks are refused, and nothing else is."""
    if kind in ("public", "name"):
        assert read_endpoint(typed, allow_local=False).kind == kind
    else:
        with pytest.raises(WrongInput, match="on this machine or a private network"):
            read_endpoint(typed, allow_local=False)


def test_our_reading_of_numbers_is_the_c_library_s() -> None:
    """What we take is where a client would connect: inet_aton reads the same address from each spelling."""
    numbers = [typed for typed, kind, _ in SPELLINGS if kind in ("loopback", "private", "public")]
    read = 0
    for typed in numbers:
        host = typed.partition("//")[2].partition(":")[0]
        if host[-1].isdigit() and "[" not in host:
            assert socket.inet_ntoa(socket.inet_aton(host)) == read_endpoint(typed).host, typed
            read += 1
    assert read >= 10


@pytest.mark.parametrize(
    "typed",
    [
        "sk-canary-5309-5309-5309",  # a key in the wrong field
        "https://user:sk-canary-5309-5309-5309@api.openai.com",
        "https://api.openai.com/v1?api_key=sk-canary-5309-5309-5309",
        "https://api.openai.com/v1/ sk-canary-5309-5309-5309",
        "https://[sk-canary-5309-5309-5309]",
    ],
)
def test_no_refusal_repeats_what_may_be_a_secret(typed: str) -> None:
    with pytest.raises(WrongInput) as refusal:
        read_endpoint(typed)
    assert "canary" not in str(refusal.value)
    assert refusal.value.__cause__ is None


# --- names, once they are resolved ---


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (["8.8.8.8", "2606:4700::1111"], ""),
        (["192.168.1.7"], ""),
        (["127.0.0.1"], ""),
        (["169.254.169.254"], "resolves to 169.254.169.254, which is link-local"),
        (["8.8.8.8", "169.254.169.254"], "resolves to 169.254.169.254"),  # a client may take the second
        (["::ffff:169.254.169.254"], "is link-local"),
        (["fe80::1%eth0"], "is link-local"),
        (["0.0.0.0"], "any address of this machine"),
        (["100.64.3.4"], "provider's inner network"),
        (["fd00:ec2::254"], "credentials of a cloud"),
        (["64:ff9b::7f00:1"], "hides the address 127.0.0.1"),
    ],
)
def test_what_a_name_resolves_to_is_checked(found: list[str], words: str) -> None:
    """A name says nothing: 169.254.169.254.nip.io resolves to what it says."""
    endpoint = read_endpoint("https://teacher.example")
    if not words:
        check_addresses(endpoint, found)
    else:
        with pytest.raises(
            WrongInput, match=r"teacher\.example resolves to .*name another teacher"
        ) as refusal:
            check_addresses(endpoint, found)
        assert words in str(refusal.value)


def test_local_addresses_behind_a_name_may_be_switched_off() -> None:
    endpoint = read_endpoint("https://teacher.example", allow_local=False)
    check_addresses(endpoint, ["8.8.8.8"], allow_local=False)
    for near in ("127.0.0.1", "10.1.2.3", "::1", "fd12::1", "::ffff:10.0.0.1"):
        with pytest.raises(WrongInput, match="which is on this machine or a private network"):
            check_addresses(endpoint, [near], allow_local=False)


def test_localhost_must_be_this_machine() -> None:
    """A resolver that sends localhost elsewhere would get the key over plain http."""
    with pytest.raises(WrongInput, match=r"localhost resolves to 8.8.8.8, which is not this machine"):
        check_addresses(read_endpoint("http://localhost"), ["8.8.8.8"])


def test_addresses_asks_the_resolver() -> None:
    assert addresses(read_endpoint("http://127.1:8000")) == ["127.0.0.1"]
    assert addresses(read_endpoint("http://[::1]")) == ["::1"]
    assert set(addresses(read_endpoint("http://localhost"))) <= {"127.0.0.1", "::1"}
    with pytest.raises(WrongInput, match="on this machine"):
        addresses(read_endpoint("http://127.0.0.1"), allow_local=False)


def test_a_name_that_nobody_knows_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Offline (F26): not the person's mistake, so it may be tried again."""

    def offline(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", offline)
    with pytest.raises(
        SourceUnavailable, match=r"a\.example cannot be resolved \(Temporary failure .*check .*the network"
    ):
        addresses(read_endpoint("https://a.example"))


# --- the key on its way ---


@pytest.mark.parametrize(
    ("typed", "unencrypted"),
    [
        ("http://127.0.0.1:8000", False),
        ("http://localhost:8000", False),
        ("http://192.168.1.7", False),
        ("http://[fd12::1]", False),
        ("https://8.8.8.8", False),
        ("https://api.openai.com", False),
        ("http://8.8.8.8", True),
        ("http://api.openai.com", True),
    ],
)
def test_a_key_does_not_travel_in_clear(
    typed: str, unencrypted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plain http to what is neither this machine nor private: a warning, and refused once a key would go."""
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: resolved("8.8.8.8"))
    endpoint = read_endpoint(typed)
    assert endpoint.is_unencrypted == unencrypted
    if unencrypted:
        with pytest.raises(WrongInput, match=f"the key would travel to {typed} unencrypted; use https"):
            check_key_may_travel(endpoint)
    else:
        check_key_may_travel(endpoint)


def resolved(*found: str) -> list[tuple[object, ...]]:
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, 80)) for one in found]


def test_a_name_on_a_private_network_may_be_given_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """http://gpu-box:8000 is how people reach a vLLM of their own; every address must be near."""
    endpoint = read_endpoint("http://gpu-box:8000/v1")
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: resolved("192.168.1.7"))
    check_key_may_travel(endpoint)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: resolved("192.168.1.7", "8.8.8.8"))
    with pytest.raises(WrongInput, match="unencrypted"):
        check_key_may_travel(endpoint)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: resolved("169.254.169.254"))
    with pytest.raises(WrongInput, match="link-local"):
        check_key_may_travel(endpoint)


# --- the default ---


def test_the_default_is_the_environment_s_else_openai(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    assert default_endpoint() == Endpoint("https", "api.openai.com", 443, "/v1")
    monkeypatch.setenv("OPENAI_BASE_URL", " ")
    assert default_endpoint().base_url == "https://api.openai.com/v1"
    monkeypatch.setenv("OPENAI_BASE_URL", "http://LocalHost:8000/v1/")
    assert default_endpoint().base_url == "http://localhost:8000/v1"
    monkeypatch.setenv("OPENAI_BASE_URL", "http://me:secret@here")
    with pytest.raises(WrongInput, match="OPENAI_BASE_URL: the teacher's address holds a name or password"):
        default_endpoint()


def test_kinds_of_what_resolvers_give() -> None:
    assert [kind_of(one) for one in ("::ffff:10.0.0.1", "fe80::1%eth0", "::1", "8.8.8.8")] == [
        "private", "refused", "loopback", "public",
    ]  # fmt: skip

import pytest
from loopback import Names

from calotype.http import Blocked, Guard
from calotype.http.guard import is_public
from calotype.kernel.errors import Code


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://127.0.0.1./",
        "http://localhost/",
        "http://LOCALHOST./",
        "http://app.localhost/",
        "http://10.0.0.1/",
        "http://172.16.3.4/",
        "http://192.168.1.1/",
        "http://169.254.169.254/latest/meta-data/",
        "http://100.64.0.1/",
        "http://0.0.0.0/",
        "http://224.0.0.1/",
        "http://255.255.255.255/",
        "http://192.88.99.1/",
        "http://[::1]/",
        "http://[::]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:7f00:1]/",
        "http://[::127.0.0.1]/",
        "http://[64:ff9b::7f00:1]/",
        "http://[64:ff9b:1::a00:1]/",
        "http://[2002:7f00:1::]/",
        "http://[2001:0:4136:e378:8000:63bf:80ff:fffe]/",
        "http://[fe80::1]/",
        "http://[fe80::1%25eth0]/",
        "http://[fd00::1]/",
        "http://[ff02::1]/",
        "http://[fec0::1]/",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0x7f.0.0.1/",
        "http://0177.0.0.1/",
        "http://127.1/",
        "http://8.8.8/",
        "http://\uff11\uff12\uff17.0.0.1/",
        "http://user:pw@example.com/",
        "http://user@example.com/",
        "ftp://example.com/a.png",
        "file:///etc/passwd",
        "gopher://example.com/",
        "//example.com/a.png",
        "example.com/a.png",
        "http:///a.png",
        "http://example.com:22/",
        "http://example.com:6379/",
        "http://example.com:0/",
        "http://example.com:99999/",
        "http://exa mple.com/",
        "http://example.com\\@127.0.0.1/",
        "http://example.com/\r\nX: 1",
        "http://example.com/" + "a" * 20_000,
        "",
    ],
)
def test_what_needs_no_name_server_is_refused_with_a_sentence_and_the_field(url):
    with pytest.raises(Blocked) as caught:
        Guard().check_url(url, "input.image_url")
    assert caught.value.code is Code.INVALID_INPUT
    assert caught.value.field == "input.image_url"
    assert caught.value.message.endswith((".", "upload."))
    assert not caught.value.retryable


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/a.png?x=1#frag",
        "http://EXAMPLE.com.:8080/",
        "https://8.8.8.8/",
        "https://[2606:4700::1111]/",
        "https://bücher.example/a",
        "https://a.b.c1/x",
    ],
)
def test_public_urls_pass(url):
    Guard().check_url(url, "url")


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700:4700::1111", True),
        ("64:ff9b::808:808", True),
        ("64:ff9b::a00:1", False),
        ("2002:808:808::1", True),
        ("2002:a00:1::1", False),
        ("::ffff:8.8.8.8", True),
        ("::ffff:10.0.0.1", False),
        ("100.127.255.255", False),
        ("198.18.0.1", False),
        ("203.0.113.9", False),
        ("240.0.0.1", False),
        ("2001:db8::1", False),
        ("4000::1", False),
        ("not an address", False),
    ],
)
def test_only_globally_routable_unicast_is_public(address, public):
    assert is_public(address) is public


@pytest.mark.parametrize(
    ("entry", "url", "allowed"),
    [
        ("127.0.0.1", "http://127.0.0.1:9999/", True),
        ("127.0.0.1:9999", "http://127.0.0.1:9999/", True),
        ("127.0.0.1:9999", "http://127.0.0.1:9998/", False),
        ("Worker.LAN", "http://worker.lan/", True),
        ("[::1]:80", "http://[::1]/", True),
        ("localhost:22", "http://localhost:22/", True),
        ("example.com", "http://user@example.com/", False),
    ],
)
def test_an_operators_entry_exempts_exactly_that_host_and_port(entry, url, allowed):
    guard = Guard([entry])
    if allowed:
        guard.check_url(url)
    else:
        with pytest.raises(Blocked):
            guard.check_url(url)


async def test_the_resolver_hands_out_public_addresses_only():
    names = Names({"mixed.example": ["10.0.0.1", "93.184.216.34"], "private.example": ["10.0.0.1", "::1"]})
    guard = Guard(["lan.example"], resolver=names)
    assert [answer["host"] for answer in await guard.resolver.resolve("mixed.example", 80)] == ["93.184.216.34"]
    with pytest.raises(Blocked):
        await guard.resolver.resolve("private.example", 80)
    names.table["lan.example"] = ["10.0.0.2"]
    assert [answer["host"] for answer in await guard.resolver.resolve("lan.example", 80)] == ["10.0.0.2"]

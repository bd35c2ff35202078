"""Which hosts may be called, and at which addresses."""

from __future__ import annotations

import pytest

from listener.core import hosts
from listener.core.hosts import HostPolicy


@pytest.mark.parametrize(
    "address",
    [
        pytest.param("8.8.8.8", id="IPv4"),
        pytest.param("2600:1f18::1", id="IPv6"),
        pytest.param("::ffff:8.8.8.8", id="mapped"),
        pytest.param("64:ff9b::808:808", id="NAT64"),
        pytest.param("2002:808:808::1", id="6to4"),
    ],
)
def test_public_addresses(address: str) -> None:
    assert hosts.is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        pytest.param("127.0.0.1", id="loopback"),
        pytest.param("127.255.1.2", id="all of loopback"),
        pytest.param("10.1.2.3", id="10/8"),
        pytest.param("172.16.0.1", id="172.16/12"),
        pytest.param("192.168.1.1", id="192.168/16"),
        pytest.param("169.254.169.254", id="metadata of most clouds"),
        pytest.param("100.64.0.1", id="carrier-grade NAT"),
        pytest.param("100.100.100.200", id="metadata of Alibaba"),
        pytest.param("192.0.0.192", id="metadata of Oracle"),
        pytest.param("168.63.129.16", id="host agent of Azure"),
        pytest.param("0.0.0.0", id="unspecified"),  # noqa: S104
        pytest.param("0.1.2.3", id="0/8"),
        pytest.param("198.18.0.1", id="benchmarks"),
        pytest.param("203.0.113.1", id="documentation"),
        pytest.param("224.0.0.1", id="multicast"),
        pytest.param("239.1.1.1", id="multicast of an organisation"),
        pytest.param("240.0.0.1", id="reserved"),
        pytest.param("255.255.255.255", id="broadcast"),
        pytest.param("::", id="IPv6 unspecified"),
        pytest.param("::1", id="IPv6 loopback"),
        pytest.param("fe80::1", id="link-local"),
        pytest.param("fe80::1%eth0", id="link-local with its zone"),
        pytest.param("fec0::1", id="site-local, which Python calls global"),
        pytest.param("fd00:ec2::254", id="metadata of AWS"),
        pytest.param("ff02::1", id="IPv6 multicast"),
        pytest.param("2001:db8::1", id="IPv6 documentation"),
        pytest.param("2001::1", id="Teredo"),
        pytest.param("::ffff:127.0.0.1", id="mapped loopback"),
        pytest.param("::ffff:169.254.169.254", id="mapped metadata"),
        pytest.param("::127.0.0.1", id="compatible loopback, which Python calls global"),
        pytest.param("64:ff9b::a9fe:a9fe", id="NAT64 of the metadata"),
        pytest.param("64:ff9b:1::808:808", id="local NAT64"),
        pytest.param("2002:7f00:1::", id="6to4 of loopback"),
        pytest.param("2002:a00:1::1", id="6to4 of 10/8"),
        pytest.param("2130706433", id="decimal"),
        pytest.param("0x7f.1", id="hexadecimal"),
        pytest.param("0177.0.0.1", id="octal"),
        pytest.param("127.1", id="two parts"),
        pytest.param("127.0.0.1.", id="trailing dot"),
        pytest.param("8.8.8.8.", id="no address at all, so none that is public"),
        pytest.param("", id="empty"),
    ],
)
def test_addresses_that_are_not_public(address: str) -> None:
    assert not hosts.is_public(address)


@pytest.mark.parametrize(
    ("allowed", "host", "permitted"),
    [
        pytest.param([], "anything.example", True, id="no list, any host"),
        pytest.param(["quay.io"], "quay.io", True, id="as written"),
        pytest.param(["quay.io"], "evil.example", False, id="another"),
        pytest.param(["quay.io"], "quay.io.evil.example", False, id="only its beginning"),
        pytest.param(["quay.io"], "xquay.io", False, id="only its end"),
        pytest.param(["Quay.IO"], "qUAY.io", True, id="case does not matter"),
        pytest.param(["*.example.com"], "a.example.com", True, id="glob"),
        pytest.param(["*.example.com"], "a.b.example.com", True, id="a glob goes over dots"),
        pytest.param(["*.example.com"], "example.com", False, id="a glob needs its dot"),
        pytest.param(["quay.io"], "quay.io:8443", True, id="no port stands for every port"),
        pytest.param(["quay.io:443"], "quay.io:443", True, id="port"),
        pytest.param(["quay.io:443"], "quay.io:8443", False, id="another port"),
        pytest.param(["quay.io:443"], "quay.io", False, id="as written, so a port that is not written is none"),
        pytest.param(["quay.io:*"], "quay.io:1", True, id="glob for the port"),
        pytest.param(["*"], "a.b:1", True, id="everything"),
        pytest.param(["[fd00::1]:5000"], "[fd00::1]:5000", True, id="IPv6 and port"),
        pytest.param(["[fd00::1]"], "[fd00::1]:5000", True, id="IPv6 for every port"),
        pytest.param(["[fd00::1]"], "f:5000", False, id="brackets are no choice of letters"),
        pytest.param(["docker.io"], "registry-1.docker.io", True, id="Docker Hub by another name"),
        pytest.param(["index.docker.io"], "docker.io", True, id="Docker Hub by yet another"),
        pytest.param(["docker.io"], "auth.docker.io", False, id="not all of docker.io is the Hub"),
    ],
)
def test_judges_a_host_by_its_name(allowed: list[str], host: str, permitted: bool) -> None:
    fault = HostPolicy(allowed, ()).names(host)
    assert (fault is None) is permitted
    assert permitted or (fault and host in fault and "imports.allowed" in fault)


@pytest.mark.parametrize(
    ("allowed", "trusted", "host", "address", "permitted"),
    [
        pytest.param([], [], "evil.example", "10.0.0.1", False, id="a stranger at a private address"),
        pytest.param([], [], "quay.io", "8.8.8.8", True, id="a stranger at a public one"),
        pytest.param([], ["reg.corp:5000"], "reg.corp:5000", "10.0.0.1", True, id="a registry of the settings"),
        pytest.param([], ["reg.corp:5000"], "Reg.Corp:5000", "10.0.0.1", True, id="in any case"),
        pytest.param([], ["reg.corp:5000"], "reg.corp:6443", "10.0.0.1", False, id="at another port"),
        pytest.param([], ["reg.corp:5000"], "reg.corp", "10.0.0.1", False, id="without its port"),
        pytest.param([], ["reg.corp"], "reg.corp.", "10.0.0.1", False, id="with a dot at its end"),
        pytest.param(["*.corp"], [], "reg.corp:5000", "10.0.0.1", True, id="an allowed host"),
        pytest.param(["*.corp"], [], "evil.example", "10.0.0.1", False, id="a host that is not allowed"),
        pytest.param(["quay.io"], ["reg.corp"], "reg.corp", "10.0.0.1", True, id="trusted without being on the list"),
        pytest.param([], ["docker.io"], "registry-1.docker.io", "10.0.0.1", True, id="Docker Hub through a mirror"),
    ],
)
def test_judges_a_host_by_its_address(
    allowed: list[str], trusted: list[str], host: str, address: str, permitted: bool
) -> None:
    policy = HostPolicy(allowed, trusted)
    fault = policy.address(host, address)
    assert (fault is None) is permitted
    assert permitted or (fault and host in fault and address in fault)


def test_a_registry_of_the_settings_needs_not_be_on_the_list() -> None:
    assert HostPolicy(["quay.io"], ["reg.corp"]).names("reg.corp") is None

"""The commands a newcomer runs first."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from pathlib import Path

import pytest

from tests import real_parts
from tests.end_to_end.parts import eventually


async def test_the_demo_sees_every_step_happen(pytestconfig: pytest.Config) -> None:
    kubeconfig = pytestconfig.getoption("kubeconfig")
    where = ["--kubeconfig", str(kubeconfig)] if kubeconfig else []
    output = await real_parts.run(sys.executable, "-m", "listener", "demo", *where)
    moved = re.findall(r"✓ Deployment (\S+) moved to (sha256:[0-9a-f]{64})", output)
    first, second = moved[0][1], moved[2][1]
    assert first != second
    assert moved == [
        ("web", first),
        ("web-prod", first),  # promoted
        ("web", second),
        ("web-prod", second),  # promoted
        ("web-prod", first),  # rolled back, and held
        ("web-prod", second),  # released
    ]
    assert output.endswith("Every step was seen to happen.\n")


async def test_the_sandbox_serves_kubectl_and_a_push_until_it_is_told_to_end(
    kubectl: Path, skopeo: real_parts.Skopeo, tmp_path: Path
) -> None:
    from listener.sandbox.images import make_image  # noqa: PLC0415

    kubeconfig = tmp_path / "kubeconfig"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "listener", "sandbox", "--kubeconfig-out", str(kubeconfig)),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        banner = (await asyncio.wait_for(process.stdout.readuntil(b"Ctrl-C"), 30)).decode()
        host = re.search(r"registry\s+(\S+)", banner)
        assert host is not None
        assert kubeconfig.stat().st_mode & 0o077 == 0
        image = make_image("sandbox")
        await skopeo.push(image, f"{host[1]}/default/web:latest")

        async def stored() -> bool:
            found = await real_parts.run(kubectl, "--kubeconfig", kubeconfig, "get", "is", "-A", "-o", "yaml")
            return image.digest in found

        await eventually(stored, what="the push is stored")
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 30) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()

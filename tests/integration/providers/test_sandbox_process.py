"""The twin as a process of its own, as the demo and tests that kill our processes start it."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from tests.integration.providers.raw import message

from callboard.messages.ports import Accepted, SenderBlocked
from callboard_adapters.outbound import Outbound
from callboard_adapters.sandbox import MittoConfig, SandboxConfig
from callboard_adapters.sandbox.serve import read_config, sandbox_process
from callboard_adapters.sms.client import MittoSms


async def test_it_starts_with_its_configuration_serves_and_ends() -> None:
    config = SandboxConfig(seed=7, sms=MittoConfig(keys=("key",)))
    with sandbox_process(config) as url:
        async with Outbound() as outbound:
            good = MittoSms(http=outbound, base_url=url, api_key="key", sender="Shop")
            (answer,) = await good.send([message()])
            assert isinstance(answer, Accepted)
            assert answer.provider_message_id.startswith("00000007-")
            bad = MittoSms(http=outbound, base_url=url, api_key="other", sender="Shop")
            assert isinstance((await bad.send([message()]))[0], SenderBlocked)
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/_control/health", trust_env=False)


def test_a_configuration_is_read_from_text_or_a_file(tmp_path: Path) -> None:
    assert read_config('{"seed": 3}') == SandboxConfig(seed=3)
    file = tmp_path / "twin.json"
    file.write_text('{"journal": "counts"}')
    assert read_config(f"@{file}") == SandboxConfig(journal="counts")

from __future__ import annotations

import threading

import pytest

from callboard_adapters.http.webhooks.common import matching


@pytest.mark.parametrize(("size", "elsewhere"), [(10, False), (2_000_000, True)])
async def test_all_secrets_are_tried_and_large_bodies_are_hashed_off_the_event_loop(size: int, elsewhere: bool) -> None:
    threads = set()

    def fits(secret: str) -> bool:
        threads.add(threading.get_ident())
        return secret in {"b", "c"}

    assert await matching(["a", "b", "c", "b"], b"x" * size, fits) == {"b", "c"}
    assert threads.isdisjoint({threading.get_ident()}) is elsewhere

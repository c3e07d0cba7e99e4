"""Many clients doing everything at once: nothing breaks, nothing is answered twice, nothing is left over."""

import asyncio
import random

import pytest

from archon_transport.sessions import Limits
from tests.transport.house import request, running, tool_call, until


@pytest.mark.parametrize("seed", range(3))
async def test_a_crowd_leaves_nothing_behind(store, seed):
    """Whatever calls, cancellations, ends and broken-off exchanges meet, every answer is one that is
    allowed.
    """
    chance = random.Random(seed)
    async with running(store, limits=Limits(max_cached=2)) as house:
        sessions = [await house.connect(chance.choice(["2025-03-26", "2025-11-25"])) for _ in range(4)]
        statuses: list[int] = []

        async def act() -> None:
            session, id = chance.choice(sessions), chance.choice([1, "1", 2, 3])
            match chance.randrange(8):
                case 0:
                    answer = await house.call("echo", session, id=id, value="x")
                case 1:
                    answer = await house.post([request(id, "ping"), tool_call(9, "echo")], session)
                case 2:
                    answer = await house.note("notifications/cancelled", {"requestId": id}, session)
                case 3:
                    slow = asyncio.create_task(house.call("slow", session, id=id))
                    await asyncio.sleep(0.002)
                    slow.cancel()
                    await asyncio.wait([slow])
                    return
                case 4:
                    answer = await house.call("slow", session, id=id)
                case 5:
                    house.transport.sessions.tick()
                    answer = await house.ask("ping", session=session)
                case 6:
                    if chance.random() < 0.8:
                        return
                    answer = await house.send("DELETE", session=session)
                    sessions.append(await house.connect())
                case _:
                    answer = await house.note("notifications/initialized", session=session)
            statuses.append(answer.status)

        crowd = [asyncio.create_task(act()) for _ in range(150)]
        _, waiting = await asyncio.wait(crowd, timeout=1.0)
        house.works.release.set()
        await asyncio.gather(*crowd)
        assert set(statuses) <= {200, 202, 400, 404}
        assert {200, 202} <= set(statuses)
        await until(lambda: len(house.transport.calls) == 0)
        assert not [name for name in sessions if house.transport.calls.busy(name.partition(".")[0])]
        assert (await house.ask("ping", session=await house.connect())).status == 200
        del waiting

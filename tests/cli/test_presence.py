"""What a MES sees of a station whose daemon comes, is killed, comes back and ends."""

from __future__ import annotations

import asyncio
import signal

from controller.mes.connection import BrokerSettings, Endpoint
from tests.cli.plant import Data, Plant
from tests.controller.mes.brokers import Mosquitto, reading
from tests.controller.mes.listener import overhearing


async def test_a_station_is_online_broken_when_its_daemon_is_killed_and_offline_when_it_ends(plant: Plant) -> None:
    mosquitto = Mosquitto(plant.directory / "mosquitto")

    def change(data: Data) -> None:
        data["broker"] = {"url": f"mqtt://127.0.0.1:{mosquitto.port}", "insecure": True}

    settings = BrokerSettings((Endpoint("127.0.0.1", mosquitto.port),))
    async with mosquitto, overhearing(settings) as heard, reading(settings) as mes:
        await asyncio.to_thread(plant.up, change=change)
        await mes.sees("online", ["st01"])
        plant.daemon.end(signal.SIGKILL)
        await mes.sees("broken", ["st01"])
        plant.let_pass(60)
        await asyncio.to_thread(plant.serve)
        await mes.sees("online", ["st01"])
        assert (await asyncio.to_thread(plant.daemon.end)).code == 0
        await mes.sees("offline", ["st01"])
    assert heard.count["connection"] >= 4, "the line's own, too"
    assert mes.said == {"st01": ["online", "broken", "online", "offline"]}

"""The public `julabo` client, which runs on real CF31, on the simulated circulator behind its serial server."""

from __future__ import annotations

from config.line import SerialLinkConfig
from tests.independent import python_package
from tests.simulators.independent.conftest import Serve


async def test_it_circulates_at_the_set_point_and_says_what_is_wrong(serve: Serve) -> None:
    julabo = python_package("julabo")
    plant = await serve("demo_bench2")
    link = plant.links["chiller"]
    assert isinstance(link, SerialLinkConfig)
    connection = julabo.connection_for_url(link.port.replace("socket", "tcp"))
    await connection.open()
    bath = julabo.JulaboCF(connection)
    assert await bath.identification() == "JULABO CRYOCOMPACT CF31 VERSION 5.0"
    assert await bath.status() == "02 REMOTE STOP"
    assert (await bath.bath_temperature(), await bath.active_set_point_channel()) == (23.0, 1)
    await bath.set_point_1(15.5)
    await bath.start()
    assert (await bath.set_point_1(), await bath.is_started()) == (15.5, True)
    plant.clock[0] = 2 * 3600.0
    assert await bath.bath_temperature() == 15.5
    await bath.set_point_1(300)
    assert await bath.status() == "-11 VALUE TOO LARGE"
    await bath.stop()
    assert await bath.status() == "02 REMOTE STOP"
    await connection.close()

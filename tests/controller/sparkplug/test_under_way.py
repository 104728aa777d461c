"""What was on its way when a connection broke: at real brokers, whose answers alone tell what has arrived."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from controller.mes.connection import V311, BrokerSettings, Endpoint
from controller.sparkplug import node as sparkplug_node
from tests.controller.mes.brokers import Mosquitto, running
from tests.controller.sparkplug.host import at_port, host_at
from tests.controller.sparkplug.living import Door, living_node
from tests.controller.sparkplug.trace import HOST, Packet, Trace, tap

pytestmark = pytest.mark.timeout(120)  # real brokers, and as long as a busy machine takes

Told = set[tuple[int | None, object, int | None]]


def told(packet: Packet, *, historical: bool) -> Told:
    """Alias, value and time of what it says, now or as history."""
    metrics = packet.decoded.metrics
    return {(metric.alias, metric.value, metric.timestamp) for metric in metrics if metric.historical is historical}


@pytest.mark.parametrize("name", ["nats", "mosquitto-3.1.1"])
async def test_a_broker_tells_what_it_has_so_that_nothing_is_kept_for_long(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sparkplug_node, "ASK_S", 0.05)
    async with (
        running(name, tmp_path / "broker") as broker,
        living_node(broker.settings, tmp_path, Door()) as (node, virtual),
    ):
        await virtual.start()
        await virtual.until(lambda: node.core.under_way, 600)
        await virtual.until(lambda: not node.core.under_way, 600)
        assert node.core.connected
        assert node.last_error == ""


async def test_what_a_broker_took_in_no_more_comes_as_history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is stopped, as behind a cut cable: TCP goes on taking what nobody will read."""
    monkeypatch.setattr(sparkplug_node, "ASK_S", 0.05)
    trace = Trace()

    def asked_after(place: int) -> bool:
        return any(packet.kind == "UNSUBSCRIBE" for packet in trace.packets[place:])

    async with Mosquitto(tmp_path / "broker") as mosquitto, tap("127.0.0.1", mosquitto.port, trace) as port:
        settings = BrokerSettings((Endpoint("127.0.0.1", mosquitto.port),), versions=(V311,))
        async with living_node(at_port(settings, port), tmp_path, Door(), host=HOST) as (node, virtual):
            async with host_at(settings) as host:
                await host.says(True, 1000)
                await host.next("DBIRTH")
                assert mosquitto.process is not None
                status = Path(f"/proc/{mosquitto.process.pid}/stat")
                mosquitto.process.send_signal(signal.SIGSTOP)
                await virtual.until(lambda: status.read_text().split()[2] == "T", 600)
                stopped, taken = len(trace.packets), node.core.taken
                await virtual.start()
                await virtual.until(lambda: node.core.taken >= taken + 2 and asked_after(stopped), 600)
                await mosquitto.kill()
            await virtual.until(lambda: not node.core.connected, 600)
            sent = [packet for packet in trace.packets[stopped:] if packet.verb == "DDATA"]
            missing: Told = set().union(*(told(packet, historical=False) for packet in sent))
            assert "STARTING" in {value for _, value, _ in missing}
            await mosquitto.start()
            async with host_at(settings) as host:
                await host.says(True, 2000)
                await host.next("DBIRTH")
                while missing:
                    missing -= told(await host.next("DDATA"), historical=True)
    assert node.core.dropped == 0

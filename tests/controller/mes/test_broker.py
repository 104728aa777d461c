"""The embedded broker is a real one: served before it counts as ready, restarted when it dies, gone when we are."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path

import aiomqtt
import pytest

from config.line import EmbeddedBroker as EmbeddedBrokerConfig
from controller.mes.broker import BrokerError, EmbeddedBroker

ANY_PORT = EmbeddedBrokerConfig(port=0)


def client(broker: EmbeddedBroker, password: str | None = None) -> aiomqtt.Client:
    return aiomqtt.Client(
        broker.host, broker.port, username=broker.username, password=password or broker.password, timeout=5
    )


def listening(pid: int) -> set[tuple[str, int]]:
    """The addresses and ports on which a process takes connections, as the kernel has it."""
    links = [os.readlink(file) for file in Path(f"/proc/{pid}/fd").iterdir()]
    found = set[tuple[str, int]]()
    for family, table in ((socket.AF_INET, "tcp"), (socket.AF_INET6, "tcp6")):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *_, inode = line.split()[:10]
            if state == "0A" and f"socket:[{inode}]" in links:
                address, port = local.split(":")
                words = [bytes.fromhex(address[at : at + 8])[::-1] for at in range(0, len(address), 8)]
                found.add((socket.inet_ntop(family, b"".join(words)), int(port, 16)))
    return found


async def retained(broker: EmbeddedBroker, topic: str) -> bytes:
    async with asyncio.timeout(10), client(broker) as reader:
        await reader.subscribe(topic, qos=1)
        return bytes((await anext(reader.messages)).payload)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's list of sockets is Linux's")
async def test_it_serves_on_loopback_with_a_private_password(tmp_path: Path) -> None:
    async with EmbeddedBroker(ANY_PORT, tmp_path) as broker:
        async with client(broker) as mqtt:
            await mqtt.publish("evaline/x", b"1", qos=1, retain=True)
        assert await retained(broker, "evaline/x") == b"1"
        with pytest.raises(aiomqtt.MqttError):
            async with client(broker, password="wrong"):
                pass
        assert broker.pid is not None
        heard = listening(broker.pid)
        assert {address for address, _ in heard} == {"127.0.0.1"}
        assert broker.port in {port for _, port in heard}
        assert len(broker.password) >= 32
    for private in ("password", "nats.conf"):
        assert (tmp_path / "broker" / private).stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "broker").stat().st_mode & 0o777 == 0o700
    assert broker.pid is None


async def test_store_and_password_outlive_a_stop(tmp_path: Path) -> None:
    async with EmbeddedBroker(ANY_PORT, tmp_path) as first, client(first) as mqtt:
        await mqtt.publish("evaline/x", b"kept", qos=1, retain=True)
    async with EmbeddedBroker(ANY_PORT, tmp_path) as second:
        assert second.password == first.password
        assert await retained(second, "evaline/x") == b"kept"


async def test_a_port_in_use_is_one_clear_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BrokerError, match=f"port {port} on 127.0.0.1 is in use: .* broker.port") as caught:
            async with EmbeddedBroker(EmbeddedBrokerConfig(port=port), tmp_path):
                pass
    assert caught.value.code == "E-BROKER-PORT"
    assert "\n" not in str(caught.value)


async def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    (tmp_path / "broker").mkdir()
    (tmp_path / "broker" / "store").write_text("a file where the store should be")
    with pytest.raises(BrokerError, match=r"ended with code 1: .*FTL") as caught:
        async with EmbeddedBroker(ANY_PORT, tmp_path):
            pass
    assert caught.value.code == "E-BROKER-START"


async def test_a_killed_server_comes_back_at_the_same_port_with_its_store(tmp_path: Path) -> None:
    async with EmbeddedBroker(ANY_PORT, tmp_path) as broker, asyncio.TaskGroup() as group:
        async with client(broker) as mqtt:
            await mqtt.publish("evaline/x", b"kept", qos=1, retain=True)
        supervising = group.create_task(broker.supervise())
        old, port = broker.pid, broker.port
        assert old is not None
        os.kill(old, signal.SIGKILL)
        async with asyncio.timeout(20):
            while not broker.restarts:
                await asyncio.wait({supervising}, timeout=0.05)
        assert await retained(broker, "evaline/x") == b"kept"
        assert (broker.port, broker.restarts) == (port, 1)
        assert broker.pid not in (None, old)
        supervising.cancel()


async def test_it_dies_with_a_daemon_that_is_killed(tmp_path: Path) -> None:
    script = (
        "import asyncio, sys\nfrom pathlib import Path\nfrom config.line import EmbeddedBroker as C\n"
        "from controller.mes.broker import EmbeddedBroker\n"
        "async def main():\n async with EmbeddedBroker(C(port=0), Path(sys.argv[1])) as b:\n"
        "  print(b.pid, flush=True)\n  await b.supervise()\nasyncio.run(main())"
    )
    daemon = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert daemon.stdout is not None
    server = os.pidfd_open(int(await daemon.stdout.readline()))
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(server, ended.set)
    daemon.kill()
    await daemon.communicate()
    async with asyncio.timeout(10):
        await ended.wait()
    asyncio.get_running_loop().remove_reader(server)
    os.close(server)


async def test_a_deaf_server_is_replaced(tmp_path: Path) -> None:
    """Its port is open and the kernel takes connections; only a message that comes through says that it serves."""
    async with (
        EmbeddedBroker(ANY_PORT, tmp_path, probe_every=0.2, probe_within=0.5) as broker,
        asyncio.TaskGroup() as group,
    ):
        supervising = group.create_task(broker.supervise())
        deaf = broker.pid
        assert deaf is not None
        os.kill(deaf, signal.SIGSTOP)
        async with asyncio.timeout(30):
            while not broker.restarts:
                await asyncio.wait({supervising}, timeout=0.05)
        assert broker.last_error == "the broker ran, but served nobody"
        assert broker.pid not in (None, deaf)
        async with client(broker) as mqtt:
            await mqtt.publish("evaline/x", b"1", qos=1)
        supervising.cancel()

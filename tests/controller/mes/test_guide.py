"""The examples of docs/mes.md, as a MES developer would copy them, against a real broker and a line that works."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from config import LineConfig
from config.line import EmbeddedBroker as EmbeddedBrokerConfig
from controller.clock import PacedClock, wall_time
from controller.mes.broker import EmbeddedBroker
from controller.mes.commands import CommandDoor
from controller.mes.face import Face
from controller.mes.messages import Mode
from controller.mes.publisher import Publisher, settings_of
from tests.controller.conftest import DISCHARGE, REST
from tests.independent import node_package, program
from tests.virtual import virtual_line

GUIDE = (Path(__file__).parents[3] / "docs" / "mes.md").read_text(encoding="utf-8")
STEPS = [REST | {"duration": "2 s"}, DISCHARGE | {"ends": ["step_time >= 5 s"]}]

pytestmark = pytest.mark.timeout(180)  # real programs, and as long as a busy machine takes


def example(language: str, name: str) -> str:
    found = re.search(rf"```{language}\n((?:#|//) {re.escape(name)}.*?)```", GUIDE, re.S)
    assert found is not None
    return found[1]


@pytest.mark.parametrize("language", ["python", "javascript"])
async def test_the_example_starts_an_order_and_stores_its_result(
    language: str, line_with: Callable[..., LineConfig], short_recipe: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "short.yaml").write_text(short_recipe(STEPS), encoding="utf-8")

    def change(data: dict[str, Any]) -> None:
        data["mes"] = {"recipes": str(tmp_path / "site")}
        data["broker"] = {"kind": "embedded", "port": 0}

    if language == "python":
        script, directory = tmp_path / "mes.py", tmp_path
        arguments = [sys.executable, str(script)]
        script.write_text(example("python", "mes.py"), encoding="utf-8")
    else:
        directory = node_package("mqtt")
        arguments = [shutil.which("node") or "node", "-e", example("javascript", "mes.js")]
    config, clock = line_with(change=change), PacedClock(10.0)
    assert isinstance(config.broker, EmbeddedBrokerConfig)
    async with EmbeddedBroker(config.broker, tmp_path) as broker, virtual_line(clock, config) as virtual:
        line = virtual.line
        line.stations["st01"].set_mode(Mode.REMOTE, "kim")
        door = CommandDoor(line.stations, line.orders, line.journal, line.topics, clock, config.mes, wall_time)
        publisher = Publisher(
            line.journal, settings_of(config.broker, broker), line.topics, clock.now, config.broker, door
        )
        work = [asyncio.create_task(one) for one in (publisher.run(), door.run(), Face(line, publisher).run())]
        try:
            assert await publisher.drained(60)
            environment = os.environ | {
                "EVALINE_MQTT": f"{broker.host}:{broker.port}", "EVALINE_USER": broker.username,
                "EVALINE_PASSWORD": broker.password, "EVALINE_ROOT": line.topics.root, "EVALINE_ORDER": "WO-7",
                "EVALINE_RECIPE": "short",
            }  # fmt: skip
            program = await asyncio.create_subprocess_exec(
                *arguments, cwd=directory, env=environment, stdout=asyncio.subprocess.PIPE
            )
            said, _ = await program.communicate()
            # a minute tells no capacity, so there is no grade
            assert re.fullmatch(r"accepted \[\]\nst01-000001 pass (None|null)\n", said.decode()), said
            while line.journal.outbox.waiting:
                await publisher.drained(10)
                await asyncio.wait(work, timeout=0.05)
        finally:
            for task in work:
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)
        result = virtual.station.last_result
        assert result is not None
        assert (result["order"]["id"], result["mode"]) == ("WO-7", "REMOTE")


async def test_the_command_line_of_the_guide_is_answered(line_with: Callable[..., LineConfig], tmp_path: Path) -> None:
    program("mosquitto_pub", "mosquitto-clients")
    watch = re.search(r"# which stations are there.*?\n(.*?)\n#", GUIDE, re.S)
    hold = re.search(r"# hold it\n(.*?)```", GUIDE, re.S)
    assert watch is not None and hold is not None  # noqa: PT018
    config, clock = line_with(change=lambda data: data.update(broker={"kind": "embedded", "port": 0})), PacedClock()
    assert isinstance(config.broker, EmbeddedBrokerConfig)
    async with EmbeddedBroker(config.broker, tmp_path) as broker, virtual_line(clock, config) as virtual:
        line = virtual.line
        door = CommandDoor(line.stations, line.orders, line.journal, line.topics, clock, config.mes, wall_time)
        publisher = Publisher(
            line.journal, settings_of(config.broker, broker), line.topics, clock.now, config.broker, door, line.stations
        )
        running = asyncio.create_task(publisher.run())
        try:
            assert await publisher.drained(60)

            async def said(text: str) -> bytes:
                text = text.replace("18830", str(broker.port)).replace("var/broker", str(tmp_path / "broker"))
                shell = await asyncio.create_subprocess_exec("bash", "-ec", text, stdout=asyncio.subprocess.PIPE)
                out, _ = await shell.communicate()
                assert shell.returncode == 0
                return out

            connection = json.loads(await said(f"{watch[1]} -C 1"))
            assert (connection["source"], connection["data"]) == (f"/{line.topics.root}/st01", {"state": "online"})
            await said(hold[1])
            async with asyncio.timeout(60):
                with line.journal.commits() as committed:
                    while not (commands := line.journal.events(kind="command")):
                        await committed.wait()
                        committed.clear()
            assert (commands[0].body["command"], commands[0].body["codes"]) == ("hold", ["E-STATE"]), "nothing runs"
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

"""docs/drivers.md and docs/links.md: the example works as it is printed, and the tests that are named exist."""

from __future__ import annotations

import asyncio
import re
import tomllib
from pathlib import Path

import pytest
import yaml

from controller.instruments.probing import probe
from controller.instruments.wire import Wires, load_wired_line
from drivers import CATALOG
from tests.drivers.peers import answering, tcp_peer
from tests.virtual import DEMO_LINE

ROOT = Path(__file__).parents[1]
GUIDE = (ROOT / "docs" / "drivers.md").read_text(encoding="utf-8")
LINKS = (ROOT / "docs" / "links.md").read_text(encoding="utf-8")
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", GUIDE, re.M | re.S)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The package of the guide, as pip would have put it there; returns its driver's name."""
    project = tomllib.loads(blocks("toml")[0])["project"]
    (tmp_path / "lab_voltmeter.py").write_text(blocks("python")[0], encoding="utf-8")
    info = tmp_path / "lab_voltmeter-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: 1.0\n", encoding="utf-8")
    ((name, target),) = project["entry-points"]["evaline.drivers"].items()
    (info / "entry_points.txt").write_text(f"[evaline.drivers]\n{name} = {target}\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    return str(name)


def test_the_example_is_less_than_an_afternoon() -> None:
    assert len(blocks("python")[0].splitlines()) < 60


async def test_the_example_measures_in_a_line_and_is_found_by_probing(installed: str, tmp_path: Path) -> None:
    answers = {
        b"*IDN?\n": b"ACME,V1,17,1.0\n",
        b"SENS:VOLT:DC:RANG?\n": b"+1.00000000E+02\n",
        b"SYST:ERR?\n": b'+0,"No error"\n',
        b"READ?\n": b"+4.81234500E+01\n",
    }
    async with tcp_peer(answering(answers)) as port:
        line = yaml.safe_load(DEMO_LINE.read_text(encoding="utf-8"))
        line["stations"]["st01"]["instruments"] |= yaml.safe_load(blocks("yaml")[0].replace("5025", str(port)))
        path = tmp_path / "line.yaml"
        path.write_text(yaml.safe_dump(line), encoding="utf-8")
        config = load_wired_line(path).stations["st01"].instruments["voltmeter"]
        meter = CATALOG[config.driver].make(Wires()("voltmeter", config), "", "", config.settings)
        async with asyncio.timeout(10):
            assert (await meter.connect()).model == "V1"
            assert await meter.measure() == 48.12345  # type: ignore[attr-defined]
            await meter.close()
        probed = await probe(f"127.0.0.1:{port}", 0.2, (), lambda what: None)
        assert [(found.driver, found.identity and found.identity.serial) for found in probed.findings] == [
            (installed, "17")
        ]


async def test_the_transcript_test_of_the_guide_passes(installed: str) -> None:
    namespace: dict[str, object] = {}
    exec(compile(blocks("python")[1], "docs/drivers.md", "exec"), namespace)
    await namespace["test_measures"]()  # type: ignore[operator]


def test_every_test_that_the_links_page_names_exists() -> None:
    named = NAMED.findall(LINKS)
    rows = [row for row in LINKS.splitlines() if row.startswith("| ") and not row.startswith(("| **", "| pitfall"))]
    assert len(named) == len(rows), "each pitfall has its test"
    for file, test in named:
        text = (ROOT / file).read_text(encoding="utf-8")
        assert re.search(rf"^\s*(?:async )?def {test}\(", text, re.M), f"{file} has no {test}"


def test_the_kinds_of_links_in_the_table_are_those_of_the_line_file() -> None:
    table = GUIDE.split("| kind |")[1].split("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)`", table, re.M)) == {"visa", "serial", "xml_tcp", "modbus_tcp"}
    assert "`modbus_rtu`" in table

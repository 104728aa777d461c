"""Drivers of other packages: found by their entry points, imported when a line asks for them, and named when wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from config import DocumentError
from controller.instruments.wire import Wires, load_wired_line
from drivers import CATALOG, ConfigError
from tests.drivers.peers import answering, tcp_peer
from tests.virtual import DEMO_LINE

ACME = """
from drivers import AnswerError, DriverEntry, Setting
from drivers.identity import check_identity, parse_idn
from drivers.numbers import parse_reading


class AcmeVolt:
    def __init__(self, link, model="", serial="", *, digits=6):
        self._link, self._model, self._serial = link, model, serial

    async def connect(self):
        await self._link.open()
        return check_identity(await self.identify(), self._model, self._serial)

    async def identify(self):
        return parse_idn(await self._link.query("*IDN?"))

    async def close(self):
        await self._link.close()

    async def measure(self):
        return parse_reading(await self._link.query("READ?"))


ENTRY = DriverEntry("acme_volt", "voltmeter", "text", AcmeVolt, {"digits": Setting("digits", "integer")})
"""
IN_THE_LINE = """
      voltmeter:
        driver: %s
        model: V1
        link: {kind: visa, address: "TCPIP::127.0.0.1::%d::SOCKET"}
        settings: {digits: 7}
      interlock:
"""

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put a distribution where Python looks for installed ones: its module, and what it says of itself."""

    def put(package: str, module: str, text: str, **points: str) -> None:
        site = tmp_path / package
        info = site / f"{package}-1.0.dist-info"
        info.mkdir(parents=True)
        (site / f"{module}.py").write_text(text, encoding="utf-8")
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n", encoding="utf-8")
        lines = "\n".join(f"{name} = {target}" for name, target in points.items())
        (info / "entry_points.txt").write_text(f"[evaline.drivers]\n{lines}\n", encoding="utf-8")
        monkeypatch.syspath_prepend(str(site))

    return put


def line_file(tmp_path: Path, driver: str, port: int = 1) -> Path:
    path = tmp_path / "line.yaml"
    text = DEMO_LINE.read_text(encoding="utf-8").replace("\n      interlock:\n", IN_THE_LINE % (driver, port))
    path.write_text(text, encoding="utf-8")
    return path


async def test_a_driver_of_another_package_measures_in_a_line(tmp_path: Path, install: Install) -> None:
    install("acme-evaline", "acme_one", ACME, acme_volt="acme_one:ENTRY")
    assert "acme_volt" in CATALOG
    answers = {b"*IDN?\n": b"ACME,V1,17,1.0\n", b"READ?\n": b"+3.85012345E+00\n"}
    async with tcp_peer(answering(answers)) as port:
        line = load_wired_line(line_file(tmp_path, "acme_volt", port))
        config = line.stations["st01"].instruments["voltmeter"]
        meter = CATALOG[config.driver].make(Wires()("voltmeter", config), "V1", "", config.settings)
        async with asyncio.timeout(5):
            assert (await meter.connect()).serial == "17"
            assert await meter.measure() == 3.85012345  # type: ignore[attr-defined]
            await meter.close()


def test_nothing_is_imported_before_it_is_asked_for(install: Install) -> None:
    install("acme-trap", "acme_trap", "raise SystemExit('imported')", acme_trap="acme_trap:ENTRY")
    assert CATALOG["plc_interlock"].role == "interlock"
    assert "acme_trap" in set(CATALOG)


@pytest.mark.parametrize(
    ("text", "target", "reason"),
    [
        ("import no_such_library", "m:ENTRY", "cannot be imported: ModuleNotFoundError: No module named"),
        ("", "m:ENTRY", "cannot be imported: AttributeError"),
        ("1 / 0", "m:ENTRY", "cannot be imported: ZeroDivisionError: division by zero; update or remove the package"),
        ("ENTRY = 'a driver'", "m:ENTRY", "must be a DriverEntry of that name for one of the roles .*, not 'a driver'"),
        (ACME.replace('"acme_volt", "', '"other", "'), "m:ENTRY", "must be a DriverEntry of that name"),
        (ACME.replace('"voltmeter"', '"toaster"'), "m:ENTRY", "for one of the roles battery_monitor"),
    ],
)
def test_a_broken_package_is_one_line_with_its_name_and_place(
    tmp_path: Path, install: Install, request: pytest.FixtureRequest, text: str, target: str, reason: str
) -> None:
    module = f"acme_{abs(hash(request.node.name)) % 10**8}"  # a module of its own: Python remembers imports
    install("acme-broken", module, text, acme_volt=target.replace("m:", f"{module}:"))
    with pytest.raises(DocumentError, match=reason) as caught:
        load_wired_line(line_file(tmp_path, "acme_volt"))
    message = str(caught.value)
    assert "\n" not in message
    assert "driver 'acme_volt' of the package acme-broken" in message
    assert message.startswith(f"{tmp_path / 'line.yaml'}:") and "E-CONFIG" in message  # noqa: PT018


def test_two_packages_with_one_name_are_refused_whoever_came_first(tmp_path: Path, install: Install) -> None:
    install("acme-evaline", "acme_two", ACME, acme_volt="acme_two:ENTRY")
    install("volt-evaline", "volt_two", ACME, acme_volt="volt_two:ENTRY")
    with pytest.raises(DocumentError, match="packages acme-evaline and volt-evaline both offer a driver 'acme_volt'"):
        load_wired_line(line_file(tmp_path, "acme_volt"))


def test_a_package_cannot_take_the_name_of_one_of_ours(install: Install) -> None:
    install("acme-evaline", "acme_three", ACME, plc_interlock="acme_three:ENTRY")
    with pytest.raises(ConfigError, match="package acme-evaline offers a driver 'plc_interlock', which is ours"):
        CATALOG["plc_interlock"]
    with pytest.raises(DocumentError, match="acme-evaline"):
        load_wired_line(DEMO_LINE)

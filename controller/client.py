"""The daemon's API from the outside, as the command line uses it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx

# refused, and wrong as it was asked for; anything else is 1
EXIT_CODES = dict.fromkeys(
    ("E-STATE", "E-STATION", "E-ANSWER-REFUSED", "E-OUTBOX-MESSAGE", "E-INSTRUMENT-BUSY"), 4
) | dict.fromkeys(("E-INSTRUMENT-NAME", "E-INSTRUMENT-REQUEST"), 3)
TIMEOUT = httpx.Timeout(30.0, connect=3.0)


class ApiError(Exception):
    """What the daemon answered, as one line or one a finding, and the exit code it stands for. What comes in one
    language alone is told in that."""

    def __init__(
        self, exit_code: int, code: str, lines: list[str], reasons: Sequence[dict[str, str]] = (),
        lines_ko: list[str] | None = None,
    ) -> None:  # fmt: skip
        self.exit_code, self.code, self.lines, self.reasons = exit_code, code, lines, list(reasons)
        self._lines_ko = lines if lines_ko is None else lines_ko
        super().__init__("\n".join(lines))

    def in_language(self, lang: str) -> list[str]:
        return self._lines_ko if lang == "ko" else self.lines


class Client:
    """One connection to a running daemon. Every method raises ApiError."""

    def __init__(self, url: str, http: httpx.AsyncClient) -> None:
        self._url, self._http = url, http

    async def status(self) -> dict[str, Any]:
        return await self.ask("GET", "/api/status")

    async def start(self, station: str, body: dict[str, Any]) -> str:
        """Start a run; returns its id."""
        answer = await self.ask("POST", f"/api/stations/{station}/runs", body)
        return str(answer["run_id"])

    async def plan(self, station: str, body: dict[str, Any]) -> dict[str, Any]:
        """What a run would come to, and the reasons against its start."""
        return await self.ask("POST", f"/api/stations/{station}/plan", body)

    async def answer(self, station: str, question: int, value: Any, author: str) -> dict[str, Any]:
        """Answer what the running recipe asks; returns the station."""
        body = {"question": question, "value": value, "author": author}
        return await self.ask("POST", f"/api/stations/{station}/answers", body)

    async def command(self, station: str, command: str, author: str, reason: str) -> dict[str, Any]:
        body = {"author": author, "reason": reason}
        return await self.ask("POST", f"/api/stations/{station}/commands/{command}", body)

    async def mode(self, station: str, mode: str, author: str, reason: str) -> dict[str, Any]:
        """Who starts the station's runs from now on."""
        body = {"mode": mode, "author": author, "reason": reason}
        return await self.ask("POST", f"/api/stations/{station}/mode", body)

    async def orders(self) -> list[dict[str, Any]]:
        """The work orders that have not ended."""
        answer = await self.ask("GET", "/api/orders")
        return list(answer["orders"])

    async def runs(self) -> list[dict[str, Any]]:
        answer: Any = await self.ask("GET", "/api/runs")
        return list(answer)

    async def result(self, run_id: str) -> dict[str, Any]:
        return await self.ask("GET", f"/api/runs/{run_id}")

    async def outbox(self) -> dict[str, Any]:
        """How the delivery to the MES stands, and every refused message."""
        return await self.ask("GET", "/api/outbox")

    async def resend(self, body: dict[str, Any]) -> dict[str, Any]:
        """Send refused messages again; returns their numbers."""
        return await self.ask("POST", "/api/outbox/resend", body)

    async def follow(self, station: str) -> AsyncIterator[dict[str, Any]]:
        """Snapshots of a station as it changes, until the daemon ends."""
        async for snapshot in self.events(f"/api/stations/{station}/stream"):
            yield snapshot

    async def events(self, path: str) -> AsyncIterator[dict[str, Any]]:
        """Server-sent events of the API by their path, until the daemon ends."""
        try:
            async with self._http.stream("GET", path, timeout=None) as response:
                if not response.is_success:
                    raise self._refusal(response.status_code, json.loads(await response.aread()))
                async for line in response.aiter_lines():
                    if line.startswith("data: "):
                        yield json.loads(line.removeprefix("data: "))
        except (httpx.ReadError, httpx.RemoteProtocolError):
            return  # it ended in the middle of a snapshot
        except httpx.HTTPError as error:
            raise self._unreachable(error) from None

    async def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """One request of the API by its path."""
        try:
            response = await self._http.request(method, path, json=body)
        except httpx.HTTPError as error:
            raise self._unreachable(error) from None
        try:
            answer: dict[str, Any] = response.json()
        except json.JSONDecodeError:
            said = f"{self._url} answered {response.status_code}: is it Evaline?"
            korean = f"{self._url} 의 응답 {response.status_code}: Evaline 데몬이 맞습니까?"
            raise ApiError(1, "E-API", [said], lines_ko=[korean]) from None
        if response.is_success:
            return answer
        raise self._refusal(response.status_code, answer)

    def _refusal(self, status: int, answer: dict[str, Any]) -> ApiError:
        code = str(answer.get("code", "E-API"))
        if code == "E-REFUSED":
            reasons = answer["reasons"]
            korean = [reason_line(reason, "ko") for reason in reasons]
            return ApiError(4, code, [reason_line(reason, "en") for reason in reasons], reasons, korean)
        if code == "E-RECIPE":
            return ApiError(3, code, answer["findings"], lines_ko=answer["findings_ko"])
        unknown = f"the daemon refused the request ({status}): {answer}"
        unknown_ko = f"데몬이 요청을 거부했습니다 ({status}): {answer}"
        message = answer.get("message", unknown)
        korean = [answer.get("message_ko", message if "message" in answer else unknown_ko)]
        return ApiError(EXIT_CODES.get(code, 1), code, [message], lines_ko=korean)

    def _unreachable(self, error: httpx.HTTPError) -> ApiError:
        reason = str(error).strip().rstrip(".") or type(error).__name__
        said = (
            f"no daemon at {self._url}: {reason}; is `evaline serve` running? Another address: --url or EVALINE_URL "
            "[E-DAEMON-UNREACHABLE]"
        )
        korean = (
            f"{self._url} 에 데몬이 없습니다: {reason}. `evaline serve` 가 실행 중입니까? 다른 주소는 --url 또는 "
            "EVALINE_URL 로 지정하십시오 [E-DAEMON-UNREACHABLE]"
        )
        return ApiError(1, "E-DAEMON-UNREACHABLE", [said], lines_ko=[korean])


def reason_line(reason: dict[str, str], lang: str) -> str:
    """A reason against a start, and what to do about it."""
    own = "_ko" if lang == "ko" else ""
    return f"{reason[f'message{own}']}; {reason[f'hint{own}']} [{reason['code']}]"


@asynccontextmanager
async def connect(url: str) -> AsyncIterator[Client]:
    async with httpx.AsyncClient(base_url=url, timeout=TIMEOUT, trust_env=False) as http:
        yield Client(url, http)

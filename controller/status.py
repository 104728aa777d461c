"""A station as the API shows it."""

from __future__ import annotations

from typing import Any

from controller.station import Station

LIVE = ("voltage", "current", "power", "cell_min", "cell_max", "temperature_max", "soc")


def status_of(station: Station) -> dict[str, Any]:
    """A snapshot in plain JSON: V, A, W, degC, Ah, seconds of line time."""
    run, sample, last = station.run_now, station.latest, station.last_result
    live: dict[str, Any] = {}
    if sample is not None:
        live = {name: sample.good(name) for name in LIVE}
        live |= {"charged_ah": sample.counters.charged_ah, "discharged_ah": sample.counters.discharged_ah}
    return {
        "station": station.name,
        "state": station.state.name,
        "state_number": int(station.state),
        "mode": str(station.mode),
        "time": station.now,
        "run_id": run.id if run else None,
        "order": run.job.order_id if run else None,
        "dut": run.code if run else None,
        "recipe": run.recipe.id if run else None,
        "progress": _progress(station),
        "live": live,
        "question": question.as_json() if (question := station.question) is not None else None,
        "alarms": station.alarms,
        "instruments": {key: _health(station, key) for key in station.config.instruments},
        "links": {key: link.metrics.as_json(link.reopened) for key, link in station.instruments.links.items()},
        "last_run": last["run_id"] if last else None,
    }


def _progress(station: Station) -> dict[str, Any] | None:
    progress = station.progress
    if progress is None or station.run_now is None:
        return None
    return {
        "step": progress.step,
        "phase": progress.phase,
        "index": progress.index,
        "count": progress.count,
        "elapsed_s": progress.elapsed,
        "estimated_s": progress.estimated_total,
    }


def _health(station: Station, key: str) -> str:
    fault = station.instruments.faults.get(key)
    if fault is not None:
        return f"{fault} [{fault.code}]"
    return "ok" if key in station.instruments.identities else "not connected"

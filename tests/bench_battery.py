"""How fast the simulated battery runs: simulated seconds per second, 96 cells, one query a simulated second."""

from time import perf_counter

from config.dut import shipped_dut_models
from config.simulation import SimulatedBattery
from simulators.pack import Pack
from simulators.world import Source, World

SECONDS = 10_000
SOURCES = {
    "constant current": Source(450.0, 10.0, 10.0, 30e3, 30e3),
    "constant voltage": Source(370.0, 60.0, 60.0, 30e3, 30e3),
    "constant power": Source(450.0, 60.0, 60.0, 3e3, 3e3),
}


def bench_battery() -> dict[str, float]:
    """Measure each way of regulating, print and return the speeds."""
    dut = shipped_dut_models()["nmc_96s_60ah"]
    battery = SimulatedBattery(model=dut.id, code="PHE96-000001", soc=0.5)
    speeds = {}
    for name, source in SOURCES.items():
        time = [0.0]
        world = World(Pack.used(dut, battery, seed=1), lambda time=time: time[0])
        world.set_contactor(True)
        world.drive(source)
        start = perf_counter()
        for _ in range(SECONDS):
            time[0] += 1
            world.terminal()
        speeds[name] = SECONDS / (perf_counter() - start)
        print(f"battery, {dut.series_cells} cells, {name}: {speeds[name]:,.0f} simulated seconds per second")
    return speeds


if __name__ == "__main__":
    bench_battery()

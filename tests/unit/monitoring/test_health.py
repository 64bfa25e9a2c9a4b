"""Health is progress: who does not get on is not well, however alive it looks."""

from __future__ import annotations

from collections.abc import Iterable

from collectors.monitoring.health import ComponentHealth, HealthChecker, aged


def test_a_part_is_healthy_as_long_as_it_got_on_lately() -> None:
    assert aged(10.0, 10.0).healthy
    late = aged(61.0, 10.0)
    assert not late.healthy
    assert late.detail == "no progress for 61 s; 10 s are normal"
    assert late.age_seconds == 61.0


async def test_all_parts_of_all_checks_are_told() -> None:
    checker = HealthChecker()
    checker.register("one", lambda: [("tail", aged(1.0, 2.0)), ("load", aged(1.0, 2.0))])
    checker.register("two", lambda: [("scheduler", aged(0.0, 2.0))])
    report = await checker.check_all()
    assert report.healthy
    assert list(report.components) == ["tail", "load", "scheduler"]
    checker.register("two", lambda: [("scheduler", aged(9.0, 2.0))])
    report = await checker.check_all()
    assert not report.healthy
    assert list(report.unhealthy) == ["scheduler"]


async def test_with_nothing_to_look_at_nobody_is_well() -> None:
    assert not (await HealthChecker().check_all()).healthy


async def test_a_check_that_fails_is_unhealthy_itself_and_keeps_no_other_from_being_asked() -> None:
    def broken() -> Iterable[tuple[str, ComponentHealth]]:
        raise RuntimeError("postgres://user:hunter2@host")

    checker = HealthChecker()
    checker.register("broken", broken)
    checker.register("fine", lambda: [("fine", aged(0.0, 1.0))])
    report = await checker.check_all()
    assert report.components["fine"].healthy
    assert report.unhealthy == {"broken": "its check failed: RuntimeError"}

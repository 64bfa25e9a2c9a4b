"""The page's pure modules, run in the browser that will run them."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_asyncio
from page_double import counts
from page_site import Site
from playwright.async_api import Page

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


class Modules:
    """Calls what the page's modules export."""

    def __init__(self, page: Page) -> None:
        self._page = page

    async def run(self, module: str, body: str, argument: Any = None) -> Any:
        """Run ``body``, which sees the exports as ``m`` and the argument as ``a``, and return its value."""
        script = f"async ([module, a]) => {{ const m = await import('/assets/' + module); {body} }}"
        return await self._page.evaluate(script, [module, argument])

    async def each(self, module: str, call: str, arguments: list[Any]) -> list[Any]:
        """Evaluate ``call`` for each of ``arguments``."""
        result = await self.run(module, f"return a.map((a) => {call});", arguments)
        return list(result)


@pytest_asyncio.fixture(loop_scope="session")
async def modules(site: Site, page: Page) -> Modules:
    await page.goto(site.url)
    return Modules(page)


# format.js


@pytest.mark.parametrize(
    ("value", "unit", "rate", "text"),
    [
        (None, "By", False, "—"),
        (0, "By", False, "0 B"),
        (1023, "By", False, "1,023 B"),
        (1536, "By", False, "1.50 KiB"),
        (5 * 2**20, "By", True, "5.00 MiB/s"),
        (-3 * 2**30, "By", False, "-3.00 GiB"),
        (0.4567, "1", False, "45.7 %"),
        (1.0, "1", False, "100 %"),
        (12.5, "%", False, "12.5 %"),
        (0, "s", False, "0 s"),
        (0.00035, "s", False, "350 µs"),
        (0.0123, "s", False, "12.3 ms"),
        (90, "s", False, "1.50 min"),
        (0.25, "s", True, "25.0 %"),
        (1.5, "h", False, "1.50 h"),
        (2_400_000_000, "Hz", False, "2.40 GHz"),
        (41.2, "Cel", False, "41.2 °C"),
        (182_345_612, "{minor_unit}", False, "182,345,612"),
        (7, "{count}", False, "7"),
        (9_999, "{user}", False, "9,999"),
        (12_345, "{user}", False, "12.3 k"),
        (3.5, "{user}", False, "3.50"),
        (1_234_567, "{event}", True, "1.23 M/s"),
        (0, "{event}", True, "0 /s"),
        (51_000, "{event}/s", False, "51.0 k/s"),
        (0.5, "furlong", False, "0.500 furlong"),
    ],
)
async def test_values_are_shown_in_the_unit_that_reads_best(
    modules: Modules, value: float | None, unit: str, rate: bool, text: str
) -> None:
    assert await modules.run("format.js", "return m.quantity(...a)", [value, unit, rate]) == text


async def test_integers_have_thousands_separators(modules: Modules) -> None:
    texts = await modules.each("format.js", "m.integer(a)", [0, 999, 1_234_567_890_123, -1234, None])
    assert texts == ["0", "999", "1,234,567,890,123", "-1,234", "—"]


async def test_what_is_not_a_number_is_shown_as_none(modules: Modules) -> None:
    texts = await modules.run("format.js", "return [NaN, Infinity, undefined, '7'].map((v) => m.quantity(v, 'By'))")
    assert texts == ["—"] * 4


async def test_durations_have_at_most_two_units(modules: Modules) -> None:
    texts = await modules.each("format.js", "m.duration(a)", [0.0004, 59.9, 59.96, 200, 3600, 7325, 187_200, None])
    assert texts == ["400 µs", "59.9 s", "1 min", "3 min 20 s", "1 h", "2 h 2 min", "2 d 4 h", "—"]


async def test_moments_are_told_relative_to_the_servers_clock(modules: Modules) -> None:
    now = 1_767_225_600_000_000
    past = [now - int(s * 1e6) for s in (-5, 1, 12, 300, 7200, 200_000)]
    texts = await modules.each("format.js", f"m.ago(a, {now})", [*past, 0])
    assert texts == ["just now", "just now", "12 s ago", "5 min ago", "2 h ago", "2 d ago", "never"]
    assert await modules.run("format.js", f"return m.dateTime({now})") == "2026-01-01 00:00:00"


async def test_axis_labels_share_a_unit_and_tell_ticks_apart(modules: Modules) -> None:
    calls = [
        [[0, 0.25, 0.5], "1"],
        [[0, 0.001, 0.002], "1"],
        [[0, 512, 1024, 1536], "By"],
        [[0, 0.05, 0.1], "s"],
        [[0, 50_000, 100_000], "{event}/s"],
        [[], "1"],
    ]
    assert await modules.each("format.js", "m.axisLabels(...a)", calls) == [
        ["0 %", "25 %", "50 %"],
        ["0.0 %", "0.1 %", "0.2 %"],
        ["0.0 KiB", "0.5 KiB", "1.0 KiB", "1.5 KiB"],
        ["0 ms", "50 ms", "100 ms"],
        ["0 k/s", "50 k/s", "100 k/s"],
        [],
    ]


async def test_units_have_names(modules: Modules) -> None:
    units = ["By", "1", "{minor_unit}", "{process}", "{event}/s", "{count}", "furlong"]
    names = await modules.each("format.js", "m.unitName(a)", units)
    assert names == ["bytes", "ratio", "minor units", "processes", "events per second", "count", "furlong"]


# sse.js


async def parse(modules: Modules, chunks: list[str]) -> Any:
    return await modules.run("sse.js", "const p = new m.SseParser(); return a.flatMap((c) => p.push(c));", chunks)


STREAM = (
    '\ufeff: hello\r\nevent: alert\rid: 7\ndata: {"a":\ndata:  1}\n\ndata\n\nid: 8\n\nevent: x\n\r\ndata: end\r\n\r\n'
)
EVENTS = [
    {"event": "alert", "data": '{"a":\n 1}', "id": "7"},
    {"event": "message", "data": "", "id": "7"},
    {"event": "message", "data": "end", "id": "8"},
]


async def test_an_event_stream_is_read_by_the_rules_of_the_standard(modules: Modules) -> None:
    assert await parse(modules, [STREAM]) == EVENTS


@pytest.mark.parametrize("size", [1, 2, 3, 5, 17])
async def test_an_event_stream_may_be_cut_anywhere(modules: Modules, size: int) -> None:
    assert await parse(modules, [STREAM[i : i + size] for i in range(0, len(STREAM), size)]) == EVENTS


async def test_an_event_without_its_empty_line_is_not_delivered(modules: Modules) -> None:
    assert await parse(modules, ["data: half\n"]) == []


async def test_a_line_without_end_is_refused(modules: Modules) -> None:
    body = "const p = new m.SseParser(); try { for (;;) p.push('x'.repeat(1e6)); } catch (e) { return e.message; }"
    assert "too long" in await modules.run("sse.js", body)


async def test_a_server_may_ask_for_another_delay(modules: Modules) -> None:
    body = "const p = new m.SseParser(); p.push('retry: 1500\\nretry: soon\\n'); return p.retryMs;"
    assert await modules.run("sse.js", body) == 1500


async def test_delays_grow_to_a_limit_and_are_spread(modules: Modules) -> None:
    lowest = await modules.each("sse.js", "m.backoffMs(a, 0)", list(range(1, 12)))
    highest = await modules.each("sse.js", "m.backoffMs(a, 0.999999)", list(range(1, 12)))
    assert lowest[:4] == [250, 500, 1000, 2000]
    assert lowest[-1] == 15_000
    assert highest[0] == 500
    assert max(highest) == 30_000


# series.js

SERIES = "const s = new m.Series({}, a.step, a.rate); for (const [t, v] of a.points) s.add(t, v);"


async def points(modules: Modules, values: list[Any], *, step: float = 1.0, rate: bool = False) -> Any:
    argument = {"points": values, "step": step, "rate": rate}
    result = await modules.run("series.js", f"{SERIES} const p = s.points(); return [p.times, p.values];", argument)
    return list(map(list, zip(*result, strict=True)))


async def test_points_of_one_bucket_are_averaged(modules: Modules) -> None:
    assert await points(modules, [[10, 1], [11, 3], [12, 5], [20, 7]], step=10) == [[11, 3], [20, 7]]


async def test_of_a_counter_the_last_point_of_a_bucket_stays(modules: Modules) -> None:
    assert await points(modules, [[0, 0], [10, 50], [19, 95], [25, 125]], step=10, rate=True) == [[19, 5], [25, 5]]


async def test_a_counter_that_begins_anew_leaves_a_gap(modules: Modules) -> None:
    values = [[0, 10], [1, 20], [2, 3], [3, 5]]
    assert await points(modules, values, rate=True) == [[1, 10], [2, None], [3, 2]]


async def test_an_undefined_value_is_a_gap(modules: Modules) -> None:
    assert await points(modules, [[0, 1], [1, None], [2, 3]]) == [[0, 1], [1, None], [2, 3]]


async def test_where_samples_stopped_coming_the_line_ends(modules: Modules) -> None:
    values = [[0, 1], [1, 1], [2, 1], [3, 1], [60, 1], [61, 1]]
    assert [31.5, None] in await points(modules, values)


async def test_old_and_repeated_points_are_passed_over(modules: Modules) -> None:
    assert await points(modules, [[5, 1], [5, 2], [4, 3], [6, 4]]) == [[5, 1], [6, 4]]


async def test_a_series_keeps_a_bounded_number_of_points(modules: Modules) -> None:
    body = """
        const s = new m.Series({}, 1, false);
        for (let t = 0; t < 1e5; t++) s.add(t, t);
        return [s.length, s.last()];
    """
    length, last = await modules.run("series.js", body)
    assert length < 1000
    assert last == 99_999


async def test_a_series_that_stopped_has_no_newest_value(modules: Modules) -> None:
    argument = {"points": [[t, 7] for t in range(10)], "step": 1, "rate": False}
    assert await modules.run("series.js", f"{SERIES} return [s.last(11), s.last(100)];", argument) == [7, None]


async def test_of_too_many_series_the_largest_are_kept(modules: Modules) -> None:
    history = {"series": [{"labels": {"n": str(i)}, "points": [[1_000_000, i]]} for i in range(80)]}
    body = "const s = new m.SeriesSet(400, false); s.load(a); return [s.ranked().map((o) => o.labels.n), s.hidden];"
    names, hidden = await modules.run("series.js", body, history)
    assert names == [str(i) for i in range(79, 29, -1)]
    assert hidden == 30


async def test_the_order_of_labels_does_not_matter(modules: Modules) -> None:
    keys = await modules.each("series.js", "m.seriesKey(a)", [{"a": "1", "b": "2"}, {"b": "2", "a": "1"}, {"a": "1"}])
    assert keys[0] == keys[1] != keys[2]


async def test_columns_join_series_of_different_times(modules: Modules) -> None:
    body = """
        const [one, two] = [new m.Series({ n: "1" }, 1, false), new m.Series({ n: "2" }, 1, false)];
        one.add(1, 10); one.add(3, 30); two.add(2, 20); two.add(3, null);
        return m.columns([one, two]).map((c) => c.map((v) => (v === undefined ? "through" : v)));
    """
    assert await modules.run("series.js", body) == [[1, 2, 3], [10, "through", 30], ["through", 20, None]]


async def test_the_points_asked_for_shrink_with_the_number_of_series(modules: Modules) -> None:
    assert await modules.each("series.js", "m.pointsFor(a)", [0, 1, 150, 600, 100_000]) == [400, 400, 400, 100, 20]


# route.js


@pytest.mark.parametrize(
    "address",
    [
        "#",
        "#tenant=acme",
        "#tenant=acme&range=24h&pin=a.b,c.d",
        "#tenant=a%26b%20%2F&pin=",
        "#tenant=acme&from=1700000000&to=1700000900",
        "#range=7d",
    ],
)
async def test_an_address_says_the_same_after_reading_and_writing(modules: Modules, address: str) -> None:
    assert await modules.run("route.js", "return m.formatRoute(m.parseRoute(a))", address) == address


async def test_a_wrong_address_falls_back_to_what_is_usual(modules: Modules) -> None:
    route = await modules.run("route.js", "return m.parseRoute(a)", "#range=1y&from=9&to=3&pin=a,,a&tenant=")
    assert route == {"tenant": None, "range": "15m", "zoom": None, "pins": ["a"]}


async def test_pins_are_bounded(modules: Modules) -> None:
    address = "#pin=" + ",".join(f"m.n{i}" for i in range(500))
    assert await modules.run("route.js", "return m.parseRoute(a).pins.length", address) == 16


async def test_the_key_is_taken_out_of_the_address(modules: Modules) -> None:
    addresses = ["#key=a%20b&tenant=x&pin=a,b", "#tenant=x&key=k", "#key=", "#tenant=x&monkey=1"]
    assert await modules.each("route.js", "m.takeKey(a)", addresses) == [
        {"key": "a b", "rest": "#tenant=x&pin=a,b"},
        {"key": "k", "rest": "#tenant=x"},
        {"key": None, "rest": ""},
        {"key": None, "rest": "#tenant=x&monkey=1"},
    ]


# The others


async def test_the_servers_clock_is_carried_on_by_the_monotonic_one(modules: Modules) -> None:
    body = """
        let ms = 1000;
        const clock = new m.ServerClock(() => ms);
        clock.observe(5_000_000_000); ms += 500;
        const carried = clock.nowUs();
        clock.observe(5_000_400_000);
        const late = clock.nowUs();
        ms += 61_000; clock.observe(1_000_000);
        return [carried, late, clock.nowUs()];
    """
    # A message that was delayed does not turn the clock back; one that stays behind for a minute does.
    assert await modules.run("clock.js", body) == [5_000_500_000, 5_000_500_000, 1_000_000]


async def test_charts_are_chosen_from_what_there_is(modules: Modules) -> None:
    names = ["system.network.io", "system.cpu.utilization", "collectors.lake.size", "odd.one", "system.empty"]
    metrics = [{"name": name, "series": 0 if name == "system.empty" else 1} for name in names]
    operator = await modules.run("defaults.js", "return m.defaultPins('platform', a)", metrics)
    assert operator == ["system.cpu.utilization", "system.network.io", "collectors.lake.size", "odd.one"]
    crowded = [{"name": f"collectors.business.m{i}", "series": 1} for i in range(50)]
    crowded.append({"name": "collectors.security.events", "series": 1})
    chosen = await modules.run("defaults.js", "return m.defaultPins('acme', a)", crowded)
    assert chosen[:2] == ["collectors.business.m0", "collectors.security.events"]
    assert len(chosen) == 9


async def test_an_axis_begins_at_zero_unless_that_hides_the_movement(modules: Modules) -> None:
    calls = [[None, None, False], [0, 0, False], [5, 5, False], [0, 100, False], [99, 100, False], [99, 100, True]]
    ranges = await modules.each("charts.js", "m.valueRange(...a)", calls)
    assert ranges[:4] == [[0, 1], [0, 1], [0, 6.25], [0, 108]]
    assert ranges[4][0] > 98
    assert ranges[5][0] == 0


async def test_a_ledger_balances_only_if_it_adds_up(modules: Modules) -> None:
    ledgers = [counts(100, duplicate=3), counts(100, lost=2), {**counts(100), "stored": 101}]
    assert await modules.each("views/parts.js", "m.imbalance(a)", ledgers) == [0, 2, -1]


async def test_rates_are_bounded_and_survive_a_reload(modules: Modules) -> None:
    body = """
        const rates = new m.RateHistory();
        for (let i = 0; i < 1000; i++) rates.add("one", i * 5e6, i);
        for (let i = 0; i < 300; i++) rates.add("t" + i, 5e9, null), rates.add("t" + i, 5e9, 1);
        rates.add("t299", 5e9 + 1e6, 2);
        rates.save();
        const later = new m.RateHistory();
        later.load();
        return [later.points.size, later.get("one").length, later.get("t299")];
    """
    size, length, replaced = await modules.run("rates.js", body)
    assert size == 200
    assert length == 0
    assert replaced == [[5000, 2]]


async def test_rows_keep_their_elements_and_the_focus_when_others_come_and_go(modules: Modules) -> None:
    body = """
        const list = document.createElement("ul");
        document.body.append(list);
        const show = (keys) => m.reconcile(list, keys, (k) => k, (k) => {
            const node = m.h("li", {}, m.h("button", {}, k));
            return { node, update() {} };
        });
        show(["a", "b", "c"]);
        const button = list.children[1].firstChild;
        button.focus();
        show(["b", "c", "c", "d"]);
        return [list.textContent, document.activeElement === button];
    """
    assert await modules.run("dom.js", body) == ["bcd", True]


async def test_text_is_shortened_and_its_control_characters_are_spaces(modules: Modules) -> None:
    texts = await modules.each("dom.js", "m.clip(a, 5)", ["abc", "a\u0000b\nc", "abcdefgh", None])
    assert texts == ["abc", "a b c", "abcd…", ""]

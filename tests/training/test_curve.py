"""The training curve: where points lie, what is said, and logs that a careless programmer would trip over."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from polyseme.errors import InputError, OutputError
from polyseme.training import curve
from polyseme.training.axes import Axis, apart, duration, linear_ticks, log_ticks, number, short, thinned
from polyseme.training.curve import svg, write_curve
from polyseme.training.curve_log import Log

SVG = "{http://www.w3.org/2000/svg}"
Event = dict[str, Any]


def trained(update: int, forward: float, backward: float, **more: Any) -> Event:
    event = {"event": "train", "update": update, "of": 400, "epoch": (update - 1) // 100, "loss": "full"}
    event |= {"perplexity": {"forward": forward, "backward": backward}, "rate": 0.001, "targets": update * 10}
    return event | {"seconds": update * 0.5, "targets_per_second": 20.0} | more


def validated(update: int, forward: float, backward: float, **more: Any) -> Event:
    mean = math.sqrt(forward * backward)
    event = {"event": "validation", "update": update, "epoch": (update - 1) // 100, "seconds": update * 0.5}
    return event | {"heldout": {"forward": forward, "backward": backward, "mean": mean}, "best": True} | more


def rolled_back(update: int, to: int) -> Event:
    return {"event": "rollback", "update": update, "to": to, "rate_scale": 0.5}


EVENTS = [
    trained(100, 1000.0, 800.0),
    validated(100, 500.0, 400.0),
    trained(200, 100.0, 90.0),
    validated(200, 50.0, 40.0),
]


def drawn(events: list[Event], **more: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg(events, **more))


def lines(picture: ElementTree.Element, kind: str) -> list[list[tuple[float, float]]]:
    """The polylines of a class, as places."""
    found = [line for line in picture.iter(f"{SVG}polyline") if set(kind.split()) <= set(line.get("class", "").split())]
    return [[tuple(map(float, place.split(","))) for place in line.get("points", "").split()] for line in found]  # type: ignore[misc]


def texts(picture: ElementTree.Element) -> list[str]:
    return [element.text or "" for element in picture.iter(f"{SVG}text")]


def test_points_lie_where_arithmetic_puts_them() -> None:
    picture = drawn(EVENTS)
    # x: 0 .. 200 updates on 74 .. 872. y: logarithms of 40 .. 1000 on 440 .. 150.
    (forward,) = lines(picture, "heldout forward")
    assert forward[0] == pytest.approx((74 + 798 / 2, 440 - 290 * math.log(500 / 40) / math.log(25)), abs=0.06)
    assert forward[1] == pytest.approx((872, 440 - 290 * math.log(50 / 40) / math.log(25)), abs=0.06)
    (training,) = lines(picture, "training forward")
    assert training[0] == pytest.approx((473, 150), abs=0.06)
    (backward,) = lines(picture, "heldout backward")
    assert backward[1] == pytest.approx((872, 440), abs=0.06)


def test_the_rate_has_a_panel_of_its_own() -> None:
    picture = drawn([trained(100, 10.0, 10.0, rate=0.002), trained(200, 9.0, 9.0, rate=0.0)])
    (rate,) = lines(picture, "rate")
    assert rate[0] == pytest.approx((473, 606 - 80 / 1.1), abs=0.06)
    assert rate[1] == (872, 606)


def test_the_best_point_is_marked_with_its_value() -> None:
    picture = drawn([*EVENTS, validated(300, 60.0, 50.0)])
    assert f"best mean {math.sqrt(2000):.2f}, update 200" in texts(picture)
    (ring,) = [circle for circle in picture.iter(f"{SVG}circle") if circle.get("class") == "best"]
    assert float(ring.get("cx", "")) == pytest.approx(74 + 798 * 2 / 3, abs=0.06)


def test_the_picture_has_a_title_and_says_itself_in_words() -> None:
    picture = drawn(EVENTS, title="Training of x", subtitle="WikiText-2; LSTM")
    assert picture.get("role") == "img"
    assert picture.get("aria-labelledby") == "curve-title curve-desc"
    assert picture.findtext(f"{SVG}title") == "Training of x"
    described = picture.findtext(f"{SVG}desc") or ""
    assert "Held-out, forward: 500.0 first, 50.00 at update 200." in described
    assert "Best held-out mean: 44.72 at update 200." in described
    assert "WikiText-2; LSTM" in texts(picture)


def test_a_subtitle_has_two_lines_that_fit() -> None:
    shown = texts(drawn(EVENTS, subtitle="a" * 500 + "\nsecond\nthird"))
    assert "a" * 129 + "…" in shown
    assert "second" in shown
    assert "third" not in shown


def test_a_sampled_loss_is_drawn_differently_and_said() -> None:
    picture = drawn([trained(100, 30.0, 30.0, loss="sampled")])
    assert lines(picture, "training sampled forward")
    assert any("do not compare" in text for text in texts(picture))
    assert not any("do not compare" in text for text in texts(drawn(EVENTS)))


def test_a_rollback_is_marked_and_what_it_threw_away_stays_pale() -> None:
    events = [trained(u, 1000.0 / u, 1000.0 / u) for u in (10, 20, 30)]
    events += [rolled_back(35, 20), trained(30, 40.0, 40.0), trained(40, 30.0, 30.0)]
    picture = drawn(events)
    (live,) = (line for line in lines(picture, "training forward") if len(line) == 4)
    assert [round((x - 74) / 798 * 40) for x, _ in live] == [10, 20, 30, 40]
    (gone,) = lines(picture, "abandoned forward")
    assert [round((x - 74) / 798 * 40) for x, _ in gone] == [20, 30]
    assert "back to 20, half the rate" in texts(picture)


def test_a_validation_that_was_rolled_back_is_never_the_best() -> None:
    log = Log([validated(10, 5.0, 5.0), validated(20, 3.0, 3.0), rolled_back(25, 10), validated(20, 4.0, 4.0)])
    assert log.best == (20, pytest.approx(4.0))
    assert [event["heldout"]["forward"] for event in log.validations] == [5.0, 4.0]


def test_a_resumed_log_that_repeats_updates_is_read_as_going_back() -> None:
    log = Log([trained(10, 9.0, 9.0), trained(20, 8.0, 8.0), trained(20, 7.0, 7.0), trained(30, 6.0, 6.0)])
    assert log.training["forward"].points == [(10, 9.0), (20, 7.0), (30, 6.0)]


def test_values_that_are_no_numbers_leave_a_gap_and_are_counted() -> None:
    bad = {"forward": float("inf"), "backward": float("nan")}
    events = [trained(10, 9.0, 9.0), trained(20, 8.0, 8.0), trained(30, 1, 1, perplexity=bad), trained(40, 7.0, 7.0)]
    picture = drawn([*events, trained(50, 6.0, 6.0)])
    assert [len(line) for line in lines(picture, "training forward")] == [2, 2]
    assert any("2 values were no finite number" in text for text in texts(picture))
    assert "nan" not in svg(events).lower().replace("nothing", "")


def test_a_value_far_above_does_not_flatten_the_rest() -> None:
    picture = drawn([*EVENTS, trained(300, 1e300, 80.0)])
    assert "1 values lie above the picture" in texts(picture)
    assert "1,000" in texts(picture)


@pytest.mark.parametrize(
    "events",
    [
        [trained(1, 50.0, 50.0)],
        [validated(1, 50.0, 50.0)],
        [validated(0, 50.0, 50.0)],
        [trained(10, float("nan"), float("inf"))],
        [{"event": "train", "update": 5}, {"event": "train"}, {"event": "validation", "update": "six"}, {"odd": 1}],
        [rolled_back(5, 0)],
        [*EVENTS, {"event": "end", "update": 200, "heldout": {"mean": 45.0}}],
    ],
)
def test_any_log_gives_a_picture(events: list[Event]) -> None:
    picture = drawn(events)
    assert all("nan" not in (value or "") for element in picture.iter() for value in element.attrib.values())


def test_an_empty_log_says_so(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text("", encoding="utf-8")
    assert "Nothing is logged yet." in write_curve(tmp_path).read_text(encoding="utf-8")


def test_a_long_log_stays_a_small_page() -> None:
    picture = svg([trained(u, 100.0 + u % 7, 100.0) for u in range(1, 20_001)])
    assert len(picture) < 200_000


def write(folder: Path, events: list[Event]) -> None:
    (folder / "log.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events), encoding="utf-8")


def test_the_page_needs_nothing_else_and_holds_the_numbers(tmp_path: Path) -> None:
    write(tmp_path, [*EVENTS, {"event": "end", "update": 200, "heldout": {"mean": 45.25}}])
    sizes = {"n_layers": 2, "projection_size": 128, "cell_size": 1024, "softmax_size": 1000, "transformer": None}
    about = {"card": {"name": "x", "data": "WikiText-2"}, "architecture": sizes}
    (tmp_path / "config.json").write_text(json.dumps(about), encoding="utf-8")
    path = write_curve(tmp_path)
    text = path.read_text(encoding="utf-8")
    assert path == tmp_path / "curve.html"
    assert not [link for link in ("http:", "https:", "<script", "src=", "href=") if link in text.replace(SVG[1:-1], "")]
    assert "WikiText-2; LSTM, 1024 cells, 2 layers, width 128; softmax over 1000 words" in text
    assert "all held-out text by the best network: 45.25" in text
    assert '<th scope="row">100</th><td>1</td><td>50 s</td><td>500.0</td><td>400.0</td><td>447.2</td>' in text
    assert "prefers-color-scheme: dark" in text
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["config.json", "curve.html", "log.jsonl"]


def test_text_is_escaped_wherever_it_comes_from(tmp_path: Path) -> None:
    write(tmp_path, [validated(10, 5.0, 5.0, contexts=["a <b>[c]</b> & d", "e [f]"])])
    about = {"card": {"name": "<script>", "data": "A & B <i>"}, "architecture": {}}
    (tmp_path / "config.json").write_text(json.dumps(about), encoding="utf-8")
    text = write_curve(tmp_path).read_text(encoding="utf-8")
    assert "a &lt;b&gt;[c]&lt;/b&gt; &amp; d / e [f]" in text
    assert "<script>" not in text
    assert "A &amp; B &lt;i&gt;" in text
    ElementTree.fromstring(text[text.index("<svg") : text.index("</svg>") + 6])


@pytest.mark.parametrize("about", ["{", "[]", '{"card": 3, "architecture": [1]}'])
def test_a_config_that_cannot_be_read_costs_the_subtitle_only(tmp_path: Path, about: str) -> None:
    write(tmp_path, EVENTS)
    (tmp_path / "config.json").write_text(about, encoding="utf-8")
    assert f"Training of {tmp_path.name}" in write_curve(tmp_path).read_text(encoding="utf-8")


def test_lines_that_are_no_events_are_passed_over(tmp_path: Path) -> None:
    write(tmp_path, EVENTS)
    with (tmp_path / "log.jsonl").open("a", encoding="utf-8") as file:
        file.write('3\n{"event": "tra')
    write_curve(tmp_path)


def test_a_missing_log_and_a_full_disk_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"log\.jsonl"):
        write_curve(tmp_path)
    write(tmp_path, EVENTS)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(curve.Path, "write_text", full)
    with pytest.raises(OutputError, match=r"curve\.html.*No space left"):
        write_curve(tmp_path)


# --- axes


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [(0, 200, [0, 50, 100, 150, 200]), (0, 6000, [0, 1000, 2000, 3000, 4000, 5000, 6000]), (0, 7, list(range(8)))],
)
def test_linear_ticks_are_round(low: float, high: float, ticks: list[float]) -> None:
    assert linear_ticks(low, high, 8) == ticks


def test_log_ticks_are_round_and_few() -> None:
    assert log_ticks(40, 1000) == [50, 100, 200, 500, 1000]
    assert log_ticks(90, 210) == [100, 120, 140, 160, 180, 200]
    assert log_ticks(1, 1e9) == pytest.approx([1, 1e2, 1e4, 1e6, 1e8])
    assert all(len(log_ticks(3, 3 * 10**n)) <= 8 for n in range(1, 20))


def test_an_axis_without_extent_has_a_middle() -> None:
    assert Axis(5, 5, 0, 100, log=True)(5) == 50


def test_labels_are_moved_apart_within_bounds() -> None:
    assert apart([10, 12, 50], 17, 0, 100) == [10, 27, 50]
    assert apart([99, 98], 17, 0, 100) == [100, 83]


def test_numbers_are_spelt_for_reading() -> None:
    assert [number(value) for value in (12345.6, 123.45, 12.345, math.inf, 1e9)] == [
        "12,346", "123.5", "12.35", "beyond all numbers", "1e+09",
    ]  # fmt: skip
    assert [short(value) for value in (0, 0.0002, 1000, 1e-7, 2e9)] == ["0", "0.0002", "1,000", "1e-7", "2e9"]
    assert [duration(value) for value in (40, 720, 11_100)] == ["40 s", "12 min", "3 h 05"]


def test_thinning_keeps_the_ends_about_and_the_mean() -> None:
    points = [(float(x), 5.0) for x in range(10_000)]
    found = thinned(points, 100)
    assert len(found) == 100
    assert {y for _, y in found} == {5.0}

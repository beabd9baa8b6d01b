"""The picture: well-formed, and of the figures it was given."""

import xml.etree.ElementTree as ElementTree

import pytest
from chart import CLASSES, SECTIONS, draw
from report import summarize
from rows import FLOOR, OURS, PYSYNCOBJ, UNBATCHED, Row

SVG = "{http://www.w3.org/2000/svg}"
LEADER = Row("leader-1024", "1,024", "ops/s", "more")
GAP = Row("gap-kill", "gap", "s", "less")


def report_of(*rows, python="3.11.7"):
    machine = {"python": python, "platform": "x", "cores": 2}
    return {"machine": machine, "rounds": 3, "rows": list(rows)}


def bars_of(svg):
    """Return widths by class, in the order in which they are drawn below the legend."""
    found = [(r.get("class"), float(r.get("width"))) for r in svg.iter(f"{SVG}rect")]
    return [(kind, width) for kind, width in found if kind != "card" and width != 12.0]


def test_each_system_has_a_bar_as_long_as_its_figure():
    row = summarize(
        LEADER,
        {OURS: [100e3, 90e3], PYSYNCOBJ: [8e3, 9e3], UNBATCHED: [5e3, 6e3], FLOOR: [8e5, 9e5]},
    )
    svg = ElementTree.fromstring(draw(report_of(row)))
    bars = bars_of(svg)
    assert [kind for kind, _ in bars] == ["ours", "pysyncobj", "floor"]
    widths = dict(bars)
    assert widths["floor"] > widths["ours"] > widths["pysyncobj"] > 0
    said = [element.text for element in svg.iter(f"{SVG}text")]
    assert "95k" in said
    assert "8.5k  (ours 11.2 times)" in said
    assert "850k" in said


def test_it_says_of_how_many_measurements_the_medians_are():
    leader, gap = summarize(LEADER, {OURS: [1e5, 2e5]}), summarize(GAP, {OURS: [0.02] * 4})
    assert "Medians of 2 measurements in turn," in draw(report_of(leader))
    assert "Medians of 4 measurements in turn," in draw(report_of(gap))
    assert "Medians of 2 or more measurements in turn," in draw(report_of(leader, gap))


def test_figures_that_change_change_the_picture():
    pictures = {
        draw(report_of(summarize(LEADER, {OURS: [ours], FLOOR: [9e5]}))) for ours in (1e5, 2e5)
    }
    assert len(pictures) == 2


def test_rows_and_systems_that_are_missing_are_left_out():
    svg = ElementTree.fromstring(draw(report_of(summarize(GAP, {OURS: [0.02, 0.0]}))))
    assert [kind for kind, _ in bars_of(svg)] == ["ours"]
    titles = [e.text for e in svg.iter(f"{SVG}text") if e.get("class") == "head"]
    assert titles == [section.title for section in SECTIONS if "gap-kill" in section.rows]


def test_nothing_to_draw_is_an_error():
    with pytest.raises(ValueError, match="none of the rows"):
        draw(report_of(summarize(GAP, {OURS: [0.0]})))


def test_words_are_escaped():
    row = summarize(LEADER, {OURS: [1e5]})
    svg = ElementTree.fromstring(draw(report_of(row, python="<3 & more>")))
    assert any("<3 & more>" in (e.text or "") for e in svg.iter(f"{SVG}text"))


def test_all_bars_are_within_the_picture():
    rows = [
        summarize(Row(name, name, "", "more"), {OURS: [10.0**power], FLOOR: [3.0, 5e7]})
        for section in SECTIONS
        for power, name in enumerate(section.rows, -3)
    ]
    svg = ElementTree.fromstring(draw(report_of(*rows)))
    width, height = float(svg.get("width")), float(svg.get("height"))
    for element in svg.iter(f"{SVG}rect"):
        assert float(element.get("x")) + float(element.get("width")) <= width
        assert float(element.get("y")) + float(element.get("height")) <= height


def test_every_class_has_a_colour_on_light_and_on_dark():
    from chart import STYLE

    light, dark = STYLE.split("@media (prefers-color-scheme: dark)")
    for kind in CLASSES.values():
        assert f".{kind} {{ fill" in light
        assert f".{kind} {{ fill" in dark

"""Reading trace files: whole traces, the newest one, bad lines, the drawing."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from npufleet.telemetry import tree


def line(trace_id, *spans, service="s"):
    """One TracesData line; a span is (id, parent, name, start, end, attributes, status)."""
    rows = [
        {
            "traceId": trace_id,
            "spanId": f"{identity:016x}",
            "parentSpanId": f"{parent:016x}" if parent else "",
            "name": name,
            "startTimeUnixNano": str(start),
            "endTimeUnixNano": str(end),
            "attributes": [{"key": key, "value": value} for key, value in attributes.items()],
            "status": status,
        }
        for identity, parent, name, start, end, attributes, status in spans
    ]
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": service}}]}
    return json.dumps({"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": rows}]}]}) + "\n"


A, B = "a" * 32, "ab" * 16
ROOT = (1, 0, "call fft", 1_000, 901_000, {"npufleet.engine": {"stringValue": "rust"}}, {})


@pytest.fixture
def folder(tmp_path):
    child = (2, 1, "execute", 5_000, 25_500, {"npufleet.rows": {"intValue": "3"}}, {"code": 2})
    (tmp_path / "one-1.jsonl").write_text(line(A, ROOT) + line(B, (9, 0, "call echo", 500, 600, {}, {})))
    (tmp_path / "two-2.jsonl").write_text(line(A, child, service="w"))
    return tmp_path


def test_a_trace_is_gathered_from_all_files(folder):
    found = tree.find(A, folder)
    assert [(span.service, span.name, span.microseconds, span.status) for span in found.spans] == [
        ("s", "call fft", 900.0, "unset"),
        ("w", "execute", 20.5, "error"),
    ]
    root, child = found.spans
    assert found.children(None) == [root]
    assert found.children(root) == [child]
    assert child.attributes == {"npufleet.rows": 3}


def test_plain_values_name_the_parent(folder):
    rows = tree.find(A, folder).to_dicts()
    assert [(row["name"], row["parent"], row["service"]) for row in rows] == [
        ("call fft", None, "s"),
        ("execute", "call fft", "w"),
    ]
    assert json.loads(json.dumps(rows)) == rows


def test_the_last_trace_is_the_one_whose_root_started_last(folder):
    assert tree.last(folder).trace_id == A
    (folder / "three-3.jsonl").write_text(line("c" * 32, (1, 0, "call echo", 2_000, 3_000, {}, {})))
    assert tree.last(folder).trace_id == "c" * 32


def test_no_files_no_trace(tmp_path):
    assert tree.last(tmp_path) is None
    assert tree.last(tmp_path / "absent") is None
    assert tree.find(A, tmp_path) is None


def test_the_beginning_of_an_id_is_enough(folder):
    assert tree.find("AAAA", folder).trace_id == A
    assert tree.find("abab", folder).trace_id == B
    assert tree.find("dddd", folder) is None


@pytest.mark.parametrize("text", ["", "aaa", "xyzxyz", "a" * 33, "../../etc"])
def test_text_that_is_no_id_is_refused(folder, text):
    with pytest.raises(ValueError, match="trace id is"):
        tree.find(text, folder)


def test_an_ambiguous_beginning_is_refused(folder):
    (folder / "three-3.jsonl").write_text(line("aaaa" + "b" * 28, ROOT))
    with pytest.raises(ValueError, match="give more digits"):
        tree.find("aaaa", folder)


def test_bad_lines_are_said_and_skipped_and_unfinished_ones_ignored(folder, caplog):
    with (folder / "one-1.jsonl").open("a") as file:
        file.write(f'{{"{A}"\n{{"resourceSpans": 1, "x": "{A}"}}\n[]\n{{"resourceSpans": [{{"{A}')
    assert len(tree.find(A, folder).spans) == 2
    assert caplog.text.count("no OTLP/JSON") == 2


def test_the_drawing_shows_names_times_services_and_errors(folder):
    console = Console(file=io.StringIO(), width=200, force_terminal=False)
    console.print(tree.find(A, folder).render())
    drawn = console.file.getvalue()
    first, second, third = drawn.splitlines()
    assert A in first
    assert "call fft  900 us  +0 us  s  engine=rust" in second
    assert "execute  20 us  +4 us  w  rows=3" in third


def test_a_span_whose_parent_is_elsewhere_is_drawn_at_the_top(tmp_path):
    (tmp_path / "x-1.jsonl").write_text(line(A, (2, 77, "execute", 1, 2, {}, {})))
    found = tree.find(A, tmp_path)
    assert found.children(None) == list(found.spans)
    assert found.to_dicts()[0]["parent"] is None
    assert found.to_dicts()[0]["parent_id"] == f"{77:016x}"

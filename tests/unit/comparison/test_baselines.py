"""Baselines: small, whole, and never made by accident."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_servebench.comparison.baselines import (
    Baseline,
    BaselineStore,
    baseline_text,
    is_name,
    parse_baseline,
    read_baseline,
)
from pytest_servebench.comparison.changes import DEFAULT_LIMITS, ChangeVerdict
from pytest_servebench.comparison.conditions import conditions
from pytest_servebench.comparison.figures import FIGURES
from pytest_servebench.comparison.fingerprint import fingerprint
from pytest_servebench.comparison.promoting import GATING_REPEATS, baseline_of, doubts_of
from pytest_servebench.comparison.regression import changes_of
from pytest_servebench.comparison.replicates import case_name, replicates_of
from pytest_servebench.comparison.saved_runs import SavedRun, read_run
from pytest_servebench.comparison.trimmed import packed, trimmed, unpacked
from pytest_servebench.errors import PlanError
from pytest_servebench.options.planning import BASELINE_REPEATS
from pytest_servebench.plan import ModelFormat
from tests.saved_records import repeats, save, saved_record


def made(records: list[dict[str, Any]], name: str = "main") -> Baseline:
    """Return the baseline that one run of ``records`` makes."""
    run = SavedRun(name="run", records=tuple(records), facts=({"run_id": "1", "started": "2026"},))
    return baseline_of([run], name=name, promoted="2026-11-20T09:00:00+00:00")


def whole_suite() -> list[dict[str, Any]]:
    """Return 24 cases with 5 repeats each."""
    return [
        record
        for stack in ("fastapi", "triton", "torchserve")
        for model_format in (ModelFormat.ONNX, ModelFormat.PYTORCH)
        for batch in (1, 8, 16, 32)
        for record in repeats(5, stack=stack, model_format=model_format, batch=batch)
    ]


@settings(max_examples=40)
@given(st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=20))
def test_nothing_that_is_compared_is_lost(value: float, text: str) -> None:
    """A baseline's records say of every case what the run's did: figures, fingerprint, conditions, doubts."""
    records = [*repeats(3), *repeats(2, stack="triton", images_per_s=value, reason=text)]
    records += [saved_record(stack="triton", measurement=2), saved_record(stack="torchserve")]
    on_gpu = {"gpu_name": "T4", "gpu_memory_bytes": 10**9, "gpu_energy_source": "counter"}
    records += [saved_record(stack="other", device="cuda:0", telemetry=on_gpu)]
    back = parse_baseline(json.loads(baseline_text(made(records))), "here").records
    assert [case_name(each) for each in back] == [case_name(each) for each in records]
    for before, after in zip(records, back, strict=True):
        assert fingerprint(before) == fingerprint(after)
        assert conditions(before) == conditions(after)
        assert (before["validity"], before["reason"]) == (after["validity"], after["reason"])
        assert [each.of(before) for each in FIGURES.values()] == [each.of(after) for each in FIGURES.values()]
        assert [each.kind(before) for each in FIGURES.values()] == [
            each.kind(after) for each in FIGURES.values()
        ]


def test_a_run_passes_against_itself() -> None:
    """What was promoted, compared with what it was promoted from, has not changed."""
    records = repeats(5)
    back = parse_baseline(json.loads(baseline_text(made(records))), "here").records
    changes = changes_of(back, records, limits=DEFAULT_LIMITS)
    assert [change.verdict for change in changes] == [ChangeVerdict.PASS, ChangeVerdict.PASS]


def test_a_baseline_is_small_and_says_nothing_of_the_course() -> None:
    """24 cases with 5 repeats go into a repository: below 100 KB, a line for each replicate."""
    text = baseline_text(made(whole_suite()))
    assert len(text) < 100_000
    for word in ("histogram", "timeline", "samples", "first_error"):
        assert word not in text
    assert sum('"response_time_ms"' in line for line in text.splitlines()) == 24 * 5


def test_what_is_packed_comes_back() -> None:
    """Nothing is said twice, and nothing is lost by it."""
    records = [trimmed(each) for each in [*repeats(3), *repeats(1, stack="triton")]]
    assert unpacked(json.loads(json.dumps(packed(records)))) == tuple(records)
    assert unpacked(packed([])) == ()


@pytest.mark.parametrize(
    "word",
    ["../main", "a/b", "/etc/passwd", "", ".hidden", "main.json", "none", "a b", "a,b", "a" * 101, "ä"],
)
def test_a_name_leads_nowhere_else(tmp_path: Path, word: str) -> None:
    """A path, a hidden file or the word for nothing is no name, to read, to write or to drop."""
    assert not is_name(word)
    store = BaselineStore(tmp_path / "baselines")
    for act in (store.read, store.drop, lambda name: store.write(made(repeats(1), name))):
        with pytest.raises(PlanError, match="is no name of a baseline") as caught:
            act(word)
        assert "letters, digits" in caught.value.next_step
    assert list(tmp_path.iterdir()) == []


def test_a_baseline_is_replaced_only_on_request(tmp_path: Path) -> None:
    """The ratchet trap: what is there is not written over unless somebody says so."""
    store = BaselineStore(tmp_path)
    path = store.write(made(repeats(5)))
    before = path.read_text(encoding="utf-8")
    with pytest.raises(PlanError, match="there is a baseline main already") as caught:
        store.write(made(repeats(4)))
    assert "--replace" in caught.value.next_step
    assert path.read_text(encoding="utf-8") == before
    store.write(made(repeats(4)), replace=True)
    assert len(store.read("main").records) == 4
    assert [each.name for each in tmp_path.iterdir()] == ["main.json"]
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_failed_write_leaves_what_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk does not cost the baseline that is there."""
    store = BaselineStore(tmp_path)
    path = store.write(made(repeats(5)))
    before = path.read_text(encoding="utf-8")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(PlanError, match="the baseline cannot be written") as caught:
        store.write(made(repeats(4)), replace=True)
    assert "No space left" in caught.value.seen
    assert path.read_text(encoding="utf-8") == before
    assert [each.name for each in tmp_path.iterdir()] == ["main.json"]


def test_names_are_listed_and_dropped(tmp_path: Path) -> None:
    """Only what can be a baseline is listed."""
    store = BaselineStore(tmp_path / "none yet")
    assert store.names() == ()
    store = BaselineStore(tmp_path)
    for name in ("release-1.0", "main"):
        store.write(made(repeats(5), name))
    (tmp_path / "note.txt").write_text("", encoding="utf-8")
    (tmp_path / ".hidden.json").write_text("", encoding="utf-8")
    assert store.names() == ("main", "release-1.0")
    store.drop("main")
    with pytest.raises(PlanError, match="there is no baseline 'main'") as caught:
        store.drop("main")
    assert caught.value.seen == "baselines there: release-1.0"
    with pytest.raises(PlanError, match=r"'release-1.1': did you mean release-1.0\?"):
        store.read("release-1.1")


@pytest.mark.parametrize(
    ("content", "what", "seen"),
    [
        ("{", "this baseline is broken", "Expecting"),
        ("[]", "this baseline is broken", "it has no servebench_baseline"),
        ('{"servebench_baseline": 1}', "this baseline is broken", "it has no 'name'"),
        (
            (
                '{"servebench_baseline": 1, "name": "a", "promoted": "", "runs": [], "fingerprint": {}, '
                '"measured": {"of_all": {}, "cases": [{"of_case": {}, "replicates": [{}]}]}}'
            ),
            "this baseline is broken",
            "a record has no schema",
        ),
        ('{"servebench_baseline": 2}', "written by a newer pytest-servebench", "schema 2; this one reads"),
    ],
)
def test_a_file_that_cannot_be_read_names_the_remedy(
    tmp_path: Path, content: str, what: str, seen: str
) -> None:
    """A broken file is restored, dropped or promoted anew; a newer one needs a newer package."""
    path = tmp_path / "main.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(PlanError, match=what) as caught:
        read_baseline(path)
    assert seen in caught.value.seen
    assert "promote" in caught.value.next_step


def test_a_folder_of_others_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where this user may not look, it is not said that there is no baseline."""

    def refuse(path: Path, **_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "stat", refuse)
    for call in (BaselineStore(tmp_path).has, BaselineStore(tmp_path).read):
        with pytest.raises(PlanError, match="the baselines cannot be read") as caught:
            call("main")
        assert "Permission denied" in caught.value.seen


def test_enough_repeats_of_valid_runs_have_no_doubt() -> None:
    """Two repeats can be significant beside the five of a run that is compared."""
    assert GATING_REPEATS == BASELINE_REPEATS
    assert doubts_of(repeats(5)) == doubts_of(repeats(2)) == ()


def test_what_speaks_against_a_run_is_named() -> None:
    """Runs that are not valid, that are too few, that were not measured alike, or of one server."""
    few = doubts_of([*repeats(1), *repeats(5, stack="triton")])
    (doubt,) = few
    assert doubt.startswith("1 of 2 cases have 1 repeat, with which no change is significant beside 10")
    assert "fastapi-onnx" in doubt
    records = repeats(5)
    records[1] |= {"validity": "unstable", "reason": "it drifts"}
    assert doubts_of(records) == (f"{case_name(records[0])}: repeat 2 of 5 is unstable: it drifts",)
    records = [*repeats(4), saved_record(repeat=5, machine={"cpu": "Slide rule"})]
    (doubt,) = doubts_of(records)
    assert doubt.endswith("not measured alike: cpu is Abacus 2000 or Slide rule")
    (doubt,) = doubts_of(repeats(5, restarted=False))
    assert "its repeats are one run" in doubt


def test_one_run_given_twice_is_refused(tmp_path: Path) -> None:
    """The same repeats counted twice would look like evidence."""
    run = read_run(save(tmp_path / "a.json", repeats(5), run_id="x"))
    copy = read_run(save(tmp_path / "b.json", repeats(5), run_id="x"))
    with pytest.raises(PlanError, match="one run is given twice") as caught:
        baseline_of([run, copy], name="main", promoted="")
    assert caught.value.where == "a.json, b.json"


def test_runs_are_taken_together(tmp_path: Path) -> None:
    """Each adds its repeats; where they are from is kept."""
    runs = [read_run(save(tmp_path / f"{number}.json", repeats(1), run_id=str(number))) for number in (1, 2)]
    both = baseline_of(runs, name="main", promoted="")
    assert [len(group) for group in replicates_of(both.records).values()] == [2]
    assert [(run["file"], run["run_id"], str(run["started"])[:10]) for run in both.runs] == [
        ("1.json", "1", "2026-11-20"),
        ("2.json", "2", "2026-11-20"),
    ]
    assert both.fingerprint["cpu"] == ["Abacus 2000"]
    again = baseline_of([SavedRun(name="x", records=both.records, facts=both.runs)], name="y", promoted="")
    assert again.runs == both.runs

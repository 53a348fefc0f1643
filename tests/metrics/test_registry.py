"""The registry of extension points: real distributions on the path, good, broken and doubled."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from darumeru.core.errors import UserError
from darumeru.core.registry import PluginWarning, Registry
from darumeru.metrics import METRICS, metric, metric_names
from darumeru.metrics.protocol import Metric
from darumeru.tasks.registry import load_registry

GROUP = "darumeru.test_extension"
LINES = "class Lines:\n    name = 'lines'\n\nLINES = Lines()\n"


def install(
    folder: Path, distribution: str, entries: dict[str, str], modules: dict[str, str], group: str = GROUP
) -> None:
    """A distribution as pip leaves it: modules and a .dist-info folder with entry points."""
    for name, source in modules.items():
        (folder / f"{name}.py").write_text(source, encoding="utf-8")
    info = folder / f"{distribution.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n", encoding="utf-8")
    lines = "".join(f"{name} = {target}\n" for name, target in entries.items())
    (info / "entry_points.txt").write_text(f"[{group}]\n{lines}", encoding="utf-8")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_builtins_come_first_then_plugins_and_nothing_is_imported_for_names(site: Path) -> None:
    install(site, "line-counter", {"lines": "line_counter_a:LINES"}, {"line_counter_a": LINES})
    registry: Registry[object] = Registry(GROUP, "counter", {"zip": "zipfile:ZipFile"})
    assert registry.names() == ("zip", "lines")
    assert registry.origin("lines") == "line-counter"
    assert "line_counter_a" not in sys.modules
    assert registry.get("lines") is registry.get("lines")
    assert "line_counter_a" in sys.modules


def test_one_name_of_two_distributions_is_an_error_that_names_both(site: Path) -> None:
    install(site, "first-plugin", {"lines": "line_counter_b:LINES"}, {"line_counter_b": LINES})
    install(site, "second-plugin", {"lines": "line_counter_c:LINES"}, {"line_counter_c": LINES})
    registry: Registry[object] = Registry(GROUP, "counter")
    with pytest.raises(UserError, match="`lines` is registered twice, by first-plugin and second-plugin"):
        registry.names()


def test_a_plugin_may_not_take_a_builtin_name(site: Path) -> None:
    install(site, "rival", {"zip": "line_counter_d:LINES"}, {"line_counter_d": LINES})
    registry: Registry[object] = Registry(GROUP, "counter", {"zip": "zipfile:ZipFile"})
    with pytest.raises(UserError, match="by darumeru and rival"):
        registry.get("zip")


def test_the_builtin_outranks_what_an_older_installation_of_the_project_says(site: Path) -> None:
    install(site, "darumeru", {"zip": "moved_since:ZipFile"}, {})
    registry: Registry[object] = Registry(GROUP, "counter", {"zip": "zipfile:ZipFile"})
    assert registry.get("zip") is ZipFile


def test_a_broken_plugin_is_named_and_the_others_work(site: Path) -> None:
    modules = {"line_counter_e": LINES, "broken_counter": "raise OSError('no such library')\n"}
    entries = {"bad": "broken_counter:X", "lines": "line_counter_e:LINES", "lost": "line_counter_e:MISSING"}
    install(site, "mixed-plugin", entries, modules)
    registry: Registry[object] = Registry(GROUP, "counter")
    with pytest.warns(PluginWarning) as caught:
        usable = registry.available()
    assert list(usable) == ["lines"]
    assert [str(one.message) for one in caught] == [
        "counter `bad` of mixed-plugin is left out: OSError: no such library",
        "counter `lost` of mixed-plugin is left out: "
        "AttributeError: module 'line_counter_e' has no attribute 'MISSING'",
    ]
    with pytest.raises(UserError, match="`bad` of mixed-plugin cannot be used: OSError: no such library"):
        registry.get("bad")


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(UserError, match="unknown metric `f1_marco`; did you mean f1_macro"):
        metric("f1_marco")
    with pytest.raises(UserError, match="known: acc, acc_startswith"):
        metric("qqqq")


def test_an_object_of_the_wrong_kind_is_refused(site: Path) -> None:
    source = "from darumeru.metrics.choice import ACCURACY as A, AccuracyBothOrders as C\n"
    entries = {"other_name": "wrong_metrics:A", "a_class": "wrong_metrics:C"}
    install(site, "wrong-metrics", entries, {"wrong_metrics": source})
    registry: Registry[Metric] = Registry(GROUP, "metric", check=METRICS._check)
    with pytest.raises(UserError, match="it calls itself `acc`"):
        registry.get("other_name")
    with pytest.raises(UserError, match="it is not an instance with name"):
        registry.get("a_class")


def test_every_builtin_metric_loads_under_its_name_and_describes_itself() -> None:
    for name in metric_names():
        assert isinstance(metric(name), Metric)
        assert metric(name).name == name
        assert len(metric(name).description) > 20


@pytest.mark.parametrize("profile", ["darumeru", "paper", "llmtf-2024", "llmtf-head"])
def test_every_metric_of_every_task_exists(profile: str) -> None:
    used = {name for spec in load_registry(profile).specs.values() for name in spec.metrics}
    assert used <= set(metric_names())


def test_a_metric_of_an_installed_plugin_is_found_by_name_and_listing_imports_nothing_heavy(tmp_path: Path) -> None:
    source = (
        "from dataclasses import replace\nfrom darumeru.metrics.choice import ACCURACY\n"
        "STRICT = replace(ACCURACY, name='acc_strict')\n"
    )
    install(
        tmp_path, "strict-metric", {"acc_strict": "strict_metric:STRICT"}, {"strict_metric": source}, "darumeru.metrics"
    )
    program = (
        "import sys, darumeru.metrics as m; names = m.metric_names();"
        "assert not {'numpy', 'sklearn', 'rouge_score', 'strict_metric'} & set(sys.modules);"
        "print('acc_strict' in names, m.metric('acc_strict').name)"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {program}"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "True acc_strict\n", "")

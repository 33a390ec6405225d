"""Rules 3–6 and the edge cases «Binding» and «Module»."""

from __future__ import annotations

from tests.contract.samples import IDENTITY, bundle, csv

ONE = csv("a\n1\n")
TWO = csv("b\n2\n")
MEBI = 1024 * 1024


def test_the_first_connected_dataset_goes_to_the_first_parameter(sandbox):
    assert sandbox.run(IDENTITY, inputs={"dataset2": TWO}).frame().to_dict("list") == {"b": [2]}


def test_two_datasets_are_given_in_order_of_their_ports(sandbox):
    script = "def azureml_main(left, right):\n    return left.join(right),\n"
    assert list(sandbox.run(script, inputs={"dataset2": TWO, "dataset1": ONE}).frame().columns) == ["a", "b"]


def test_a_required_parameter_without_a_dataset_gets_none_and_a_default_stays(sandbox):
    script = """
import pandas as pd
def azureml_main(a, b, c="kept"):
    return pd.DataFrame({"a": [repr(a)], "b": [repr(b)], "c": [c]})
"""
    assert sandbox.run(script).frame().iloc[0].tolist() == ["None", "None", "kept"]


def test_a_function_without_parameters_generates_its_table(sandbox):
    script = "import pandas as pd\ndef azureml_main():\n    return pd.DataFrame({'x': range(3)}),\n"
    assert sandbox.run(script).frame().x.tolist() == [0, 1, 2]


def test_more_datasets_than_parameters_are_a_bad_entry_point(sandbox):
    run = sandbox.run("def azureml_main(df):\n    return df,\n", inputs={"dataset1": ONE, "dataset2": TWO})
    assert run.reason == "bad_entry_point"
    assert run.report["message"] == "2 datasets are connected, but azureml_main takes 1 parameter."


def test_job_parameters_reach_keyword_only_names(sandbox):
    script = """
def azureml_main(df, *, threshold: float = 0.5, label: str, **others):
    return df.assign(threshold=threshold, label=label, others=str(others))
"""
    run = sandbox.run(script, inputs={"dataset1": ONE}, parameters={"threshold": 2, "label": "x", "more": [1]})
    assert run.frame().to_dict("list") == {"a": [1], "threshold": [2], "label": ["x"], "others": ["{'more': [1]}"]}


def test_a_wrong_parameter_says_what_was_found_and_what_was_expected(sandbox):
    # Missing and unknown ones, and every other type, are in tests/unit/test_runner_names_and_binding.py.
    script = "print('top level')\ndef azureml_main(df=None, *, n: int = 1):\n    print('called')\n"
    run = sandbox.run(script, parameters={"n": "5"})
    assert (run.reason, run.log) == ("bad_parameters", "top level\n")
    assert run.report["message"] == "The parameter 'n' must be an int; the job gives \"5\", a str."


def test_top_level_code_runs_once_in_place_and_the_last_definition_wins(sandbox):
    script = """
import os, pandas as pd
print("top", os.getcwd(), os.path.isdir("Script Bundle"))
def azureml_main(): raise SystemExit
first = azureml_main
def other(): return pd.DataFrame({"which": ["last"]})
azureml_main = other
"""
    run = sandbox.run(script)
    assert run.frame().which.tolist() == ["last"]
    assert run.log == "top /job True\n"


def test_a_bad_entry_point_says_what_to_write(sandbox):
    # The other sentences are in tests/unit/test_runner_names_and_binding.py.
    run = sandbox.run("def azure_main(df): return df")
    assert run.reason == "bad_entry_point"
    assert run.report["message"] == "The script defines no function called azureml_main, but one called 'azure_main': rename it."


def test_any_way_of_binding_the_name_counts(sandbox):
    library = """
import functools
import pandas as pd
def noisy(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        print("decorated")
        return function(*args, **kwargs)
    return wrapper
@noisy
def make(first, df, *, n: int): return df.assign(first=first, n=n)
main = functools.partial(make, "bound")
"""
    script = "from library import main as azureml_main\n"
    run = sandbox.run(script, inputs={"bundle": bundle({"library.py": library}), "dataset2": TWO}, parameters={"n": 3})
    assert (run.reason, run.log) == ("ok", "decorated\n"), run.report
    assert run.frame().to_dict("list") == {"b": [2], "first": ["bound"], "n": [3]}


def test_the_script_is_a_real_module_called_script(sandbox):
    script = b"""\xef\xbb\xbfimport dataclasses, inspect, pickle, sys\r
\x0c\r
import pandas as pd\r
@dataclasses.dataclass\r
class Point:\r
    x: int\r
def square(n): return n * n\r
def azureml_main():\r
    import multiprocessing\r
    assert __name__ == "script" and sys.modules["script"].Point is Point\r
    assert pickle.loads(pickle.dumps(Point(1))) == Point(1)\r
    assert "n * n" in inspect.getsource(square)\r
    assert sys.modules["__main__"].__dict__.get("main") is None\r
    values = []\r
    for method in ("fork", "spawn"):\r
        with multiprocessing.get_context(method).Pool(2) as pool:\r
            values += pool.map(square, [2, 3])\r
    return pd.DataFrame({"n": values})\r
"""
    # With a mark at its beginning, lines as on Windows, a form feed, and as large as a script may be.
    run = sandbox.run(script + b"#" * (MEBI - len(script)))
    assert run.reason == "ok", run.report
    assert run.frame().n.tolist() == [4, 9, 4, 9]


def test_joblib_runs_functions_of_the_script_in_other_processes(sandbox):
    script = """
import pandas as pd
from joblib import Parallel, delayed
def square(n): return n * n
def azureml_main():
    return pd.DataFrame({"n": Parallel(n_jobs=2)(delayed(square)(n) for n in range(4))})
"""
    assert sandbox.run(script).frame().n.tolist() == [0, 1, 4, 9]


def test_a_syntax_error_names_line_and_source(sandbox):
    run = sandbox.run("x = 1\ndef azureml_main(:\n    pass\n")
    error = run.report["error"]
    assert (run.reason, error["type"], error["line"], error["file"]) == ("script_error", "SyntaxError", 2, "script.py")
    assert error["source"] == "def azureml_main(:"

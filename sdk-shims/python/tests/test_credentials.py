"""Reads of the credential variables by anyone but an SDK are reported, once, with the line; others are not."""

import unittest

from tests.receiver import run

READ = 9
SECRET, TOKEN, KEY = "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID"


class Reads(unittest.TestCase):
    def reads(self, code, **keywords):
        outcome = run(code, **keywords)
        self.assertEqual(outcome.stderr, "")
        return [(m["name"], m["code"]) for m in outcome.of("violation", READ)]

    def test_each_way_to_read_one_value(self):
        for expression in (
            "os.environ['AWS_SECRET_ACCESS_KEY']",
            "os.environ.get('AWS_SECRET_ACCESS_KEY')",
            "os.getenv('AWS_SECRET_ACCESS_KEY')",
            "os.environb[b'AWS_SECRET_ACCESS_KEY']",
            "os.environ._data[b'AWS_SECRET_ACCESS_KEY']",
            "os.environ.pop('AWS_SECRET_ACCESS_KEY')",
            "os.path.expandvars('$AWS_SECRET_ACCESS_KEY')",
            "__import__('posix').environ[b'AWS_SECRET_ACCESS_KEY']",
        ):
            with self.subTest(expression):
                self.assertEqual(self.reads("import os\nprint(%s)\n" % expression), [(SECRET, "handler.py:2")])

    def test_the_whole_environment_counts_once(self):
        for expression in (
            "dict(os.environ)",
            "os.environ.copy()",
            "list(os.environ.items())",
            "list(os.environ.values())",
            "{**os.environ}",
            "{k: v for k, v in os.environ.items()}",
            "repr(os.environ)",
            "__import__('json').dumps(dict(os.environ))",
            "dict(os.environ._data)",
            "os.environ | {}",
        ):
            with self.subTest(expression):
                self.assertEqual(self.reads("import os\n%s\n" % expression), [(SECRET, "handler.py:2")])

    def test_a_violation_says_all_that_a_record_needs(self):
        (message,) = run("import os\nos.environ['AWS_SESSION_TOKEN']\n").of("violation", READ)
        self.assertEqual((message["outcome"], message["rule"], message["plane"]), (1, 21, 2))
        self.assertEqual((message["name"], message["frames"]), (TOKEN, ["handler.py:2 <module>"]))
        self.assertGreater(message["pid"], 0)

    def test_other_names_presence_and_names_alone_are_not_reads(self):
        code = """
            import os, urllib.request
            os.environ["PATH"], os.environ.get("NOT_THERE"), os.getenv("HOME")
            "AWS_SECRET_ACCESS_KEY" in os.environ, b"AWS_SESSION_TOKEN" in os.environb
            list(os.environ), len(os.environ), sorted(os.environ.keys())
            urllib.request.getproxies()
            import wsgiref.handlers
            os.environ["AWS_SECRET_ACCESS_KEY"] = "other"
            del os.environ["AWS_SECRET_ACCESS_KEY"]
            """
        self.assertEqual(self.reads(code), [])

    def test_a_child_that_inherits_the_environment_is_no_read(self):
        for options in ("", ", close_fds=False", ", env=os.environ", ", env=os.environ, close_fds=False"):
            with self.subTest(options):
                self.assertEqual(self.reads("import os, subprocess\nsubprocess.run(['/bin/true']%s)\n" % options), [])

    def test_a_copy_that_is_made_for_a_child_is_no_read(self):
        for code in (
            "subprocess.run(['/bin/true'], env={**os.environ, 'A': '1'})",
            "subprocess.run(['/bin/true'], env=dict(os.environ, A='1'))",
            "env = os.environ.copy(); env['A'] = '1'; subprocess.check_call(['/bin/true'], env=env)",
            "subprocess.run(['/bin/true'], env={k: v for k, v in os.environ.items() if k != 'A'})",
            "os.waitpid(os.posix_spawn('/bin/true', ['true'], {**os.environ}), 0)",
        ):
            with self.subTest(code):
                self.assertEqual(self.reads("import os, subprocess\ndef start():\n    %s\nstart()\n" % code), [])
        # What the child gets is the child's; one value, or a copy elsewhere in the file, is not.
        code = "import os, subprocess\ndef start():\n    subprocess.run(['/bin/true'], env={'A': os.environ['AWS_SESSION_TOKEN']})\nstart()\n"
        self.assertEqual(self.reads(code), [(TOKEN, "handler.py:3")])
        code = "import os, subprocess\ndef start(env):\n    subprocess.run(['/bin/true'], env=env)\ncopy = {**os.environ}\n"
        self.assertEqual(self.reads(code), [(SECRET, "handler.py:4")])

    def test_a_copy_that_another_function_hands_to_a_child_is_taken_back(self):
        code = """
            import os, subprocess
            def start(environment):
                subprocess.run(["/bin/true"], env=environment)
            start(dict(os.environ))
            start({"A": "1"})
            copy = dict(os.environ)
            start({"A": "1"})
            """
        outcome = run(code)
        told = [(m["name"], m["code"], m["detail"]) for m in outcome.of("violation", READ)]
        taken = [(m["name"], m["code"], m["detail"]) for m in outcome.of("hint", 10)]
        copy = "in a copy of the whole environment"
        self.assertEqual(told, [(SECRET, "handler.py:4", copy), (SECRET, "handler.py:6", copy)])
        self.assertEqual(taken, told[:1])

    def test_what_the_standard_library_copies_for_its_helpers_is_no_read(self):
        code = """
            import ctypes.util, os, platform, subprocess
            from unittest import mock
            def run(environment):
                subprocess.run(["/bin/true"], env=environment)
            platform.architecture()
            ctypes.util.find_library("magic")
            with mock.patch.dict(os.environ, {"A": "1"}):
                pass
            print({name for name in os.environ if name.startswith("APP_")} == set())
            """
        outcome = run(code)
        self.assertEqual((outcome.stdout, outcome.of("violation", READ)), ("True\n", []))
        asked = {m.get("detail") for m in outcome.of("hint", 1)}
        self.assertLessEqual(asked, {"asked for by platform.architecture", "asked for by ctypes.util.find_library"})
        self.assertIn("asked for by platform.architecture", asked)

    def test_values_that_a_getter_reads_while_the_names_are_gone_through_are_one_read(self):
        package = """
import collections.abc, os
class Settings(collections.abc.Mapping):
    def __init__(self):
        self.found = list(self)
    def __iter__(self):
        return (name for name in os.environ if self[name] is not None)
    def __len__(self):
        return sum(1 for _ in self)
    def __getitem__(self, name):
        return self.get_one(name)
    def get_one(self, name):
        return os.environ.get(name)
"""
        files = {"settings_reader/__init__.py": package, "settings_reader-1.0.dist-info/top_level.txt": "settings_reader\n"}
        code = "import settings_reader\nfor number in range(3): dict(settings_reader.Settings()).items()\n"
        (told,) = run(code, files=files).of("violation", READ)
        self.assertEqual((told["name"], told["detail"]), (SECRET, "in a copy of the whole environment, by the package settings_reader"))
        code += "names = list(settings_reader.Settings())\nsettings_reader.Settings()['AWS_SESSION_TOKEN']\n"
        self.assertEqual([m["name"] for m in run(code, files=files).of("violation", READ)], [SECRET, TOKEN])
        # Afterwards a getter reads one value, and that is told as what it is.
        code = "import os\ndef get(name):\n    return os.environ.get(name)\nnames = [name for name in os.environ if get(name)]\nget('AWS_SESSION_TOKEN')\n"
        self.assertEqual(self.reads(code), [(SECRET, "handler.py:4"), (TOKEN, "handler.py:3")])

    def test_a_package_that_goes_through_everything_is_told_once(self):
        package = "import os\ndef settings():\n    return {k: v for k, v in os.environ.items() if k.startswith('APP_')}\n"
        code = """
            import os, settings_reader
            for number in range(3):
                os.environ["_X_AMZN_TRACE_ID"] = "Root=%d" % number
                settings_reader.settings()
            """
        files = {"settings_reader/__init__.py": package, "Settings_Reader_Dist-1.0.dist-info/top_level.txt": "settings_reader\n"}
        outcome = run(code, files=files)
        (told,) = outcome.of("violation", READ)
        self.assertEqual(told["detail"], "in a copy of the whole environment, by the package settings_reader")

    def test_the_line_is_not_in_a_package_of_another_name_than_its_distribution(self):
        reads = "import os\ndef load():\n    return os.environ['AWS_SECRET_ACCESS_KEY']\n"
        code = "import bs4, six, yaml\nbs4.load()\nyaml.load()\nsix.load()\n"
        files = {
            "bs4/__init__.py": reads,
            "beautifulsoup4-4.12.dist-info/RECORD": "bs4/__init__.py,sha256=x,1\nbeautifulsoup4-4.12.dist-info/RECORD,,\n",
            "yaml/__init__.py": reads,
            "PyYAML-6.0.dist-info/top_level.txt": "_yaml\nyaml\n",
            "six.py": reads,
            "six-1.16.dist-info/RECORD": "six.py,sha256=x,1\n",
        }
        lines = [code for _, code in self.reads(code, files=files)]
        self.assertEqual(lines, ["handler.py:2", "handler.py:3", "handler.py:4"])

    def test_an_sdk_and_the_runtime_client_may(self):
        sdk = "import os\ndef load():\n    return os.environ['AWS_SECRET_ACCESS_KEY']\n"
        files = {"botocore/__init__.py": sdk, "lib/site-packages/aws_lambda_powertools/__init__.py": sdk}
        code = """
            import sys, os
            sys.path.insert(0, os.path.dirname(__file__) + "/lib/site-packages")
            import botocore, aws_lambda_powertools
            print(botocore.load(), aws_lambda_powertools.load())
            """
        self.assertEqual(self.reads(code, files=files), [])

    def test_a_file_below_tmp_is_no_sdk_whatever_its_name(self):
        code = """
            import os, sys, tempfile
            with tempfile.TemporaryDirectory(dir="/tmp") as place:
                os.mkdir(place + "/botocore")
                with open(place + "/botocore/__init__.py", "w") as out:
                    out.write("import os\\nos.environ['AWS_SECRET_ACCESS_KEY']\\n")
                sys.path.insert(0, place)
                import botocore
            """
        ((name, code),) = self.reads(code)
        self.assertEqual(name, SECRET)
        self.assertTrue(code.endswith("botocore/__init__.py:2") or code == "handler.py:7", code)

    def test_a_line_reports_a_variable_once_and_another_variable_again(self):
        code = """
            import os
            for _ in range(50):
                for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
                    os.environ[name]
            os.environ["AWS_SECRET_ACCESS_KEY"]
            """
        expected = [(SECRET, "handler.py:4"), (TOKEN, "handler.py:4"), (SECRET, "handler.py:5")]
        self.assertEqual(self.reads(code), expected)

    def test_the_next_invocation_reports_again(self):
        code = """
            import os
            for number in range(3):
                os.environ["_X_AMZN_TRACE_ID"] = "Root=%d" % number
                os.environ["AWS_SECRET_ACCESS_KEY"]
            """
        self.assertEqual(len(self.reads(code)), 3)


class Denied(unittest.TestCase):
    """`credentials.reads = "deny"`: not there for the function's own code, there for SDKs and for children."""

    def run_denied(self, code, words="", **keywords):
        outcome = run(code, environment={"RINGFENCE_CODE": "reads=deny" + words}, **keywords)
        self.assertEqual(outcome.stderr, "")
        return outcome

    def test_the_functions_own_code_finds_no_value_by_any_way_and_each_is_recorded_as_blocked(self):
        for expression in (
            "os.environ.get('AWS_SECRET_ACCESS_KEY')",
            "os.getenv('AWS_SECRET_ACCESS_KEY')",
            "os.getenvb(b'AWS_SECRET_ACCESS_KEY')",
            "os.environb.get(b'AWS_SECRET_ACCESS_KEY')",
            "os.environ._data.get(b'AWS_SECRET_ACCESS_KEY')",
            "dict.get(os.environ._data, b'AWS_SECRET_ACCESS_KEY')",
            "os.environ.pop('AWS_SECRET_ACCESS_KEY', None)",
            "os.path.expandvars('$AWS_SECRET_ACCESS_KEY').replace('$AWS_SECRET_ACCESS_KEY', '') or None",
            "dict(os.environ).get('AWS_SECRET_ACCESS_KEY')",
            "os.environ.copy().get('AWS_SECRET_ACCESS_KEY')",
            "{**os.environ}.get('AWS_SECRET_ACCESS_KEY')",
            "{k: v for k, v in os.environ.items()}.get('AWS_SECRET_ACCESS_KEY')",
            "dict(os.environ._data).get(b'AWS_SECRET_ACCESS_KEY')",
            "(os.environ | {}).get('AWS_SECRET_ACCESS_KEY')",
            "None if 'the-secret' not in repr(os.environ) + str(list(os.environ.values())) else 1",
            "next(iter(ThreadPoolExecutor(1).map(os.getenv, ['AWS_SECRET_ACCESS_KEY'])))",
            "ThreadPoolExecutor(1).submit(dict, os.environ).result().get('AWS_SECRET_ACCESS_KEY')",
        ):
            with self.subTest(expression):
                code = "import os\nfrom concurrent.futures import ThreadPoolExecutor\nprint(%s)\n" % expression
                outcome = self.run_denied(code)
                self.assertEqual(outcome.stdout, "None\n")
                told = outcome.of("violation", READ)
                self.assertLessEqual(len(told), 2)
                if "dict.get" not in expression:
                    self.assertEqual({(m["name"], m["outcome"], m["rule"]) for m in told}, {(SECRET, 2, 21)})

    def test_a_denied_variable_is_absent(self):
        code = """
            import os
            try:
                os.environ["AWS_SECRET_ACCESS_KEY"]
            except KeyError as error:
                print("KeyError", error)
            print("AWS_SECRET_ACCESS_KEY" in os.environ, "AWS_SECRET_ACCESS_KEY" in list(os.environ), os.environ.setdefault("A", "1"))
            """
        outcome = self.run_denied(code)
        self.assertEqual(outcome.stdout, "KeyError 'AWS_SECRET_ACCESS_KEY'\nFalse False 1\n")
        self.assertEqual([m["code"] for m in outcome.of("violation", READ)], ["handler.py:3"])

    def test_sdks_and_exempted_packages_and_variables_have_them(self):
        sdk = "import os\ndef load():\n    return os.environ.get('AWS_SECRET_ACCESS_KEY')\n"
        files = {"botocore/__init__.py": sdk, "vendor/boto3/__init__.py": sdk, "helper/__init__.py": sdk, "other/__init__.py": sdk}
        code = """
            import os, sys
            sys.path.insert(0, os.path.dirname(__file__) + "/vendor")
            import botocore, boto3, helper, other
            print(botocore.load(), boto3.load(), helper.load(), other.load(), os.environ["AWS_SESSION_TOKEN"])
            """
        outcome = self.run_denied(code, words=",reads_variables=AWS_SESSION_TOKEN,reads_packages=helper|pkg", files=files)
        self.assertEqual(outcome.stdout, "the-secret the-secret the-secret None the-token\n")
        self.assertEqual([m["code"] for m in outcome.of("violation", READ)], ["other/__init__.py:3"])

    def test_a_child_that_inherits_has_them_and_a_copy_for_one_has_none_and_neither_is_recorded(self):
        code = """
            import os, subprocess
            def run(env=None):
                return subprocess.run(["env"], env=env, capture_output=True, text=True).stdout.count("the-secret")
            print(run(), run(os.environ), run(dict(os.environ)), run({**os.environ, "A": "1"}))
            """
        outcome = self.run_denied(code)
        self.assertEqual(outcome.stdout, "1 1 0 0\n")

    def test_what_the_function_sets_itself_is_its_own(self):
        code = """
            import os
            os.environ["AWS_SECRET_ACCESS_KEY"] = "mine"
            print(os.environ["AWS_SECRET_ACCESS_KEY"], dict(os.environ)["AWS_SECRET_ACCESS_KEY"])
            os.environ.clear()
            print(len(os.environ), os.popen("/usr/bin/env").read().count("the-token"))
            """
        outcome = self.run_denied(code)
        self.assertEqual(outcome.stdout, "mine mine\n0 0\n")

    def test_names_that_are_filtered_are_no_read(self):
        code = "import os\nprint({n: os.environ[n] for n in os.environ if n.startswith('LAMBDA_')}.keys())\n"
        outcome = self.run_denied(code)
        self.assertEqual((outcome.stdout, outcome.of("violation", READ)), ("dict_keys(['LAMBDA_TASK_ROOT'])\n", []))


class Transparency(unittest.TestCase):
    def test_the_environment_behaves_as_it_did(self):
        code = """
            import os, subprocess, copy, pickle
            os.environ["A"] = "1"
            os.putenv("B", "2")
            print(os.environ["A"], os.getenvb(b"A"), os.environ.setdefault("A", "x"), os.environ.pop("A"), os.environ.get("A"))
            try:
                os.environ["NOT_THERE"]
            except KeyError as error:
                print(error)
            print(subprocess.run(["env"], capture_output=True, text=True).stdout.count("AWS_SECRET_ACCESS_KEY=the-secret"))
            print(subprocess.run(["env"], env=dict(os.environ, C="3"), capture_output=True, text=True).stdout.count("C=3"))
            print(len(dict(os.environ)) == len(os.environ), "PATH" in os.environ, type(os.environ.copy()))
            os.environ.update(D="4"); print(os.environ["D"]); os.unsetenv("D")
            try:
                os.environ[1]
            except TypeError as error:
                print(error)
            os.environ.clear(); print(len(os.environ))
            """
        self.assertEqual(run(code).stdout, run(code, environment={"PYTHONPATH": "", "LAMBDA_TASK_ROOT": "/"}).stdout)


if __name__ == "__main__":
    unittest.main()

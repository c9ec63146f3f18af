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

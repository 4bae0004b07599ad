"""Runs modules of Python's own tests and writes what came of each test to a file: a name and a word, line by line.

outcomes.py FILE LEFT-OUT MODULE...: LEFT-OUT is a pattern for names of tests; what went wrong is told on standard error.
"""
import importlib
import re
import sys
import unittest


class Outcomes(unittest.TestResult):
    def __init__(self):
        super().__init__()
        self.found = {}

    def went_wrong(self, test, error):
        self.found[test.id()] = "failed"
        print(test.id(), self._exc_info_to_string(error, test), file=sys.stderr)

    def addSuccess(self, test):
        self.found.setdefault(test.id(), "ok")

    def addFailure(self, test, error):
        self.went_wrong(test, error)

    def addError(self, test, error):
        self.went_wrong(test, error)

    def addSkip(self, test, reason):
        self.found.setdefault(test.id(), "skipped")

    def addExpectedFailure(self, test, error):
        self.found[test.id()] = "failed, as expected"

    def addUnexpectedSuccess(self, test):
        self.found[test.id()] = "succeeded, unexpectedly"

    def addSubTest(self, test, subtest, error):
        if error is not None:
            self.went_wrong(test, error)


def wanted(suite, left_out):
    for part in suite:
        if isinstance(part, unittest.TestSuite):
            yield from wanted(part, left_out)
        elif not left_out.search(part.id()):
            yield part


file, left_out = sys.argv[1], re.compile(sys.argv[2])
outcomes = Outcomes()
for name in sys.argv[3:]:
    try:
        module = importlib.import_module(name)
    except (ImportError, unittest.SkipTest) as error:
        print(name, error, file=sys.stderr)
        continue
    tests = unittest.defaultTestLoader.loadTestsFromModule(module)
    unittest.TestSuite(wanted(tests, left_out))(outcomes)
with open(file, "w") as out:
    for name, outcome in sorted(outcomes.found.items()):
        print(name, outcome, file=out)

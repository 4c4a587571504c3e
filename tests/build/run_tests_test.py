#!/usr/bin/python3
"""The closing line of ./test, computed from events as Bazel writes them."""

import pathlib
import tempfile
import unittest

from tools import run_tests


def configured(label, kind="cc_test rule"):
    body = {"targetKind": kind}
    if "_test rule" in kind:
        body["testSize"] = "SMALL"
    return {"id": {"targetConfigured": {"label": label}}, "configured": body}


def completed(label, success=True):
    return {"id": {"targetCompleted": {"label": label}}, "completed": {"success": True} if success else {}}


def aborted(label, reason):
    return {"id": {"targetCompleted": {"label": label}}, "aborted": {"reason": reason}}


def summary(label, status):
    return {"id": {"testSummary": {"label": label}}, "testSummary": {"overallStatus": status}}


def closing(events, bazel_status=0, lint_status=None):
    """Returns the closing line, and whether ./test succeeds."""
    results = run_tests.Results()
    for event in [{"id": {"started": {}}, "started": {}}] + events:
        results.read(event)
    results.finish(bazel_status)
    if lint_status is not None:
        results.add_check("tools/lint", lint_status)
    return results.closing_line(), results.is_good()


GOOD = [configured("//a:t"), completed("//a:t"), summary("//a:t", "PASSED")]


class RunTestsTest(unittest.TestCase):

    def test_passed_tests_are_counted_and_libraries_are_not(self):
        events = GOOD + [configured("//a:lib", "cc_library rule"), completed("//a:lib")]
        self.assertEqual(closing(events), ("1 passed, 0 failed", True))

    def test_every_other_verdict_is_a_failure(self):
        for status in ["FAILED", "TIMEOUT", "FLAKY", "INCOMPLETE", "REMOTE_FAILURE", "FAILED_TO_BUILD",
                       "TOOL_HALTED_BEFORE_TESTING", "NO_STATUS", "SOMETHING_NEW"]:
            with self.subTest(status=status):
                events = GOOD + [configured("//b:t"), completed("//b:t"), summary("//b:t", status)]
                self.assertEqual(closing(events, 3), ("1 passed, 1 failed", False))

    def test_a_target_that_does_not_build_fails_once(self):
        events = GOOD + [configured("//b:t"), completed("//b:t", False), summary("//b:t", "NO_STATUS"),
                         configured("//b:lib", "cc_library rule"), completed("//b:lib", False)]
        self.assertEqual(closing(events, 1), ("1 passed, 2 failed", False))

    def test_a_target_that_cannot_be_analysed_fails(self):
        events = GOOD + [configured("//b:t"), aborted("//b:t", "ANALYSIS_FAILURE")]
        self.assertEqual(closing(events, 1), ("1 passed, 1 failed", False))

    def test_the_cause_of_an_analysis_failure_is_not_counted_beside_it(self):
        cause = {"id": {"configuredLabel": {"label": "//no:x"}}, "aborted": {"reason": "ANALYSIS_FAILURE"}}
        events = GOOD + [cause, configured("//b:t"), aborted("//b:t", "ANALYSIS_FAILURE")]
        self.assertEqual(closing(events, 1), ("1 passed, 1 failed", False))

    def test_a_pattern_that_cannot_be_loaded_fails(self):
        events = [{"id": {"pattern": {"pattern": ["//..."]}}, "aborted": {"reason": "LOADING_FAILURE"}}]
        self.assertEqual(closing(events, 1), ("0 passed, 1 failed", False))

    def test_a_broken_build_without_a_culprit_fails(self):
        self.assertEqual(closing(GOOD, 1), ("1 passed, 1 failed", False))
        self.assertEqual(closing([], 2), ("0 passed, 1 failed", False))

    def test_a_run_that_was_stopped_fails(self):
        stopped = {"id": {"testSummary": {"label": "//b:t"}}, "aborted": {"reason": "USER_INTERRUPTED"}}
        events = GOOD + [configured("//b:t"), completed("//b:t"), stopped]
        self.assertEqual(closing(events, 8), ("1 passed, 1 failed", False))

    def test_no_test_at_all_is_a_failure(self):
        self.assertEqual(closing([], 0), ("0 passed, 1 failed", False))

    def test_a_skipped_test_is_counted_and_is_no_success(self):
        events = GOOD + [configured("//b:t"), aborted("//b:t", "SKIPPED")]
        self.assertEqual(closing(events), ("1 passed, 0 failed, 1 skipped", False))

    def test_a_test_without_its_optional_package_is_counted_and_is_no_failure(self):
        with tempfile.TemporaryDirectory() as folder:
            log = pathlib.Path(folder, "test.log")
            log.write_text("here\nSKIPPED: linux-source-6.1 is not installed\nOK (skipped=1)\n")
            told = configured("//b:t")
            result = {"id": {"testResult": {"label": "//b:t"}},
                      "testResult": {"testActionOutput": [{"name": "test.log", "uri": log.as_uri()}]}}
            events = GOOD + [told, completed("//b:t"), result, summary("//b:t", "PASSED")]
            # A test that has no such tag may say what it likes.
            self.assertEqual(closing(events), ("2 passed, 0 failed", True))
            told["configured"]["tag"] = ["optional"]
            self.assertEqual(closing(events), ("1 passed, 0 failed, 1 skipped", True))
            events[-1] = summary("//b:t", "FAILED")
            self.assertEqual(closing(events, 3), ("1 passed, 1 failed", False))
            log.write_text("OK\n")
            events[-1] = summary("//b:t", "PASSED")
            self.assertEqual(closing(events), ("2 passed, 0 failed", True))

    def test_the_linter_counts_as_a_test(self):
        self.assertEqual(closing(GOOD, lint_status=0), ("2 passed, 0 failed", True))
        for status in (1, 2, -9):
            self.assertEqual(closing(GOOD, lint_status=status), ("1 passed, 1 failed", False))

    def test_a_skipped_library_is_of_no_interest(self):
        events = GOOD + [configured("//b:lib", "cc_library rule"), aborted("//b:lib", "SKIPPED")]
        self.assertEqual(closing(events), ("1 passed, 0 failed", True))


if __name__ == "__main__":
    unittest.main(verbosity=2)

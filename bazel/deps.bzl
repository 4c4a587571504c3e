"""The outside world of the workspace: what Debian packages provide, and nothing from the network.

Bazel 4.2.3 asks for three repositories that it would download as soon as a test target exists. They
are replaced by stand-ins that hold exactly what the rules in use read from them.
"""

_CC_RULES = [
    "cc_binary",
    "cc_import",
    "cc_library",
    "cc_test",
    "cc_toolchain",
    "cc_toolchain_suite",
]

_JAVA_RULES = [
    "java_binary",
    "java_import",
    "java_library",
    "java_lite_proto_library",
    "java_package_configuration",
    "java_plugin",
    "java_proto_library",
    "java_runtime",
    "java_test",
    "java_toolchain",
]

def _reexport(rules):
    return "".join(["%s = native.%s\n" % (rule, rule) for rule in rules])

def _rules_cc_impl(rctx):
    rctx.file("WORKSPACE", "")
    rctx.file("BUILD", "")
    rctx.file("cc/BUILD", 'exports_files(["defs.bzl"])\n')
    rctx.file("cc/defs.bzl", _reexport(_CC_RULES))

# Debian's own copy of rules_cc needs a newer Bazel than Debian's Bazel.
_rules_cc = repository_rule(implementation = _rules_cc_impl)

def _rules_java_impl(rctx):
    rctx.file("WORKSPACE", "")
    rctx.file("BUILD", "")
    rctx.file("java/BUILD", 'exports_files(["defs.bzl"])\n')
    rctx.file("java/defs.bzl", _reexport(_JAVA_RULES))

# Loaded by Bazel's own JDK package, although nothing here is Java.
_rules_java = repository_rule(implementation = _rules_java_impl)

def _coverage_tools_impl(rctx):
    rctx.file("WORKSPACE", "")
    rctx.file("no_coverage.sh", "#!/bin/sh\nexit 0\n", executable = True)
    rctx.file("BUILD", "\n".join([
        'package(default_visibility = ["//visibility:public"])',
        'sh_binary(name = "coverage_report_generator", srcs = ["no_coverage.sh"])',
        'sh_binary(name = "lcov_merger", srcs = ["no_coverage.sh"])',
        "",
    ]))

# Every test rule depends on it, used or not. Coverage is the "cov" variant instead.
_coverage_tools = repository_rule(implementation = _coverage_tools_impl)

def deps():
    """Declares every external repository."""
    _rules_cc(name = "rules_cc")
    _rules_java(name = "rules_java")
    _coverage_tools(name = "remote_coverage_tools")
    native.new_local_repository(
        name = "googletest",
        path = "/usr/src/googletest",
        build_file = "@//bazel/third_party:googletest.BUILD",
    )

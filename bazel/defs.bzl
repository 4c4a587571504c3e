"""The macros that BUILD files of this workspace load. bazel/README.md shows each in use."""

load("//bazel:variants.bzl", _HOST_VARIANTS = "HOST_VARIANTS", _VARIANTS = "VARIANTS")
load("//bazel/private:build_failure.bzl", _build_failure_test = "build_failure_test")
load(
    "//bazel/private:variant.bzl",
    _variant_binary = "variant_binary",
    _variant_library = "variant_library",
    _variant_test = "variant_test",
)

HOST_VARIANTS = _HOST_VARIANTS
VARIANTS = _VARIANTS

# target_compatible_with of code that only makes sense without an operating system, or only with one.
KERNEL_ONLY = ["//bazel/platforms:kernel"]
HOST_ONLY = ["@platforms//os:linux"]

# What a raw target has in its tags: it is reached through its variants, not through "//...".
_RAW = ["manual"]

def variant_binary(name, target, variant, mode = "", **kwargs):
    """Builds an executable target in another variant.

    Args:
      name: name of the new target. Running it runs `target` as built in the variant.
      target: label of a cc_binary or cc_test. Tag it "manual" if it is of use in no other form.
      variant: one of VARIANTS.
      mode: compilation mode ("opt" has no assertions); "" keeps that of the command line.
      **kwargs: data, visibility, tags and so on.
    """
    _variant_binary(name = name, target = target, variant = variant, mode = mode, **kwargs)

def variant_library(name, target, variant, mode = "", **kwargs):
    """Builds a library in another variant, for tests that look into its archive.

    Args:
      name: name of the new target; its files are those of `target`.
      target: label of a cc_library.
      variant: one of VARIANTS.
      mode: compilation mode; "" keeps that of the command line.
      **kwargs: visibility, tags and so on.
    """
    _variant_library(name = name, target = target, variant = variant, mode = mode, **kwargs)

def variant_test(name, target, variant, mode = "", **kwargs):
    """Builds an executable target in another variant and runs it as a test.

    Args:
      name: name of the test.
      target: label of a cc_binary or cc_test. Its own args and env are not inherited.
      variant: one of VARIANTS.
      mode: compilation mode; "" keeps that of the command line.
      **kwargs: args, data, env, size, timeout, tags and so on.
    """
    _variant_test(
        name = name,
        target = target,
        variant = variant,
        mode = mode,
        tags = kwargs.pop("tags", []) + [variant],
        **kwargs
    )

def matrix_test(name, variants = ["asan", "tsan"], features = ["quick_compile"], **kwargs):
    """A cc_test, and the same test in other variants as NAME_VARIANT.

    Args:
      name: name of the plain cc_test.
      features: features of the toolchain for its sources. A unit test of googletest takes much longer to
        compile than to run; what spends its time in its own sources has [] here.
      variants: variants beside plain, each with a test of its own.
      **kwargs: attributes of the cc_test; those that say how to run it go to every variant.
    """
    native.cc_test(name = name, features = features, **kwargs)
    run = {
        key: kwargs[key]
        for key in [
            "args",
            "data",
            "env",
            "flaky",
            "local",
            "shard_count",
            "size",
            "tags",
            "target_compatible_with",
            "timeout",
            "visibility",
        ]
        if key in kwargs
    }
    for variant in variants:
        if variant == "plain":
            fail("the plain variant of %s is the cc_test itself" % name)
        variant_test(name = name + "_" + variant, target = ":" + name, variant = variant, **run)

def kernel_binary(name, linker_script, srcs = [], deps = [], linkopts = [], mode = "", **kwargs):
    """Links a freestanding ELF executable.

    Args:
      name: name of the executable, always built for the kernel platform.
      linker_script: label of the linker script.
      srcs: C++ and assembler sources of the entry point.
      deps: libraries. Give alwayslink = True to one that nothing calls, such as a table of tests.
      linkopts: further linker flags, after "-Wl,-T,SCRIPT".
      mode: compilation mode; "" keeps that of the command line.
      **kwargs: attributes of the cc_binary (copts, defines, visibility and so on).
    """
    outer = {key: kwargs.pop(key) for key in ["tags", "testonly", "visibility"] if key in kwargs}
    native.cc_binary(
        name = name + "_raw",
        srcs = srcs,
        linkopts = ["-Wl,-T,$(location %s)" % linker_script] + linkopts,
        linkstatic = True,
        tags = _RAW,
        target_compatible_with = KERNEL_ONLY,
        testonly = outer.get("testonly", False),
        visibility = ["//visibility:private"],
        deps = deps + [linker_script],
        **kwargs
    )
    variant_binary(name = name, target = ":" + name + "_raw", variant = "kernel", mode = mode, **outer)

def fuzz_binaries(
        name,
        srcs = [],
        deps = [],
        corpus = [],
        corpus_variants = ["plain", "asan"],
        libfuzzer_args = [],
        dictionary = None,
        smoke_runs = 0,
        afl_smoke_seconds = 0,
        size = "small",
        tags = [],
        visibility = None,
        **kwargs):
    """One fuzz target as a program of every engine, and the tests that keep it working.

    The sources or the dependencies define LLVMFuzzerTestOneInput, and never a main.

    Binaries:
      NAME_libfuzzer      libFuzzer, with ASan and UBSan
      NAME_afl            AFL++ (persistent mode, input by shared memory), with ASan and UBSan
      NAME_replay         runs each file or folder of the command line once, without sanitizers
      NAME_replay_asan    the same with ASan and UBSan

    Tests:
      NAME_corpus_VARIANT replays the corpus, if there is one, in each of corpus_variants
      NAME_libfuzzer_smoke  if smoke_runs is set: that many executions from seed 1
      NAME_afl_smoke        if afl_smoke_seconds is set: a campaign of that length

    Args:
      name: prefix of all these names.
      srcs: sources of the target.
      deps: libraries of the target. A library that holds LLVMFuzzerTestOneInput itself needs
        alwayslink = True.
      corpus: files or filegroups, replayed by the corpus tests and used as seeds by the others.
      corpus_variants: host variants other than the fuzzers' own in which the corpus is replayed.
      libfuzzer_args: flags for the libFuzzer smoke test, such as "-max_len=512".
      dictionary: file of tokens, in the form both engines read, for the libFuzzer smoke test.
      smoke_runs: executions of the libFuzzer smoke test.
      afl_smoke_seconds: length of the AFL++ smoke test.
      size: size of the tests.
      tags: tags of the tests.
      visibility: who may use the binaries.
      **kwargs: attributes of the cc_binary (copts, data, testonly and so on).
    """
    raw = ":" + name + "_raw"
    testonly = kwargs.get("testonly", False)
    native.cc_binary(
        name = name + "_raw",
        srcs = srcs,
        tags = _RAW,
        visibility = ["//visibility:private"],
        deps = deps + ["//bazel/fuzz:main"],
        **kwargs
    )
    for suffix, variant in {
        "_libfuzzer": "libfuzzer",
        "_afl": "afl",
        "_replay": "plain",
        "_replay_asan": "asan",
    }.items():
        variant_binary(
            name = name + suffix,
            target = raw,
            testonly = testonly,
            variant = variant,
            visibility = visibility,
        )
    inputs = ["$(locations %s)" % label for label in corpus]
    dictionaries = [dictionary] if dictionary else []
    libfuzzer_args = libfuzzer_args + ["-dict=$(location %s)" % label for label in dictionaries]
    if corpus:
        for variant in corpus_variants:
            variant_test(
                name = name + "_corpus_" + variant,
                size = size,
                args = inputs,
                data = corpus,
                tags = tags,
                target = raw,
                variant = variant,
            )
    if smoke_runs:
        native.sh_test(
            name = name + "_libfuzzer_smoke",
            size = size,
            srcs = ["//bazel/fuzz:libfuzzer_smoke.sh"],
            args = ["$(location :%s_libfuzzer)" % name, str(smoke_runs)] + libfuzzer_args + inputs,
            data = [":%s_libfuzzer" % name] + corpus + dictionaries,
            tags = tags + ["libfuzzer"],
        )
    if afl_smoke_seconds:
        native.sh_test(
            name = name + "_afl_smoke",
            size = size,
            srcs = ["//bazel/fuzz:afl_smoke.sh"],
            args = ["$(location :%s_afl)" % name, str(afl_smoke_seconds)] + inputs,
            data = [":%s_afl" % name] + corpus,
            tags = tags + ["afl"],
        )

def build_failure_test(name, src, expect, deps = [], remedy_deps = [], define = "MUST_NOT_COMPILE", **kwargs):
    """A test that a misuse does not compile, with the flags of the plain variant. Its tag is must_not_compile.

    The source is compiled two or three times, each time in a folder that holds only the headers of
    the dependencies, direct and indirect:
      1. as it is: it must compile, or the misuse might fail for a wrong reason;
      2. with `define` defined, and the misuse inside `#ifdef`: an error or its notes must have `expect`;
      3. if remedy_deps are given, with `define` and these as well: it must compile. This shows that
         a forbidden header exists and is only out of reach.

    Args:
      name: name of the test.
      src: the C++ source; one source can serve several tests with different defines.
      expect: part of the compiler's error message.
      deps: libraries that the source may use.
      remedy_deps: libraries that would make the misuse compile.
      define: macro that switches the misuse on.
      **kwargs: copts, size, tags and so on.
    """
    _build_failure_test(
        name = name,
        size = kwargs.pop("size", "small"),
        tags = kwargs.pop("tags", []) + ["must_not_compile"],
        src = src,
        define = define,
        expect = expect,
        remedy_deps = remedy_deps,
        deps = deps,
        **kwargs
    )

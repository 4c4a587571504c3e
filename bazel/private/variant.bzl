"""Rules that build an existing target in another variant."""

load("//bazel:link.bzl", "link")
load("//bazel:variants.bzl", "KERNEL_VARIANT", "variant_platform")

_PLATFORMS = "//command_line_option:platforms"
_MODE = "//command_line_option:compilation_mode"
_PARSE_HEADERS = "//command_line_option:process_headers_in_dependencies"

def _transition_impl(settings, attr):
    return {
        _PLATFORMS: [variant_platform(attr.variant)],
        _MODE: attr.mode or settings[_MODE],
        # Each header is compiled on its own for the host and for the kernel. Once is enough. The plain
        # variant keeps the setting it finds: with another one all its libraries were built a second time.
        _PARSE_HEADERS: settings[_PARSE_HEADERS] if attr.variant == "plain" else attr.variant == KERNEL_VARIANT,
    }

variant_transition = transition(
    implementation = _transition_impl,
    inputs = [_MODE, _PARSE_HEADERS],
    outputs = [_PLATFORMS, _MODE, _PARSE_HEADERS],
)

# What a library wants built beside itself: its headers, compiled on their own. Bazel gives it to the
# libraries named on the command line, and a kernel's libraries are not.
_HEADERS = "_hidden_header_tokens_INTERNAL_"
_UNASKED = "_hidden_top_level_INTERNAL_"

_HeadersInfo = provider(doc = "Compiled headers.", fields = ["files"])

def _headers_aspect_impl(target, ctx):
    transitive = [dep[_HeadersInfo].files for dep in getattr(ctx.rule.attr, "deps", []) if _HeadersInfo in dep]
    if OutputGroupInfo in target and hasattr(target[OutputGroupInfo], _HEADERS):
        transitive.append(getattr(target[OutputGroupInfo], _HEADERS))
    return [_HeadersInfo(files = depset(transitive = transitive))]

_headers_aspect = aspect(implementation = _headers_aspect_impl, attr_aspects = ["deps"])

def _impl(ctx):
    # An attribute with a transition is a list, even if the transition has one outcome.
    target = ctx.attr.target[0]
    executable = link(ctx, target)
    runfiles = ctx.runfiles(files = [executable] + ctx.files.data)
    for data in ctx.attr.data:
        runfiles = runfiles.merge(data[DefaultInfo].default_runfiles)
    providers = [DefaultInfo(
        executable = executable,
        files = depset([executable]),
        runfiles = runfiles.merge(target[DefaultInfo].default_runfiles),
    )]
    if ctx.attr.variant == KERNEL_VARIANT:
        files = target[_HeadersInfo].files
        providers.append(OutputGroupInfo(**{_UNASKED: files}))
    if ctx.attr.env:
        providers.append(testing.TestEnvironment(ctx.attr.env))
    return providers

_ATTRS = {
    "data": attr.label_list(allow_files = True),
    "env": attr.string_dict(),
    "mode": attr.string(values = ["", "fastbuild", "opt", "dbg"]),
    "target": attr.label(
        aspects = [_headers_aspect],
        cfg = variant_transition,
        executable = True,
        mandatory = True,
    ),
    "variant": attr.string(mandatory = True),
    "_allowlist_function_transition": attr.label(
        default = "@bazel_tools//tools/allowlists/function_transition_allowlist",
    ),
}

variant_binary = rule(
    implementation = _impl,
    attrs = _ATTRS,
    doc = "An executable target built in another variant.",
    executable = True,
)

variant_test = rule(
    implementation = _impl,
    attrs = _ATTRS,
    doc = "An executable target built in another variant and run as a test.",
    test = True,
)

def _library_impl(ctx):
    files = ctx.attr.target[0][DefaultInfo].files
    return [DefaultInfo(files = files, runfiles = ctx.runfiles(transitive_files = files))]

variant_library = rule(
    implementation = _library_impl,
    attrs = {
        "mode": attr.string(values = ["", "fastbuild", "opt", "dbg"]),
        "target": attr.label(cfg = variant_transition, mandatory = True),
        "variant": attr.string(mandatory = True),
        "_allowlist_function_transition": attr.label(
            default = "@bazel_tools//tools/allowlists/function_transition_allowlist",
        ),
    },
    doc = "The files of a library built in another variant.",
)

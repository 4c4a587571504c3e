"""Programs whose modelled machine has up to 72 CPUs, and sets of CPUs of two words.

The number is a constant of the model (cpus.h), so that runs of a few CPUs pay nothing for the others. A wide
program is the same program, built with the flag //hal/host:wide.
"""

load("//bazel:link.bzl", "link_alone")

WIDE = "//hal/host:wide"

# Of every library that includes cpus.h.
WIDE_DEFINES = select({
    "//hal/host:is_wide": ["SHOOTDOWN_WIDE"],
    "//conditions:default": [],
})

def _wide_flag_impl(_ctx):
    return []

wide_flag = rule(
    implementation = _wide_flag_impl,
    build_setting = config.bool(flag = True),
)

def _wide_transition_impl(_settings, _attr):
    return {WIDE: True}

_wide_transition = transition(
    implementation = _wide_transition_impl,
    inputs = [],
    outputs = [WIDE],
)

def _wide_binary_impl(ctx):
    return link_alone(ctx, ctx.attr.target[0])

wide_binary = rule(
    implementation = _wide_binary_impl,
    attrs = {
        "target": attr.label(cfg = _wide_transition, executable = True, mandatory = True),
        "_allowlist_function_transition": attr.label(
            default = "@bazel_tools//tools/allowlists/function_transition_allowlist",
        ),
    },
    doc = "A program whose machine has many CPUs.",
    executable = True,
)

"""Libraries that programs with different cores share.

A program with a mutant inside is built in a configuration of its own, so whatever it stands on would be
compiled again for each mutant, the parts that the mutant does not reach included. `shared_library` takes
what to compile against from the mutant's configuration and what to link from the one in which
nothing is changed. Its user vouches that both are the same.
"""

_UNCHANGED = {
    "//command_line_option:process_headers_in_dependencies": False,
    "//core:core": "//core:flush_core",
    "//fuzz:parts": "//fuzz:pieces",
    "//fuzz:target_parts": "//fuzz:target_pieces",
    "//hal/host:host": "//hal/host:model",
    "//kernel-glue/mm:mm": "//kernel-glue/mm:reference_mm",
}

def _unchanged_impl(_settings, _attr):
    return _UNCHANGED

_unchanged = transition(
    implementation = _unchanged_impl,
    inputs = [],
    outputs = _UNCHANGED.keys(),
)

def _shared_library_impl(ctx):
    return [CcInfo(
        compilation_context = ctx.attr.library[CcInfo].compilation_context,
        linking_context = ctx.attr.linked[0][CcInfo].linking_context,
    )]

_shared_library = rule(
    implementation = _shared_library_impl,
    attrs = {
        "library": attr.label(mandatory = True, providers = [CcInfo]),
        "linked": attr.label(cfg = _unchanged, mandatory = True, providers = [CcInfo]),
        "_allowlist_function_transition": attr.label(
            default = "@bazel_tools//tools/allowlists/function_transition_allowlist",
        ),
    },
)

def shared_library(name, library, **kwargs):
    """A library whose objects do not depend on which core is chosen.

    Args:
      name: name of the target.
      library: label of the library.
      **kwargs: tags, testonly, visibility.
    """
    _shared_library(name = name, library = library, linked = library, **kwargs)

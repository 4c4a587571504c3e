"""The variants in which code is built, and the platform that stands for each."""

# plain      what `bazel build` uses when nobody says otherwise
# asan       AddressSanitizer and UndefinedBehaviorSanitizer; the first finding ends the run
# tsan       ThreadSanitizer
# libfuzzer  coverage hooks of libFuzzer on top of asan
# afl        coverage hooks of AFL++ on top of asan
# cov        clang's source coverage
HOST_VARIANTS = [
    "plain",
    "asan",
    "tsan",
    "libfuzzer",
    "afl",
    "cov",
]

# Freestanding, for the test kernel and for other people's kernels.
KERNEL_VARIANT = "kernel"

VARIANTS = HOST_VARIANTS + [KERNEL_VARIANT]

def variant_platform(variant):
    """The label of the platform that selects a variant."""
    if variant not in VARIANTS:
        fail("unknown variant '%s', expected one of %s" % (variant, ", ".join(VARIANTS)))
    if variant == KERNEL_VARIANT:
        return "//bazel/platforms:kernel_x86_64"
    if variant == "plain":
        return "//bazel/platforms:host"
    return "//bazel/platforms:host_" + variant

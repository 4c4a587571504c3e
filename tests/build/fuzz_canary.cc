// A fuzz target whose bug every fuzzer finds at once. The scripts around the fuzzers must report
// it.

#include <cstddef>
#include <cstdint>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size >= 2 && data[0] >= 0x80 && data[1] < 0x80) __builtin_trap();
  return 0;
}

// A fuzz target whose bug every fuzzer finds at once. The scripts around the fuzzers must report
// it.

#include <cstddef>
#include <cstdint>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2 || data[0] < 0x80 || data[1] >= 0x80) return 0;
  const std::vector<std::uint8_t> copy(data, data + size);
  const volatile std::uint8_t* bytes = copy.data();
  static_cast<void>(bytes[size]);
  return 0;
}

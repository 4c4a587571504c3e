#include "hal/x86_64/static_key.h"

#include <array>
#include <cstdint>

#include "hal/x86_64/instructions.h"

namespace shootdown::x86 {
namespace {

// The linker defines these for an output section whose name is an identifier. Weak, because a
// kernel may ask for no key at all.
extern "C" [[gnu::weak]] const KeySite sites_begin[] asm("__start_shootdown_keys");
extern "C" [[gnu::weak]] const KeySite sites_end[] asm("__stop_shootdown_keys");

using SiteBytes = std::array<std::uint8_t, 5>;

/// The long no-op that `key_enabled` emits (SDM vol. 2, NOP).
constexpr SiteBytes kNoOp = {0x0f, 0x1f, 0x44, 0x00, 0x00};

/// A jump from a site to its off branch: opcode, then the distance from the next instruction.
SiteBytes jump_bytes(const KeySite& site) {
  const auto distance =
      static_cast<std::uint32_t>(site.off - (site.code + std::tuple_size_v<SiteBytes>));
  return {0xe9, static_cast<std::uint8_t>(distance), static_cast<std::uint8_t>(distance >> 8),
          static_cast<std::uint8_t>(distance >> 16), static_cast<std::uint8_t>(distance >> 24)};
}

/// Lets this CPU write to read-only pages for a scope: kernel text is mapped without write access.
class WriteProtectOff {
 public:
  WriteProtectOff() : cr0_(read_cr0()) { write_cr0(cr0_ & ~kCr0WriteProtect); }
  ~WriteProtectOff() { write_cr0(cr0_); }
  WriteProtectOff(const WriteProtectOff&) = delete;
  WriteProtectOff& operator=(const WriteProtectOff&) = delete;

 private:
  std::uint64_t cr0_;
};

}  // namespace

void StaticKey::set(bool enabled) {
  enabled_ = enabled;
  {
    WriteProtectOff guard;
    for (const KeySite* site = sites_begin; site != sites_end; ++site) {
      if (site->key != this) continue;
      const SiteBytes bytes = enabled ? kNoOp : jump_bytes(*site);
      for (std::size_t i = 0; i < bytes.size(); ++i) site->code[i] = bytes[i];
    }
  }
  // A CPU that modified code executes a serialising instruction before it runs the new bytes
  // (SDM vol. 3, 9.1.3): otherwise it may run what it had prefetched.
  cpuid(0);
}

}  // namespace shootdown::x86

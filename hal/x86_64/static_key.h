// Static keys: conditions that are fixed after boot and cost one no-op where they are asked.
//
// Each place that asks for a key is a five-byte no-op, and falls through to "on". It also leaves a
// `KeySite` in the section `shootdown_keys`. Switching a key off rewrites all its places into jumps
// to their "off" branch. The kernel's linker script keeps an output section of that name; the
// linker marks its ends.
#pragma once

#include <cstdint>

namespace shootdown::x86 {

/// A key. Keys are born on. `enabled` is for cold code that only reports; `key_enabled` asks.
class StaticKey {
 public:
  constexpr StaticKey() = default;
  StaticKey(const StaticKey&) = delete;
  StaticKey& operator=(const StaticKey&) = delete;

  [[nodiscard]] bool enabled() const { return enabled_; }

  /// Rewrites every place that asks. Context: boot, interrupts off, before other CPUs have started:
  /// a CPU that runs across a place while it is rewritten could execute half an instruction.
  void set(bool enabled);

 private:
  bool enabled_{true};
};

/// One place that asks for a key: what the assembler leaves in `shootdown_keys`.
struct KeySite {
  std::uint8_t* code;       // the five bytes
  const std::uint8_t* off;  // where to go when the key is off
  const StaticKey* key;
};

/// Is the key on? A template over the key, so that its address is a constant for the asm even
/// without optimisation. Being a member of the current section's group, if there is one, the site
/// is dropped together with an inline function that the linker drops.
template <const StaticKey& kKey>
[[gnu::always_inline]] inline bool key_enabled() {
  asm goto(
      "1: .byte 0x0f, 0x1f, 0x44, 0x00, 0x00\n"
      ".pushsection shootdown_keys, \"a?\", @progbits\n"
      ".balign 8\n"
      ".quad 1b, %l[off], %c0\n"
      ".popsection"
      :
      : "i"(&kKey)
      :
      : off);
  return true;
off:
  return false;
}

}  // namespace shootdown::x86

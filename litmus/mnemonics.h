// What the mnemonics of x86 stand for, as far as the runner knows them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "litmus/test.h"

namespace shootdown::host::litmus {

struct Mnemonic {
  Op op{Op::nop};
  std::uint8_t least{0};  // operands
  std::uint8_t most{0};
  bool may_lock{false};
  bool sized{false};             // AT&T's suffix for the size may follow
  bool extends{false};           // MOVZX and MOVSX: the source is smaller
  std::uint8_t width{0};         // bytes, of a suffix; 0 without one
  std::uint8_t source_width{0};  // MOVZX and MOVSX in AT&T's spelling
  std::uint8_t condition{0};
  bool is_lfence{false};
  bool executes{false};
};

/// `name` in lower case, perhaps with AT&T's suffix for the size. Nothing if it is unknown.
[[nodiscard]] std::optional<Mnemonic> find_mnemonic(const std::string& name);
/// All of them, for messages.
[[nodiscard]] std::string known_mnemonics();

}  // namespace shootdown::host::litmus

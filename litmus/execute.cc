// What each instruction does.
#include "litmus/bench.h"

namespace shootdown::host::litmus {

void Bench::execute(const Column& column, Thread& thread) {
  std::size_t at = 0;
  unsigned repeats = 0;
  while (at < column.code.size()) {
    const Instruction& made = column.code[at];
    std::size_t next = at + 1;
    thread.at = &made;
    thread.flags = thread.all_flags[made.flags_in];
    switch (made.op) {
      case Op::leave:
        return;
      case Op::jump:
        next = made.target;
        break;
      case Op::jump_if:
        if (satisfied(made.condition, thread.flags)) next = made.target;
        break;
      case Op::assume:
        if (satisfied(made.condition, thread.flags) == made.taken) break;
        other_path_ = true;
        return;
      case Op::cut:
        cut_ = true;
        return;
      default:
        step(made, thread);
        break;
    }
    thread.all_flags[made.flags_out] = thread.flags;
    if (next <= at && ++repeats > most_repeats_) {
      // The others go on, so that what they do to this loop is not lost from sight.
      cut_ = true;
      return;
    }
    at = next;
  }
}

void Bench::step(const Instruction& made, Thread& thread) {
  const Site here = Site::current();
  if (is_protected(made)) {
    ++general_protections_[machine_.running().id];
    return;
  }
  switch (made.op) {
    case Op::nop:
      break;
    case Op::light_fence:
      if (made.is_lfence) {
        machine_.instructions().load_fence();
      } else {
        machine_.memory().barrier(machine_.running());
      }
      break;
    case Op::full_fence:
      machine_.instructions().full_fence(here);
      break;
    case Op::pause:
      machine_.instructions().pause(here);
      break;
    case Op::cli:
      machine_.instructions().set_interrupts(false, here);
      break;
    case Op::sti:
      machine_.instructions().set_interrupts(true, here);
      break;
    case Op::ipi: {
      HostCpuMask target;
      target.set(static_cast<CpuId>(made.operands[0].value));
      machine_.interrupts().send_call_function(target, here);
      break;
    }
    case Op::load_cr3:
      load_mm(static_cast<std::uint32_t>(made.operands[0].value), made.keep);
      break;
    case Op::load_cr4:
      machine_.instructions().write_cr4(static_cast<std::uint64_t>(made.operands[0].value), here);
      break;
    case Op::invlpg:
    case Op::invpcid:
      invalidate(made, thread);
      break;
    case Op::invlpgb:
      broadcast(made, thread);
      break;
    case Op::tlbsync:
      machine_.broadcasts().tlbsync(here);
      break;
    case Op::mov:
    case Op::mov_sign_extended:
    case Op::lea:
    case Op::move_if:
    case Op::set_if:
      move(made, thread);
      break;
    case Op::xchg:
      exchange(made, thread);
      break;
    case Op::cmpxchg:
      compare_exchange(made, thread);
      break;
    default:
      change(made, thread);
      break;
  }
}

void Bench::invalidate(const Instruction& made, const Thread& thread) {
  const Site here = Site::current();
  const bool by_address = made.op == Op::invlpg || made.operands[0].value == 0;
  const Operand& page = made.operands[made.op == Op::invlpg ? 0 : 2];
  const VirtAddr address = by_address ? address_of(page, thread) : 0;
  if (made.op == Op::invlpg) {
    machine_.instructions().invlpg(address, here);
    return;
  }
  machine_.instructions().invpcid(static_cast<InvpcidType>(made.operands[0].value),
                                  static_cast<std::uint64_t>(made.operands[1].value), address,
                                  here);
}

/// The manual's exceptions of what names a PCID, or keeps one's translations, without CR4.PCIDE,
/// and of what sets it while CR3 names a PCID.
bool Bench::is_protected(const Instruction& made) const {
  const HostCpu& self = machine_.running();
  if (made.op == Op::load_cr4) {
    const auto value = static_cast<std::uint64_t>(made.operands[0].value);
    return (value & ~self.cr4 & kCr4Pcid) != 0 && (self.cr3 & kCr3Pcid) != 0;
  }
  if (self.has_pcids()) return false;
  const bool names_pcid = made.op == Op::invpcid || made.op == Op::invlpgb;
  return (made.op == Op::load_cr3 && made.keep) ||
         (names_pcid && made.operands[0].value <= 1 && made.operands[1].value != 0);
}

void Bench::broadcast(const Instruction& made, const Thread& thread) {
  // By type; the first four are those of INVPCID.
  static constexpr InvlpgbScope kScopes[] = {InvlpgbScope::pages, InvlpgbScope::context,
                                             InvlpgbScope::everything, InvlpgbScope::all_contexts,
                                             InvlpgbScope::kernel_pages};
  Invlpgb what{.scope = kScopes[made.operands[0].value]};
  what.pcid = static_cast<std::uint64_t>(made.operands[1].value);
  if (made.operands[2].kind == OperandKind::memory) {
    what.address = address_of(made.operands[2], thread);
  }
  machine_.broadcasts().invlpgb(what, Site::current());
}

void Bench::move(const Instruction& made, Thread& thread) {
  const Operand& to = made.operands[0];
  std::uint64_t value = 0;
  if (made.op == Op::set_if) {
    value = satisfied(made.condition, thread.flags) ? 1 : 0;
  } else if (made.op == Op::lea) {
    value = address_of(made.operands[1], thread);
  } else {
    const std::uint8_t width = made.source_width != 0 ? made.source_width : made.width;
    const auto found = read(made.operands[1], width, thread, made.order);
    if (!found) return;
    value = *found;
    if (made.op == Op::mov_sign_extended) value = sign_extended(value, width);
    // CMOVcc reads its source in any case.
    if (made.op == Op::move_if && !satisfied(made.condition, thread.flags)) return;
  }
  write(to, made.width, value, thread, made.order);
}

void Bench::exchange(const Instruction& made, Thread& thread) {
  const bool first_is_register = made.operands[0].kind == OperandKind::reg;
  const Operand& reg = made.operands[first_is_register ? 0 : 1];
  const Operand& other = made.operands[first_is_register ? 1 : 0];
  const std::uint64_t value = thread.registers[reg.reg.number];
  if (other.kind == OperandKind::reg) {
    set_register(thread, reg.reg, made.width, thread.registers[other.reg.number]);
    set_register(thread, other.reg, made.width, value);
    return;
  }
  // XCHG with memory is locked without a prefix.
  const auto old = modify(made, other, value, thread);
  if (old) set_register(thread, reg.reg, made.width, *old);
}

/// Everything that computes its destination from its destination.
void Bench::change(const Instruction& made, Thread& thread) {
  const Operand& to = made.operands[0];
  const Operand& from = made.operands[1];
  std::uint64_t source = 0;
  if (from.kind != OperandKind::none) {
    const auto found = read(from, made.width, thread);
    if (!found) return;
    source = *found;
  }
  const bool only_flags = made.op == Op::cmp || made.op == Op::test || made.op == Op::bit_test;
  std::uint64_t old = 0;
  if (made.locked) {
    const auto found = modify(made, to, source, thread);
    if (!found) return;
    old = *found;
  } else {
    const auto found = read(to, made.width, thread);
    if (!found) return;
    old = *found;
    const std::uint64_t result = compute(made.op, made.width, old, source, thread.flags);
    if (!only_flags) write(to, made.width, result, thread);
  }
  if (made.op == Op::xadd || made.fetches) set_register(thread, from.reg, made.width, old);
}

void Bench::compare_exchange(const Instruction& made, Thread& thread) {
  const Operand& to = made.operands[0];
  const std::uint64_t source = thread.registers[made.operands[1].reg.number];
  std::uint64_t old = 0;
  if (made.locked) {
    const auto found = modify(made, to, source, thread);
    if (!found) return;
    old = *found;
  } else {
    const auto found = read(to, made.width, thread);
    if (!found) return;
    old = *found;
  }
  std::uint64_t& accumulator = thread.registers[made.accumulator];
  compute(Op::cmp, made.width, accumulator, old, thread.flags);
  if (thread.flags.zero && !made.locked) write(to, made.width, source, thread);
  if (!thread.flags.zero) {
    set_register(thread, {.number = made.accumulator, .width = made.width}, made.width, old);
  }
}

}  // namespace shootdown::host::litmus

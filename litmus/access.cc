// Operands: registers, words, pages and page-table entries.
#include <charconv>

#include "litmus/bench.h"

namespace shootdown::host::litmus {

namespace {

constexpr std::uint64_t kKnownFlags = kPtePresent | kPteWritable | kPteUser | kPteAccessed |
                                      kPteDirty | kPteGlobal | kPteLarge | kPteNoExecute;
constexpr std::uint64_t kEntryFrame = ~kEntryFlags;

constexpr std::uint64_t flags_of(const Entry& entry) {
  const bool may_be_large = entry.level == 2 || entry.level == 3;
  return may_be_large ? kKnownFlags : kKnownFlags & ~kPteLarge;
}

/// Handlers are the kernel's.
Mode mode_of(const HostCpu& cpu) {
  return cpu.in_interrupt || cpu.in_nmi ? Mode::supervisor : Mode::user;
}

}  // namespace

std::uint64_t Bench::address_of(const Operand& operand, const Thread& thread) const {
  auto address = static_cast<std::uint64_t>(operand.value);
  if (operand.location != kNone) address += test_.locations[operand.location].address;
  if (operand.has_base) address += thread.registers[operand.base];
  if (operand.has_index) address += thread.registers[operand.index] * operand.scale;
  return address;
}

Bench::Cell Bench::cell_of(const Operand& operand, const Thread& thread) {
  if (operand.kind == OperandKind::entry) return {.is_entry = true, .index = operand.entry};
  const std::uint64_t address = address_of(operand, thread);
  const auto found = location_at_.find(address);
  if (found == location_at_.end())
    give_up("an access to an address without a location", address, thread);
  const Place kind = test_.locations[found->second].place;
  if (kind == Place::frame || kind == Place::table) {
    give_up("an access to a frame without a page", address, thread);
  }
  return {.index = found->second};
}

void Bench::give_up(const char* why, std::uint64_t value, const Thread& thread) {
  gave_up_at_ = thread.at;
  // The machine ends a run by itself for an observer only, and the bench has none.
  Report report;
  report.kind = &kCheck;
  report.title = why;
  std::array<char, 2 + 16> digits{'0', 'x'};
  const auto end = std::to_chars(&digits[2], digits.data() + digits.size(), value, 16);
  report.detail.assign(digits.data(), end.ptr);
  machine_.fail(std::move(report));
}

/// What the parser cannot check, because the address is only known now.
void Bench::demand_size(const Operand& operand, std::size_t location, std::uint8_t width,
                        const Thread& thread) {
  if ((!operand.has_base && !operand.has_index) || thread.at->any_width) return;
  if (test_.locations[location].width == width) return;
  give_up("an access of another size than that of the location", test_.locations[location].address,
          thread);
}

void Bench::demand_entry(std::size_t entry, std::uint64_t value, const Thread& thread) {
  if ((value & ~kEntryFrame & ~flags_of(test_.entries[entry])) != 0) {
    give_up("an entry with bits that the model does not have", value, thread);
  }
  if ((value & kPtePresent) == 0) return;
  const auto found = location_at_.find(value & kEntryFrame);
  const bool is_leaf = test_.entries[entry].maps_page(value);
  const Place wanted = is_leaf ? Place::frame : Place::table;
  if (found != location_at_.end() && test_.locations[found->second].place == wanted) return;
  give_up("an entry that is present and names no frame of its kind", value, thread);
}

void Bench::set_register(Thread& thread, Register reg, std::uint8_t width, std::uint64_t value) {
  std::uint64_t& whole = thread.registers[reg.number];
  if (width >= 4) {
    whole = zero_extended(value, width);
  } else {
    const std::uint64_t kept = whole & ~zero_extended(~std::uint64_t{0}, width);
    whole = kept | zero_extended(value, width);
  }
}

std::optional<std::uint64_t> Bench::read(const Operand& operand, std::uint8_t width,
                                         const Thread& thread, std::memory_order order) {
  if (operand.kind == OperandKind::immediate) return static_cast<std::uint64_t>(operand.value);
  if (operand.kind == OperandKind::reg) {
    return zero_extended(thread.registers[operand.reg.number], width);
  }
  const Cell cell = cell_of(operand, thread);
  if (cell.is_entry) return from_machine(machine_.memory().read_word(entry_of_[cell.index]));
  demand_size(operand, cell.index, width, thread);
  if (test_.locations[cell.index].place == Place::page) {
    const auto value = machine_.translation().load(
        test_.locations[cell.index].address,
        {.fetch = thread.at->executes, .mode = mode_of(machine_.running())});
    if (!value) {
      ++faults_[machine_.running().id];
      return {};
    }
    return zero_extended(*value, width);
  }
  return zero_extended(words_[cell.index].load(order), width);
}

void Bench::write(const Operand& operand, std::uint8_t width, std::uint64_t value, Thread& thread,
                  std::memory_order order) {
  if (operand.kind == OperandKind::reg) {
    set_register(thread, operand.reg, width, value);
    return;
  }
  const Cell cell = cell_of(operand, thread);
  if (!cell.is_entry) demand_size(operand, cell.index, width, thread);
  if (cell.is_entry) {
    demand_entry(cell.index, value, thread);
    machine_.memory().barrier(machine_.running());
    machine_.memory().store_word(entry_of_[cell.index], to_machine(value),
                                 std::memory_order_release);
    machine_.memory().barrier(machine_.running());
  } else if (test_.locations[cell.index].place == Place::page) {
    const VirtAddr page = test_.locations[cell.index].address;
    const Mode mode = mode_of(machine_.running());
    if (machine_.translation().store(page, sign_extended(value, width), mode) ==
        AccessResult::fault) {
      ++faults_[machine_.running().id];
    }
  } else {
    words_[cell.index].store(sign_extended(value, width), order);
  }
}

std::optional<std::uint64_t> Bench::modify(const Instruction& made, const Operand& destination,
                                           std::uint64_t source, Thread& thread) {
  const Cell cell = cell_of(destination, thread);
  if (cell.is_entry) {
    return modify_entry(cell.index, made, source, thread);
  }
  demand_size(destination, cell.index, made.width, thread);
  if (test_.locations[cell.index].place == Place::page) {
    std::uint64_t* word = machine_.translation().modify(test_.locations[cell.index].address,
                                                        mode_of(machine_.running()));
    if (word == nullptr) {
      ++faults_[machine_.running().id];
      return {};
    }
    const std::uint64_t old = zero_extended(*word, made.width);
    *word = sign_extended(result_of(made, old, source, thread), made.width);
    return old;
  }
  return modify_word(words_[cell.index], made, source, thread);
}

/// What a locked instruction leaves in memory.
std::uint64_t Bench::result_of(const Instruction& made, std::uint64_t old, std::uint64_t source,
                               Thread& thread) {
  if (made.op == Op::xchg) return source;
  if (made.op == Op::cmpxchg) {
    const bool same = old == zero_extended(thread.registers[made.accumulator], made.width);
    return same ? source : old;
  }
  return compute(made.op, made.width, old, source, thread.flags);
}

std::uint64_t Bench::modify_word(HostAtomic<std::uint64_t>& word, const Instruction& made,
                                 std::uint64_t source, Thread& thread) {
  const std::uint64_t value = sign_extended(source, made.width);
  std::uint64_t old = 0;
  switch (made.op) {
    case Op::xchg:
      return zero_extended(word.exchange(value, made.order), made.width);
    case Op::cmpxchg: {
      old = sign_extended(thread.registers[made.accumulator], made.width);
      word.compare_exchange(old, value, made.order);
      return zero_extended(old, made.width);
    }
    default:
      old = word.update(
          [&](std::uint64_t found) {
            const std::uint64_t before = zero_extended(found, made.width);
            return sign_extended(result_of(made, before, source, thread), made.width);
          },
          made.order);
      return zero_extended(old, made.width);
  }
}

std::uint64_t Bench::modify_entry(std::size_t entry, const Instruction& made, std::uint64_t source,
                                  Thread& thread) {
  std::uint64_t* const word = entry_of_[entry];
  const std::uint64_t bit = std::uint64_t{1} << (source % 64);
  const std::uint64_t changed = made.op == Op::xchg      ? 0
                                : made.op == Op::bit_and ? ~source
                                : made.op == Op::bit_or  ? source
                                                         : bit;
  // The machine has other addresses for frames than the test.
  if ((changed & ~flags_of(test_.entries[entry])) != 0) {
    give_up("a change of bits that are no flags of an entry", changed, thread);
  }
  std::uint64_t old = 0;
  switch (made.op) {
    case Op::bit_and:
    case Op::bit_reset:
      old = machine_.memory().clear_bits(word, changed);
      break;
    case Op::bit_or:
    case Op::bit_set:
      old = machine_.memory().set_bits(word, changed);
      break;
    default:
      demand_entry(entry, source, thread);
      old = machine_.memory().exchange_word(word, to_machine(source));
      break;
  }
  old = from_machine(old);
  const std::uint64_t result = result_of(made, old, source, thread);
  if (made.op == Op::bit_or || made.op == Op::bit_set) demand_entry(entry, result, thread);
  return old;
}

}  // namespace shootdown::host::litmus

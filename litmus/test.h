// A litmus test as data: what the parser makes and the bench executes.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "litmus/condition.h"

namespace shootdown::host::litmus {

/// Those of x86, or the accumulator, variables and temporaries of a function in C.
inline constexpr std::size_t kRegisters = 32;
inline constexpr std::size_t kMostVariables = 16;
/// With those that a compiler has besides: it renames registers, and so does a processor.
inline constexpr std::size_t kVirtualRegisters = 256;
inline constexpr std::size_t kNone = ~std::size_t{0};

/// What a test may have at most. Far more than any needs that can be explored.
inline constexpr std::size_t kMostFileBytes = 65536;
inline constexpr std::size_t kMostInstructions = 1000;  // of all columns
inline constexpr std::size_t kMostLocations = 200;
inline constexpr std::size_t kMostTerms = 200;
inline constexpr std::size_t kMostAtoms = 200;    // of a condition
inline constexpr std::size_t kMostNesting = 100;  // of its brackets and negations
inline constexpr unsigned kMostLevels = 5;
inline constexpr std::int64_t kMostMms = 7;  // numbered from 1

/// The stack pointer's number: memory reached through it is the CPU's own.
inline constexpr std::uint8_t kStackPointer = 7;

/// Locations have addresses, a page apart, so that a register may hold one. They are virtual
/// addresses where the location is a page, and names for frames inside page-table entries.
inline constexpr std::uint64_t kFirstAddress = 0x4000'0000;
inline constexpr std::uint64_t kAddressStep = 0x1000;
/// Those that the test wants elsewhere have another page table.
inline constexpr std::uint64_t kRegionBytes = 0x20'0000;
inline constexpr std::uint64_t kFirstFarAddress = kFirstAddress + kRegionBytes;

/// Bits of an entry that say no address.
inline constexpr std::uint64_t kEntryFlags = (kAddressStep - 1) | (std::uint64_t{1} << 63);

/// A register by its name: which one, and how many bytes of it.
struct Register {
  std::uint8_t number{0};
  std::uint8_t width{8};
};

enum class Place : std::uint8_t {
  word,   // plain shared memory
  page,   // a virtual page: accesses translate
  frame,  // a physical frame that entries may name
  table,  // a page table that entries may name
};

struct Location {
  std::string name;
  Place place{Place::word};
  std::uint8_t width{0};   // bytes; 0 until it is known
  bool declared{false};    // the file says how wide
  bool named{false};       // the initial state gives it a value or a type
  bool element{false};     // of an array
  bool by_address{false};  // the initial state gives its address to something
  bool hidden{false};      // a stack slot
  unsigned mentions{0};    // how often the file names it, and where first
  std::size_t at{0};
  std::uint64_t address{0};
  std::int64_t initial{0};
  /// One of the tables that all pages of mm 1 are reached through at first.
  [[nodiscard]] bool is_of_start() const { return name == "main" || name == "directory"; }
};

/// Which page-table word.
struct Entry {
  std::size_t page{0};       // a location
  unsigned level{1};         // from 2 on one that links a table, or maps a large page
  std::uint32_t mm{1};       // of which address space ...
  std::size_t table{kNone};  // ... or in which spare table, a location
  std::uint64_t initial{0};  // a location's address and bits of x86, see kPtePresent
  [[nodiscard]] bool is_upper() const { return level > 1; }
  /// Whether such a value leads to a page, and not to a table.
  [[nodiscard]] bool maps_page(std::uint64_t value) const {
    constexpr std::uint64_t kLarge = 128;
    return level == 1 || (level <= 3 && (value & kLarge) != 0);
  }
  friend bool operator==(const Entry& a, const Entry& b) {
    return a.page == b.page && a.level == b.level && a.mm == b.mm && a.table == b.table;
  }
};

enum class Op : std::uint8_t {
  nop,
  mov,
  mov_sign_extended,
  lea,
  xchg,
  add,
  subtract,
  bit_and,
  bit_or,
  bit_xor,
  inc,
  dec,
  neg,
  bit_not,
  xadd,
  cmpxchg,
  bit_test,
  bit_set,
  bit_reset,
  cmp,
  test,
  jump,
  jump_if,
  set_if,
  move_if,
  leave,
  full_fence,
  light_fence,  // LFENCE, SFENCE: barriers to a compiler, without effect on the memory of the model
  pause,
  cli,
  sti,
  invlpg,
  invpcid,
  load_cr3,
  load_cr4,
  invlpgb,
  tlbsync,
  ipi,
  // No instructions of x86, but what is left of a jump in code that a compiler has reordered.
  assume,  // the condition is as `taken` says; else the execution is one of another path
  cut,     // the CPU has jumped back too often
};

enum class OperandKind : std::uint8_t { none, immediate, reg, memory, entry };

struct Operand {
  OperandKind kind{OperandKind::none};
  Register reg;
  std::int64_t value{0};  // the immediate, or the displacement
  bool has_base{false};
  bool has_index{false};
  std::uint8_t base{0};
  std::uint8_t index{0};
  std::uint8_t scale{1};
  std::size_t location{kNone};  // memory: the symbol; its address is added
  std::size_t entry{kNone};
};

[[nodiscard]] inline Operand register_operand(Register reg) {
  Operand made;
  made.kind = OperandKind::reg;
  made.reg = reg;
  return made;
}
[[nodiscard]] inline Operand immediate_operand(std::int64_t value) {
  Operand made;
  made.kind = OperandKind::immediate;
  made.value = value;
  return made;
}

struct Instruction {
  Op op{Op::nop};
  bool locked{false};
  bool keep{false};                 // MOV to CR3 with the keep bit
  bool is_lfence{false};            // a light fence that waits for an MFENCE before it
  bool stores_only{false};          // an exchange that stands for a sequentially consistent store
  bool fetches{false};              // the old value comes to the source, as with XADD
  bool executes{false};             // a load that stands for the fetch of an instruction
  std::uint8_t width{0};            // bytes; 0: that of the location
  bool any_width{false};            // nothing says it, and the location is known at run time
  std::uint8_t source_width{0};     // MOVZX, MOVSX
  std::uint8_t condition{0};        // Jcc, SETcc, CMOVcc: the number in the opcode
  std::array<Operand, 3> operands;  // in Intel's order: the destination first
  std::size_t target{kNone};        // jumps: an index of an instruction
  /// What the access to memory is in C++. Matters under Memory::cxx only.
  std::memory_order order{std::memory_order_relaxed};
  // In code that a compiler has made: which flags it reads and writes, and CMPXCHG's register.
  std::uint8_t flags_in{0};
  std::uint8_t flags_out{0};
  std::uint8_t accumulator{0};
  bool taken{false};  // assume
  std::size_t at{0};  // in the file
  unsigned line{0};
  unsigned column{0};
  std::string text;
};

enum class Role : std::uint8_t { cpu, interrupt, nmi };
inline constexpr std::size_t kRoles = 3;
/// "", ".irq" and ".nmi".
[[nodiscard]] constexpr const char* suffix_of(Role role) {
  constexpr std::array<const char*, kRoles> kSuffixes{"", ".irq", ".nmi"};
  return kSuffixes[static_cast<std::size_t>(role)];
}

struct Column {
  Role role{Role::cpu};
  std::uint32_t cpu{0};  // whose
  std::vector<Instruction> code;
};

/// A register's initial value.
struct InitialRegister {
  std::uint32_t cpu{0};
  std::uint8_t number{0};
  std::int64_t value{0};
};

enum class Quantifier : std::uint8_t { exists, not_exists, forall };

/// What is no error, but looks like one.
struct Warning {
  std::size_t at{0};
  unsigned line{0};
  unsigned column{0};
  std::string what;
};

struct Test {
  std::string arch;  // "X86", "X86_64" or "C"
  std::string name;
  std::vector<std::pair<std::string, std::string>> metadata;
  std::vector<Location> locations;
  std::vector<Entry> entries;
  std::vector<InitialRegister> registers;
  std::vector<std::pair<std::uint32_t, std::uint32_t>> initial_mms;  // CPU, mm
  std::vector<Column> columns;
  std::uint32_t cpus{0};
  std::vector<Term> terms;  // what is observed; conditions refer to it by index
  std::size_t shown{0};     // the first so many terms make a state
  Quantifier quantifier{Quantifier::forall};
  Condition condition;
  Condition filter;  // empty: all executions count
  /// By the name of a model, in the place of `quantifier`.
  std::vector<std::pair<std::string, Quantifier>> kinds;
  bool has_plain_accesses{false};  // in C: other than atomic ones
  std::vector<Warning> warnings;

  [[nodiscard]] const std::string* find(const std::string& key) const {
    for (const auto& [name_of, value] : metadata) {
      if (name_of == key) return &value;
    }
    return nullptr;
  }
  [[nodiscard]] bool is_c() const { return arch == "C"; }
  /// Whether the predicate is true of some instruction of some column.
  template <class Predicate>
  [[nodiscard]] bool has_instruction(const Predicate& predicate) const {
    return std::any_of(columns.begin(), columns.end(), [&](const Column& column) {
      return std::any_of(column.code.begin(), column.code.end(), predicate);
    });
  }
  [[nodiscard]] bool says(const std::string& key, std::string_view wanted) const {
    const std::string* value = find(key);
    return value != nullptr && *value == wanted;
  }
  /// Whether the line of the key has the word.
  [[nodiscard]] bool lists(const std::string& key, std::string_view word) const;
  /// Whether walks may stop after the entry that links the page table: what is cached then matters
  /// only if such an entry changes. "Walks=" decides otherwise.
  [[nodiscard]] bool has_early_walks() const;
  /// Whether an instruction may change an entry of the level.
  [[nodiscard]] bool changes_level(unsigned level) const;
  /// Pages that each CPU may drop the translation of: all with "Evictions=on". By default those of
  /// which a stale translation may lack a right: a processor may fault or walk again.
  [[nodiscard]] std::vector<std::uint64_t> evictions() const;
  /// Speculative walks that each CPU may do, and the level of the last entry of each.
  [[nodiscard]] std::vector<std::pair<std::uint64_t, unsigned>> speculative_walks() const;
};

}  // namespace shootdown::host::litmus

// What each kind of operation and deviation is called and which fields it uses. The codec, the text
// form and the mutators all read these tables, so a new kind is one line here.
#pragma once

#include <array>
#include <cstddef>
#include <string_view>

#include "fuzz/scenario/scenario.h"

namespace shootdown::fuzz {

inline constexpr unsigned kOpKinds = static_cast<unsigned>(OpKind::kCount);
using host::kDeviationKinds;

/// What `count` stands for if it is no number of pages.
enum class Target : std::uint8_t { none, page, mm };

/// Whether each row of a table has a name. Rows that were forgotten are at its end, and empty.
template <class Shapes>
constexpr bool all_named(const Shapes& shapes) {
  for (const auto& shape : shapes) {
    if (shape.name.empty()) return false;
  }
  return true;
}

struct OpShape {
  std::string_view name;
  bool uses_mm;
  bool uses_page;
  bool uses_count;
  unsigned pages{kPages};  // what `page` counts: some of the user pages, or the kernel's own
  unsigned first_page{0};
  Target to{Target::none};
};

/// In the order of OpKind.
inline constexpr std::array<OpShape, kOpKinds> kOpShapes{{
    {"switch_to", true, false, false},
    {"idle", false, false, false},
    {"resume", false, false, false},
    {"leave", false, false, false},
    {"read", false, true, false},
    {"write", false, true, false},
    {"map", true, true, true},
    {"unmap", true, true, true},
    {"protect", true, true, true},
    {"unprotect", true, true, true},
    {"replace", true, true, false},
    {"free_table", true, true, false},
    {"flush_mm", true, false, false},
    {"exit", true, false, false},
    {"protect_early", true, true, true},
    {"reclaim", true, true, false},
    {"batch_flush", false, false, false},
    {"kernel_read", false, true, false, kKernelPages},
    {"kernel_map", false, true, false, kKernelPages},
    {"kernel_unmap", false, true, true, kKernelPages},
    {"flush_all", false, false, false},
    {"temporary", false, true, false},
    {"offline", false, false, false},
    {"online", false, false, false},
    {"move", true, true, false, kSmallPages, 0, Target::page},
    {"fork", true, false, false, kPages, 0, Target::mm},
    {"cow", true, true, false},
    {"split", true, true, false, kLargePages, kSmallPages},
    {"collapse", true, true, false, kLargePages, kSmallPages},
    {"clean", true, true, true},
    {"reclaim_tables", true, true, false},
    {"walk", false, true, false},
    {"fail_allocation", false, false, true},
    {"flush_range", true, true, true},
    {"map_small", true, true, false, kLargePages, kSmallPages},
}};
static_assert(all_named(kOpShapes), "each OpKind has a row");

/// Kinds that every machine has; the ones behind them need something that the header switches on.
inline constexpr unsigned kPlainDeviationKinds = static_cast<unsigned>(EventKind::drain);

/// `arg` is `value + arg_count * (level - 1)`, with a value of 0 .. arg_count - 1 and a level of
/// 1 .. levels. People see `value + arg_first`, under the name `arg_name`, and the level unless it
/// is 1, under the name `level_name`.
struct DeviationShape {
  std::string_view name;
  std::string_view arg_name;
  unsigned arg_first;
  unsigned arg_count;
  unsigned levels{1};
  bool of_mm{false};   // the `cpu` of a deviation is an mm
  bool to_cpu{false};  // `value` is another CPU
  std::string_view level_name{"level"};
  /// Whether `value` is a page that a walk is made for.
  [[nodiscard]] constexpr bool names_page() const { return arg_name == "page"; }
  /// How many values `arg` has.
  [[nodiscard]] constexpr unsigned args() const { return arg_count * levels; }
  [[nodiscard]] constexpr unsigned value_of(unsigned arg) const { return arg % arg_count; }
  [[nodiscard]] constexpr unsigned level_of(unsigned arg) const { return 1 + (arg / arg_count); }
  [[nodiscard]] constexpr unsigned arg_of(unsigned value, unsigned level) const {
    return value + (arg_count * (level - 1));
  }
};

/// A page that a walk is made for: the user pages, and behind them the kernel's own. The level is
/// that of the last entry that the walk reads.
inline constexpr unsigned kWalkedPages = kPages + kKernelPages;
inline constexpr unsigned kWalkLevels = 4;

/// How late an NMI may come, in accesses of its CPU.
inline constexpr unsigned kNmiAccesses = 14;

/// In the order of EventKind. `arg` is for: hold, how many of the CPU's operations; drain, how many
/// stores; stale, how many values older, or as old as it may be; evict, deliver, overtake, a
/// choice; fail, how; aim, the stream of a strategy's numbers; migrate, the other CPU.
inline constexpr std::array<DeviationShape, kDeviationKinds> kDeviationShapes{{
    {"preempt", "", 0, 1},
    {"hold", "steps", 1, 256},
    {"fill", "page", 0, kWalkedPages, kWalkLevels},
    {"evict", "entry", 0, 256},
    {"drain", "stores", 1, 16},
    {"deliver", "message", 0, 256},
    {"vcpu_preempt", "", 0, 1},
    {"vcpu_resume", "", 0, 1},
    {"fail", "how", 0, 256},
    {"overtake", "store", 0, 16},
    {"stale", "age", 1, 7},
    {"nmi", "page", 0, kPages, kNmiAccesses, false, false, "access"},
    {"device", "page", 0, kWalkedPages, kWalkLevels, true},
    {"lose", "", 0, 1},
    {"duplicate", "", 0, 1},
    {"aim", "stream", 0, 256},
    {"migrate", "with", 0, kMaxCpus, 1, false, true},
}};
static_assert(all_named(kDeviationShapes), "each kind of deviation has a row");

inline constexpr unsigned kBackends = static_cast<unsigned>(Backend::kCount);

/// In the order of Backend.
inline constexpr std::array<std::string_view, kBackends> kBackendNames{"native", "kvm", "hyperv",
                                                                       "xen", "uv_bau"};
static_assert(!kBackendNames.back().empty(), "each Backend has a name");

constexpr std::string_view name(Backend backend) {
  return kBackendNames[static_cast<std::size_t>(backend)];
}

/// Precondition: `kind` is one of the named ones, or a deviation.
constexpr const OpShape& shape(OpKind kind) { return kOpShapes[static_cast<std::size_t>(kind)]; }
constexpr const DeviationShape& shape(EventKind kind) {
  return kDeviationShapes[static_cast<std::size_t>(kind)];
}

/// The most pages that a range from `page` on can have without leaving the small, large or kernel
/// pages.
constexpr unsigned max_count(const OpShape& shape, unsigned page) {
  if (!shape.uses_page) return kSmallPages;
  if (shape.pages == kKernelPages) return kKernelPages - page;
  return page < kSmallPages ? kSmallPages - page : kPages - page;
}

/// `page` or any other number as a page that the kind may name.
constexpr unsigned page_for(const OpShape& shape, unsigned page) {
  return shape.first_page + (page % shape.pages);
}
static_assert(kSmallPages % kLargePages == 0, "a page that a kind may name stays what it is");

/// How many values `count` has, from 1 on, for a kind that uses it in whichever way.
constexpr unsigned counts(const OpShape& shape, unsigned page, unsigned mms) {
  if (shape.uses_count) return max_count(shape, page);
  if (shape.to == Target::page) return kSmallPages;
  return shape.to == Target::mm ? mms : 1;
}

/// What texts and command lines of earlier versions call a thing, and what it is called now.
inline constexpr std::array<std::array<std::string_view, 2>, 3> kOldNames{
    {{"by_loaded_space", "by_loaded_mm"}, {"cxx", "compiler_reordering"}, {"uv", "uv_bau"}}};

/// `name` as it is now; every other name is itself.
constexpr std::string_view current_name(std::string_view name) {
  for (const auto& [old_name, now] : kOldNames) {
    if (name == old_name) return now;
  }
  return name;
}

/// A yes-or-no field of the header.
struct HeaderSwitch {
  std::string_view name;
  bool Header::* field;
  bool is_drawn{true};     // with the others; otherwise by itself, or on request only
  bool has_stream{false};  // a stream of random numbers decides on it alone
  bool has_focus{false};   // focuses turn it, and nothing else does
};

/// In the order of the bits in which the byte form stores their difference from the default.
inline constexpr std::array kHeaderSwitches{
    HeaderSwitch{"pti", &Header::pti},
    HeaderSwitch{"invpcid", &Header::invpcid},
    HeaderSwitch{"global_pages", &Header::global_pages},
    HeaderSwitch{"defer_user_pages", &Header::defer_user_pages},
    HeaderSwitch{"early", &Header::early},
    HeaderSwitch{"invlpg_erratum", &Header::invlpg_erratum},
    HeaderSwitch{"lazy_masks", &Header::lazy_masks},
    HeaderSwitch{"lazy_test_up_front", &Header::lazy_test_up_front},
    HeaderSwitch{"by_loaded_mm", &Header::by_loaded_mm},
    HeaderSwitch{"broadcast", &Header::broadcast},
    HeaderSwitch{"defer_tables", &Header::defer_tables},
    HeaderSwitch{"tso", &Header::tso, false},
    HeaderSwitch{"compiler_reordering", &Header::compiler_reordering, false},
    HeaderSwitch{"nmi", &Header::nmi, false},
    HeaderSwitch{"device", &Header::device, false},
    HeaderSwitch{"faults", &Header::faults, false},
    HeaderSwitch{"small", &Header::small, false, true},
    HeaderSwitch{"latitude", &Header::latitude, false, true},
    HeaderSwitch{"plain_pte", &Header::plain_pte, false, true},
    HeaderSwitch{"weak_ipi", &Header::weak_ipi, false, true},
    HeaderSwitch{"own_fields", &Header::own_fields, false, true},
    HeaderSwitch{"take_fetch", &Header::take_fetch, false, true},
    HeaderSwitch{"take_access", &Header::take_access, false, true},
    HeaderSwitch{"closed_waits", &Header::closed_waits, false, false, true},
    HeaderSwitch{"submits", &Header::submits, false, false, true},
    HeaderSwitch{"unlocked_reads", &Header::unlocked_reads, false, false, true},
    HeaderSwitch{"task_stores", &Header::task_stores, false, false, true},
};
// The fields that are no switches: cpus, mms, pcid, concurrent, ceiling, backend.
static_assert(sizeof(Header) == kHeaderSwitches.size() + 6, "each switch of the header has a row");

}  // namespace shootdown::fuzz

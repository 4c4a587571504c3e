// The functions of shootdown.h over a HAL. Included once in a program, by a file that has named the
// HAL as `shootdown::embed::EmbeddedHal` and defined `entered`, which is called first in each
// function that takes a system: library.cc for kernels, model/ for the modelled machine.
#pragma once

#include <array>
#include <cstdint>

#include "kernel-glue/embed/objects.h"
#include "kernel-glue/embed/shootdown.h"
#include "kernel-glue/embed/tokens.h"

namespace shootdown::embed {

using H = EmbeddedHal;
template struct HoldsAll<H>;

inline void demand(bool ok, const char* what) { require<H>(ok, Rule::r13, what); }

/// The object in the kernel's storage, which a null pointer or a crooked address is not.
template <class T, class Storage>
T& in(Storage* storage, const char* what) {
  demand(storage != nullptr && reinterpret_cast<std::uintptr_t>(storage) % alignof(Storage) == 0,
         what);
  return *reinterpret_cast<T*>(storage);
}
inline System<H>& core_of(sd_system* system) {
  entered();
  return in<EmbeddedSystem<H>>(system, "a null or unaligned sd_system").core;
}
inline TokenNumbers& numbers_of(sd_system* system) {
  return in<EmbeddedSystem<H>>(system, "a null or unaligned sd_system").numbers;
}
inline Mm<H>& space_of(sd_mm* mm) { return in<Mm<H>>(mm, "a null or unaligned sd_mm"); }

/// The space, which is in use: the library's own, or one that knows its address.
inline Mm<H>& in_use(sd_system* system, sd_mm* mm) {
  Mm<H>& space = space_of(mm);
  if (&space == &core_of(system).kernel_mm) return space;
  const auto& object = static_cast<EmbeddedMm<H>&>(space);
  demand(object.self != 0, "an sd_mm is used before sd_mm_init");
  demand(object.self != EmbeddedMm<H>::kRetired, "a space is used that was retired");
  demand(object.self == reinterpret_cast<std::uintptr_t>(&object),
         "an sd_mm was copied, or not zeroed before sd_mm_init");
  return space;
}

/// The system, on a CPU that takes part. The core asks itself in flushes; a switch is quick.
inline System<H>& on_this_cpu(sd_system* system) {
  System<H>& core = core_of(system);
  demand(core.self().own.is_up, "this CPU is not online");
  return core;
}

inline sd_token make_token(sd_system* system, std::uint64_t covers, std::uint32_t permits) {
  return {.covers = covers, .permits = permits, .number = numbers_of(system).make()};
}
inline sd_token token_of(sd_system* system, const UserReturnClosed& token, Mm<H>& mm,
                         std::uint32_t permits) {
  demand(token.covers(mm), "a flush has not covered its space");
  return make_token(system, mm.context, permits);
}

inline EmbeddedPending<H>& pending_in(sd_pending* pending) {
  return in<EmbeddedPending<H>>(pending, "a null or unaligned sd_pending");
}
/// With a flush, or without one.
inline EmbeddedPending<H>& submitted(sd_pending* pending) {
  auto& place = pending_in(pending);
  demand(place.flush.is_of_an_mm(), "an sd_pending has no flush, or its flush was completed");
  return place;
}
inline EmbeddedPending<H>& free_place(sd_pending* pending) {
  auto& place = pending_in(pending);
  demand(!place.flush.is_of_an_mm(), "an sd_pending has a flush that was not completed");
  return place;
}

inline constexpr std::uint32_t kQuiet = SD_USER_RETURN | SD_DATA;
inline constexpr std::uint32_t kUnreachable = kQuiet | SD_WALKED;

/// A range of a space. The kernel's half is on every CPU, in each space.
inline FlushRange range_of(std::uint64_t start, std::uint64_t end, std::uint8_t stride_shift) {
  demand(stride_shift == kPageShift || stride_shift == kLargePageShift ||
             stride_shift == kHugePageShift,
         "a stride is 12, 21 or 30");
  demand(start >> 63 == 0, "an address of the kernel's half is flushed for one space");
  return {.start = start, .end = end, .stride_shift = stride_shift};
}

inline Config config_of(const sd_config& from) {
  const auto chosen = [](std::uint8_t flag) { return flag != 0; };
  Config config;
  config.processor = {.pcid = chosen(from.pcid),
                      .invpcid = chosen(from.invpcid),
                      .global_pages = chosen(from.global_pages),
                      .invlpg_leaves_globals = chosen(from.invlpg_leaves_globals)};
  config.isolation = {.enabled = chosen(from.isolation),
                      .defer_user_pages = chosen(from.defer_user_pages)};
  config.targets = {
      .concurrent = !chosen(from.serial),
      .early_acknowledgement = chosen(from.early_acknowledgement),
      .closed_waits = chosen(from.closed_waits),
      .mask_policy =
          chosen(from.masks_kept_lazily) ? MaskPolicy::kept_lazily : MaskPolicy::cleared_at_switch,
      .lazy_test = chosen(from.lazy_test_up_front) ? LazyTest::up_front : LazyTest::when_queued,
      .target_test =
          chosen(from.targets_by_loaded_mm) ? TargetTest::by_loaded_mm : TargetTest::not_lazy,
      .trim_interval = from.trim_interval};
  config.broadcast = {.enabled = chosen(from.broadcast),
                      .max_pages = from.broadcast_pages,
                      .threshold = from.broadcast_threshold,
                      .global_asids = from.global_asids};
  config.limits = {
      .ceiling_strides = from.ceiling_strides, .cpus = from.cpus, .stall_limit = from.stall_limit};
  return config;
}

}  // namespace shootdown::embed

namespace sd_embed = shootdown::embed;

extern "C" {

// ---- Tokens

void sd_require(sd_system* system, const sd_token* token, const sd_mm* mm, std::uint32_t what) {
  using namespace shootdown::embed;
  demand(token != nullptr, "a null sd_token");
  demand(!numbers_of(system).is_spent(token->number), "a token is used that was spent");
  demand(token->number != 0, "a token is used that no flush has made");
  demand(what != 0 && (token->permits & what) == what, "a token does not permit what is done");
  const bool kernels = (token->permits & SD_KERNEL) != 0;
  demand(kernels == (mm == nullptr), kernels ? "a token of the kernel's half is used for a space"
                                             : "a token of a space is used for none");
  if (kernels) return;
  demand(covers(*token, space_of(const_cast<sd_mm*>(mm)).context),
         "a token of one space is used for another");
}

void sd_spend(sd_system* system, sd_token* token) {
  sd_embed::demand(token != nullptr, "a null sd_token");
  sd_embed::demand(!sd_embed::numbers_of(system).is_spent(token->number),
                   "a token is used that was spent");
  sd_embed::numbers_of(system).spend(token->number);
  *token = {};
}

// ---- Boot

const char* sd_config_refusal(const sd_config* config) {
  if (config == nullptr) return "a null sd_config";
  if (config->version != SD_VERSION || config->bytes != sizeof(sd_config)) {
    return "the kernel was compiled with another shootdown.h, SD_MAX_CPUS or SD_DEBUG than the "
           "library";
  }
  if (config->cpus > SD_MAX_CPUS) return "there are more CPUs than SD_MAX_CPUS";
  return shootdown::validate(sd_embed::config_of(*config), /*can_broadcast=*/true);
}

void sd_init(sd_system* system, const sd_config* config, std::uint64_t kernel_root) {
  const char* const refusal = sd_config_refusal(config);
  sd_embed::demand(refusal == nullptr, refusal);
  shootdown::initialize_system(sd_embed::core_of(system), sd_embed::config_of(*config),
                               kernel_root);
}

void sd_cpu_online(sd_system* system) {
  using namespace shootdown::embed;
  auto& core = core_of(system);
  demand(!core.config().processor.global_pages || (H::read_cr4() & shootdown::kCr4GlobalPages) != 0,
         "CR4.PGE is off, and the configuration says that kernel pages are global");
  shootdown::initialize_cpu(core);
}

void sd_cpu_offline(sd_system* system) { shootdown::take_cpu_offline(sd_embed::core_of(system)); }

void sd_change_cr4(sd_system* system, std::uint64_t set, std::uint64_t clear) {
  using namespace shootdown::embed;
  demand(!H::interrupts_enabled(), "CR4 is changed with interrupts off");
  demand((set & clear) == 0, "a bit of CR4 is set and cleared at once");
  shootdown::change_cr4(sd_embed::core_of(system), set, clear);
}

// ---- Address spaces

void sd_mm_init_of(std::uint32_t version, sd_system* system, sd_mm* mm, std::uint64_t root,
                   std::uint64_t user_root) {
  using namespace shootdown::embed;
  demand(version == SD_VERSION,
         "this file was compiled with another shootdown.h, SD_MAX_CPUS or SD_DEBUG");
  auto& object = static_cast<EmbeddedMm<H>&>(space_of(mm));
  const auto self = reinterpret_cast<std::uintptr_t>(&object);
  demand(object.self == 0 || object.self == self || object.self == EmbeddedMm<H>::kRetired,
         "an sd_mm was copied, or not zeroed before sd_mm_init");
  demand(root != 0 && root != core_of(system).kernel_mm.root, "a space has a root of its own");
  initialize_mm(core_of(system), object, root, user_root);
  object.self = self;
}

sd_mm* sd_kernel_mm(sd_system* system) {
  return reinterpret_cast<sd_mm*>(&sd_embed::core_of(system).kernel_mm);
}

void sd_switch_mm(sd_system* system, sd_mm* next) {
  using namespace shootdown::embed;
  switch_mm(on_this_cpu(system), in_use(system, next));
}

void sd_enter_lazy(sd_system* system) { shootdown::enter_lazy_tlb(sd_embed::on_this_cpu(system)); }

void sd_leave_mm(sd_system* system) { shootdown::leave_mm(sd_embed::on_this_cpu(system)); }

int sd_user_access_ok(sd_system* system, const sd_mm* current) {
  using namespace shootdown::embed;
  if (current == nullptr) return 0;  // a thread without a space of its own
  return user_access_ok(core_of(system), space_of(const_cast<sd_mm*>(current))) ? 1 : 0;
}

void sd_temporary_begin(sd_system* system, sd_temporary* place, sd_mm* mm) {
  using namespace shootdown::embed;
  using Temporary = Place<shootdown::TemporaryMm<H>>;
  static_cast<void>(in<Temporary>(place, "a null or unaligned sd_temporary"));
  new (place) Temporary(on_this_cpu(system), in_use(system, mm));
}

void sd_temporary_end(sd_system* system, sd_temporary* place) {
  using namespace shootdown::embed;
  static_cast<void>(system);
  using Temporary = Place<shootdown::TemporaryMm<H>>;
  auto& temporary = in<Temporary>(place, "a null or unaligned sd_temporary");
  demand(temporary.self == &temporary, "an sd_temporary ends that has not begun");
  temporary.self = nullptr;
  temporary.~Temporary();
}

// ---- Flushes

sd_token sd_flush_range(sd_system* system, sd_mm* mm, std::uint64_t start, std::uint64_t end,
                        std::uint8_t stride_shift) {
  using namespace shootdown::embed;
  auto& space = in_use(system, mm);
  return token_of(system,
                  flush_tlb_mm_range(core_of(system), space, range_of(start, end, stride_shift)),
                  space, kQuiet);
}

sd_token sd_flush_page(sd_system* system, sd_mm* mm, std::uint64_t address) {
  using namespace shootdown::embed;
  auto& space = in_use(system, mm);
  demand(address >> 63 == 0, "an address of the kernel's half is flushed for one space");
  return token_of(system, flush_tlb_page(core_of(system), space, address), space, kQuiet);
}

sd_token sd_flush_mm(sd_system* system, sd_mm* mm) {
  using namespace shootdown::embed;
  auto& space = in_use(system, mm);
  return token_of(system, flush_tlb_mm(core_of(system), space), space, kQuiet);
}

sd_token sd_flush_freed_tables(sd_system* system, sd_mm* mm, std::uint64_t start, std::uint64_t end,
                               std::uint8_t stride_shift) {
  using namespace shootdown::embed;
  auto& space = in_use(system, mm);
  return token_of(
      system,
      flush_tlb_mm_range_freed_tables(core_of(system), space, range_of(start, end, stride_shift)),
      space, kUnreachable);
}

sd_token sd_flush_early(sd_system* system, sd_mm* mm, std::uint64_t start, std::uint64_t end,
                        std::uint8_t stride_shift) {
  using namespace shootdown::embed;
  auto& space = in_use(system, mm);
  return token_of(
      system, flush_tlb_mm_range_early(core_of(system), space, range_of(start, end, stride_shift)),
      space, SD_USER_RETURN);
}

sd_token sd_retire_mm(sd_system* system, sd_mm* mm) {
  using namespace shootdown::embed;
  auto& space = in_use(system, mm);
  const sd_token token =
      token_of(system, retire_mm(core_of(system), space), space, kUnreachable | SD_ROOT);
  static_cast<EmbeddedMm<H>&>(space).self = EmbeddedMm<H>::kRetired;
  return token;
}

sd_token sd_flush_kernel_range(sd_system* system, std::uint64_t start, std::uint64_t end) {
  using namespace shootdown::embed;
  demand(flush_tlb_kernel_range(core_of(system), start, end).covers_kernel(),
         "a flush has not covered the kernel's half");
  return make_token(system, 1, kQuiet | SD_KERNEL);
}

sd_token sd_flush_all(sd_system* system) {
  using namespace shootdown::embed;
  demand(flush_tlb_all(core_of(system)).covers_kernel(),
         "a flush has not covered the kernel's half");
  return make_token(system, 1, kUnreachable | SD_KERNEL);
}

sd_token sd_exclude_walkers(sd_system* system, sd_token* tables) {
  using namespace shootdown::embed;
  demand(tables != nullptr, "a null sd_token");
  demand(!numbers_of(system).is_spent(tables->number), "a token is used that was spent");
  demand(tables->number != 0, "a token is used that no flush has made");
  demand((tables->permits & SD_WALKED) != 0, "a token does not permit what is done");
  auto& core = core_of(system);
  static_cast<void>(core.calls.waiting_here("a wait for walkers needs interrupts on"));
  // As `exclude_walkers` of the core, whose token a struct of C cannot be turned into.
  const bool kernels = (tables->permits & SD_KERNEL) != 0;
  if (kernels ? shootdown::internal::broadcasts(core) : !flush_interrupts_targets(core)) {
    shootdown::wait_for_walkers(core);
  }
  const sd_token result = make_token(system, tables->covers, tables->permits | SD_TABLES);
  sd_spend(system, tables);
  return result;
}

void sd_submit_range(sd_system* system, sd_pending* pending, sd_mm* mm, std::uint64_t start,
                     std::uint64_t end, std::uint8_t stride_shift) {
  using namespace shootdown::embed;
  auto& space = in_use(system, mm);
  auto& place = free_place(pending);
  place.flush =
      submit_flush_tlb_mm_range(core_of(system), space, range_of(start, end, stride_shift));
  place.mm = &space;
  place.permits = kQuiet;
}

void sd_submit_freed_tables(sd_system* system, sd_pending* pending, sd_mm* mm, std::uint64_t start,
                            std::uint64_t end, std::uint8_t stride_shift) {
  using namespace shootdown::embed;
  auto& space = in_use(system, mm);
  auto& place = free_place(pending);
  place.flush = submit_flush_tlb_mm_range_freed_tables(core_of(system), space,
                                                       range_of(start, end, stride_shift));
  place.mm = &space;
  place.permits = kUnreachable;
}

int sd_is_done(sd_system* system, sd_pending* pending) {
  using namespace shootdown::embed;
  return submitted(pending).flush.is_done(core_of(system)) ? 1 : 0;
}

sd_token sd_complete(sd_system* system, sd_pending* pending) {
  using namespace shootdown::embed;
  auto& place = submitted(pending);
  return token_of(system, std::move(place.flush).complete(core_of(system)), *place.mm,
                  place.permits);
}

void sd_batch_add(sd_system* system, sd_batch* batch, sd_mm* mm) {
  using namespace shootdown::embed;
  in<shootdown::ReclaimBatch<H>>(batch, "a null or unaligned sd_batch")
      .add(core_of(system), in_use(system, mm));
}

sd_token sd_batch_flush(sd_system* system, sd_batch* batch) {
  using namespace shootdown::embed;
  auto& pending = in<shootdown::ReclaimBatch<H>>(batch, "a null or unaligned sd_batch");
  return make_token(system, spaces_of(pending.flush(core_of(system))), kQuiet | kOfBatch);
}

int sd_batch_is_empty(const sd_batch* batch) {
  using namespace shootdown::embed;
  return in<const shootdown::ReclaimBatch<H>>(batch, "a null or unaligned sd_batch").empty() ? 1
                                                                                             : 0;
}

void sd_batch_settle(sd_system* system, sd_mm* mm) {
  static_cast<void>(sd_embed::core_of(system).calls.waiting_here("a flush needs interrupts on"));
  flush_tlb_batched_pending(sd_embed::core_of(system), sd_embed::in_use(system, mm));
}

// ---- Interrupts and the way to user mode

void sd_handle_interrupt(sd_system* system) {
  handle_call_function_interrupt(sd_embed::core_of(system));
}

void sd_prepare_return_to_user(sd_system* system, sd_entry_block* block) {
  using namespace shootdown::embed;
  auto& core = on_this_cpu(system);
  auto& entry = in<shootdown::EntryBlock<H>>(block, "a null or unaligned sd_entry_block");
  demand(!H::interrupts_enabled(), "interrupts are off on the way to user mode");
  if (core.config().isolation.enabled) {
    const auto& self = core.self();
    demand(!self.shared.is_lazy.owner_load(), "a lazy CPU goes to user mode");
    demand(self.own.loaded_mm.owner_load() != &core.kernel_mm,
           "a CPU goes to user mode on the kernel's space");
  }
  prepare_return_to_user(core, entry);
}

// From here on nothing but the block may be looked at: no check, and no hook.

void sd_load_user_root(const sd_entry_block* block) {
  using namespace shootdown::embed;
  const auto& entry = *reinterpret_cast<const shootdown::EntryBlock<H>*>(block);
  // Without page-table isolation there is nothing to load.
  if (entry.user_cr3 != 0) load_user_root(entry);
}

void sd_enter_from_user(sd_entry_block* block) {
  using namespace shootdown::embed;
  enter_from_user(*reinterpret_cast<shootdown::EntryBlock<H>*>(block));
}

std::uint64_t sd_enter_nmi(const sd_entry_block* block) {
  using namespace shootdown::embed;
  return enter_nmi(*reinterpret_cast<const shootdown::EntryBlock<H>*>(block));
}

void sd_leave_nmi(const sd_entry_block* block, std::uint64_t held) {
  using namespace shootdown::embed;
  leave_nmi(*reinterpret_cast<const shootdown::EntryBlock<H>*>(block), held);
}

// ---- Counters

const char* sd_counter_name(unsigned index) {
  constexpr std::array kNames = shootdown::kCounterNames;
  return index < kNames.size() ? kNames[index].name : nullptr;
}

std::uint64_t sd_counter(const sd_system* system, unsigned index) {
  using namespace shootdown::embed;
  constexpr std::array kNames = shootdown::kCounterNames;
  demand(index < kNames.size(), "there is no counter of this number");
  return sum_counters(core_of(const_cast<sd_system*>(system))).*(kNames[index].field);
}

}  // extern "C"

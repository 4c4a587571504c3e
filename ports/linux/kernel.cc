#include "ports/linux/kernel.h"

#include <algorithm>

#include "fuzz/oracles/reports/names.h"
#include "fuzz/scenario/kinds.h"
#include "hal/host/walk.h"

namespace shootdown::port {

using fuzz::After;
using fuzz::Op;
using fuzz::OpKind;
using fuzz::page_address;
using host::FramePool;
using host::HostHal;

namespace {

constexpr unsigned kPerCpuBytes = 4096;
constexpr unsigned kMostMms = 8;
constexpr unsigned long kTlbFlushAll = ~0UL;

/// The features of the shim, in its order.
enum class Feature : std::uint8_t { pcid, invpcid, invpcid_single, pti, pge };

unsigned long features_of(const fuzz::Header& header) {
  unsigned long features = 0;
  const auto add = [&](Feature feature, bool on) {
    features |= on ? 1UL << static_cast<unsigned>(feature) : 0;
  };
  add(Feature::pcid, header.pcid);
  add(Feature::invpcid, header.invpcid);
  // It is set where PCIDs are switched on.
  add(Feature::invpcid_single, header.invpcid && header.pcid);
  add(Feature::pti, header.pti);
  add(Feature::pge, header.global_pages);
  return features;
}

}  // namespace

// ---- What is drawn, and what there is

bool Glue::find(const model::Code& code, std::string& missing) {
  const auto get = [&]<class F>(F*& to, const char* name) {
    to = code.function<F>(name);
    if (to == nullptr && missing.empty()) missing = name;
  };
  get(boot, "linux_boot");
  get(cpu_up, "linux_cpu_up");
  get(cpu_down, "linux_cpu_down");
  get(mm_create, "linux_mm_create");
  get(root, "linux_root");
  get(switch_to, "linux_switch");
  get(idle, "linux_idle");
  get(leave, "linux_leave");
  get(to_user, "linux_to_user");
  get(to_kernel, "linux_to_kernel");
  get(interrupt, "linux_call_function_interrupt");
  get(map, "linux_map");
  get(take, "linux_take");
  get(set_writable, "linux_set_writable");
  get(flush, "linux_flush");
  get(flush_all, "linux_flush_all");
  get(grace_period, "linux_grace_period");
  get(batch_add, "linux_batch_add");
  get(batch_flush, "linux_batch_flush");
  get(kernel_map, "linux_kernel_map");
  get(kernel_take, "linux_kernel_take");
  get(flush_kernel, "linux_flush_kernel");
  get(task, "linux_task");
  get(nmi_may_read, "linux_nmi_may_read");
  get(percpu, "linux_percpu");
  get(percpu_template, "linux_percpu_template");
  get(field, "linux_field");
  get(mm, "linux_mm");
  get(mm_bytes, "linux_mm_bytes");
  return missing.empty();
}

/// Half of the configurations are the usual one; in the others each switch turns now and then.
void draw_linux_header(fuzz::Random& random, fuzz::Header& header) {
  header.mms = static_cast<std::uint8_t>(random.between(1, 3));
  header.tso = random.chance(1, 2);
  header.pti = random.chance(1, 4);
  header.defer_tables = true;
  if (random.chance(1, 2)) return;
  if (random.chance(1, 4)) header.mms = kMostMms;
  header.pcid = !random.chance(1, 4);
  header.invpcid = !random.chance(1, 4);
  header.global_pages = !random.chance(1, 8);
  header.lazy_masks = random.chance(1, 4);
  header.nmi = random.chance(1, 4);
  if (random.chance(1, 4)) {
    header.ceiling = static_cast<std::uint8_t>(random.below(fuzz::kMaxCeiling));
  }
}

void LinuxKernel::keep(fuzz::Header& header) const {
  const fuzz::Header drawn = header;
  header = fuzz::Header{};
  header.cpus = drawn.cpus;
  header.mms = std::min<std::uint8_t>(drawn.mms, kMostMms);
  header.pti = drawn.pti;
  // Linux uses PCIDs with global pages only, and no global pages with isolation.
  header.global_pages = drawn.global_pages;
  header.pcid = drawn.pcid && drawn.global_pages;
  header.invpcid = drawn.invpcid;
  header.ceiling = drawn.ceiling;
  header.lazy_masks = drawn.lazy_masks;
  header.defer_tables = drawn.defer_tables;
  header.nmi = drawn.nmi;
  header.tso = drawn.tso;
}

std::uint64_t LinuxKernel::kinds() const {
  std::uint64_t kinds = 0;
  for (const OpKind kind :
       {OpKind::switch_to,  OpKind::idle,         OpKind::resume,      OpKind::leave,
        OpKind::read,       OpKind::write,        OpKind::map,         OpKind::unmap,
        OpKind::protect,    OpKind::unprotect,    OpKind::free_table,  OpKind::flush_mm,
        OpKind::flush_all,  OpKind::reclaim,      OpKind::batch_flush, OpKind::kernel_read,
        OpKind::kernel_map, OpKind::kernel_unmap, OpKind::offline,     OpKind::online}) {
    kinds |= std::uint64_t{1} << static_cast<unsigned>(kind);
  }
  return kinds;
}

// ---- Bring-up

host::Setup LinuxKernel::setup(const fuzz::Scenario& scenario) {
  const fuzz::Header& header = scenario.header;
  return {
      .hardware = {.cpus = header.cpus, .pcid = header.pcid, .global_pages = header.global_pages},
      .memory = header.tso ? host::Memory::tso : host::Memory::sc,
      .programs = {.boot = &LinuxKernel::boot,
                   .program = &LinuxKernel::program,
                   .interrupt = &LinuxKernel::interrupt,
                   .nmi = header.nmi ? &LinuxKernel::nmi : nullptr,
                   .argument = this},
      .observer = this};
}

void LinuxKernel::start_run() {
  roots_ = {};
  pages_ = {};
  kernel_pages_ = {};
  loaded_.fill(kNoMmLoaded);
  in_user_mode_.fill(false);
  for (auto& batch : batches_) batch.clear();
  offline_.fill(false);
  busy_.fill(false);
  stops_ = false;
}

void LinuxKernel::bring_up() {
  const fuzz::Header& header = scenario_->header;
  glue_.boot(header.cpus, features_of(header), header.ceiling, header.lazy_masks ? 1 : 0,
             kernel_root());
  memory_.settle();
  for (unsigned page = 0; page + 1 < fuzz::kKernelPages; ++page) map_kernel_page(page);
  for (unsigned mm = 0; mm < header.mms; ++mm) create_mm(mm);
}

void LinuxKernel::create_mm(unsigned mm) {
  const std::uint64_t root = allocate();
  const std::uint64_t user_root = scenario_->header.pti ? allocate() : 0;
  FramePool& frames = machine_.frames();
  const unsigned index = host::table_index(fuzz::kKernelBase, 4);
  frames.words(FramePool::frame_at(root))[index] =
      frames.words(FramePool::frame_at(kernel_root()))[index];
  roots_[mm] = root;
  adopt_root(root, mm, 4);
  if (user_root != 0) adopt_root(user_root, mm, fuzz::kUserRootLevel);
  glue_.mm_create(mm, root, user_root);
  memory_.settle();
  // Pages in two page tables. Every other mm begins without any.
  if (mm % 2 != 0) return;
  for (const unsigned page : {0U, 1U, 8U, 9U}) map_page(mm, page);
}

void LinuxKernel::boot(void* self, CpuId cpu) {
  auto& kernel = *static_cast<LinuxKernel*>(self);
  if (cpu == 0) kernel.bring_up();
  kernel.glue_.cpu_up();
  kernel.run_task(0);
  HostHal::enable_interrupts();
  kernel.machine_.memory().serialise(kernel.machine_.running());
}

void LinuxKernel::interrupt(void* self, CpuId cpu) {
  auto& kernel = *static_cast<LinuxKernel*>(self);
  const bool was_in_user_mode = std::exchange(kernel.in_user_mode_[cpu], false);
  if (was_in_user_mode) kernel.glue_.to_kernel();
  kernel.glue_.interrupt();
  kernel.memory_.settle();
  if (!kernel.offline_[cpu]) kernel.check_loaded(cpu, After::handler);
  kernel.machine_.stop_if_failed();
  if (!was_in_user_mode) return;
  kernel.glue_.to_user();
  kernel.memory_.settle();
  kernel.in_user_mode_[cpu] = true;
}

/// It reads user memory if the kernel says that it may.
void LinuxKernel::nmi(void* self, CpuId cpu) {
  auto& kernel = *static_cast<LinuxKernel*>(self);
  kernel.memory_.settle();
  const bool was_in_user_mode = std::exchange(kernel.in_user_mode_[cpu], false);
  const std::uint64_t cr3 = HostHal::read_cr3();
  // It may have come between the load of CR3 and user mode.
  kernel.glue_.to_kernel();
  const unsigned mm = kernel.glue_.task();
  if (mm < kMostMms && kernel.glue_.nmi_may_read() != 0) {
    kernel.memory_.settle();
    kernel.oracles_.roots.on_nmi_access(cpu, mm);
    kernel.machine_.stop_if_failed();
    static_cast<void>(
        kernel.machine_.translation().access(kernel.machine_.cpu(cpu).nmi_address, false));
  }
  kernel.memory_.settle();
  // Without a look at what is to be flushed, as on every way back from an NMI.
  if (cr3 != HostHal::read_cr3()) {
    HostHal::write_cr3(cr3 | (kernel.scenario_->header.pcid ? std::uint64_t{1} << 63 : 0));
  }
  kernel.in_user_mode_[cpu] = was_in_user_mode;
}

// ---- Operations

void LinuxKernel::program(void* self, unsigned thread) {
  auto& kernel = *static_cast<LinuxKernel*>(self);
  const CpuId cpu = HostHal::this_cpu();
  // Where no CPU stops for another that goes.
  const auto undisturbed = [&](auto&& work) {
    while (kernel.stops_) HostHal::pause();
    kernel.busy_[cpu] = true;
    work();
    kernel.memory_.settle();
    kernel.busy_[cpu] = false;
    kernel.machine_.scheduler().note_change();
  };
  kernel.run_program(thread, [&](const Op& op) {
    if (kernel.offline_[cpu] && op.kind != OpKind::online) return;
    undisturbed([&] { kernel.execute(op); });
  });
  if (!kernel.offline_[cpu]) undisturbed([&] { kernel.flush_batch(); });
}

void LinuxKernel::execute(const Op& op) {
  switch (op.kind) {
    case OpKind::switch_to:
      HostHal::disable_interrupts();
      run_task(op.mm);
      HostHal::enable_interrupts();
      break;
    case OpKind::resume:
      resume();
      break;
    case OpKind::idle:
    case OpKind::leave:
      go_idle(op.kind == OpKind::leave);
      break;
    case OpKind::read:
    case OpKind::write:
      access(op);
      break;
    case OpKind::map:
      for (unsigned page = op.page; page < op.page + op.count; ++page) map_page(op.mm, page);
      break;
    case OpKind::free_table:
      unmap_table(op);
      break;
    case OpKind::flush_mm:
      flush(op.mm, 0, kTlbFlushAll, false);
      break;
    case OpKind::flush_all:
      flush_everything();
      break;
    case OpKind::reclaim:
      reclaim(op);
      break;
    case OpKind::batch_flush:
      flush_batch();
      break;
    case OpKind::kernel_map:
      map_kernel_page(op.page);
      break;
    case OpKind::kernel_unmap:
      unmap_kernel_pages(op);
      break;
    case OpKind::kernel_read:
      read_kernel_page(op.page);
      break;
    case OpKind::offline:
    case OpKind::online:
      hotplug(op.kind == OpKind::online);
      break;
    default:
      for_mapped(op);
      break;
  }
}

void LinuxKernel::run_task(unsigned mm) {
  const CpuId cpu = HostHal::this_cpu();
  uses_user_[cpu] = false;
  oracles_.truth.on_switch(cpu, /*begins=*/true);
  glue_.switch_to(mm);
  memory_.settle();
  oracles_.truth.on_switch(cpu, /*begins=*/false);
  oracles_.flushes.on_kernel_loaded(cpu);
  check_loaded(cpu, After::switch_in);
  machine_.stop_if_failed();
  loaded_[cpu] = mm;
  uses_user_[cpu] = true;
}

void LinuxKernel::resume() {
  const CpuId cpu = HostHal::this_cpu();
  if (loaded_[cpu] == kNoMmLoaded) return;
  HostHal::disable_interrupts();
  run_task(loaded_[cpu]);
  HostHal::enable_interrupts();
}

void LinuxKernel::go_idle(bool leaves) {
  const CpuId cpu = HostHal::this_cpu();
  HostHal::disable_interrupts();
  uses_user_[cpu] = false;
  if (leaves) {
    glue_.leave();
    loaded_[cpu] = kNoMmLoaded;
  } else {
    glue_.idle();
  }
  memory_.settle();
  HostHal::enable_interrupts();
}

/// Loads are the program's, in user mode; stores are the kernel's, as it copies to user memory.
void LinuxKernel::access(const Op& op) {
  const CpuId cpu = HostHal::this_cpu();
  // A kernel thread has no user memory.
  if (!uses_user_[cpu]) return;
  if (op.kind == OpKind::write) {
    static_cast<void>(machine_.translation().access(page_address(op.page), true));
    return;
  }
  HostHal::disable_interrupts();
  glue_.to_user();
  memory_.settle();
  in_user_mode_[cpu] = true;
  HostHal::enable_interrupts();
  static_cast<void>(machine_.translation().load(page_address(op.page), {.mode = host::Mode::user}));
  HostHal::disable_interrupts();
  in_user_mode_[cpu] = false;
  glue_.to_kernel();
  memory_.settle();
  HostHal::enable_interrupts();
}

/// Every other CPU has stopped between two operations, with interrupts on.
void LinuxKernel::hotplug(bool up) {
  const CpuId cpu = HostHal::this_cpu();
  if (offline_[cpu] != up) return;
  if (!up) flush_batch();
  // Between this look and the mark is no choice point: one CPU comes or goes at a time.
  if (stops_) return;
  stops_ = true;
  const auto another_works = [&] {
    for (CpuId id = 0; id < machine_.cpu_count(); ++id) {
      if (id != cpu && busy_[id]) return true;
    }
    return false;
  };
  busy_[cpu] = false;
  while (another_works()) HostHal::pause();
  HostHal::disable_interrupts();
  uses_user_[cpu] = false;
  loaded_[cpu] = kNoMmLoaded;
  if (up) {
    glue_.cpu_up();
    oracles_.truth.on_offline(cpu, false);
  } else {
    glue_.cpu_down();
    memory_.settle();
    oracles_.truth.on_offline(cpu, true);
  }
  memory_.settle();
  offline_[cpu] = !up;
  stops_ = false;
  machine_.scheduler().note_change();
  HostHal::enable_interrupts();
}

// ---- Names

unsigned LinuxKernel::mm_of(const void* word) const {
  const std::ptrdiff_t at = static_cast<const char*>(word) - static_cast<const char*>(glue_.mm(0));
  const auto bytes = static_cast<std::ptrdiff_t>(glue_.mm_bytes());
  if (word == nullptr || at < 0 || at >= bytes * kMostMms) return fuzz::kNoMm;
  return static_cast<unsigned>(at / bytes);
}

std::string LinuxKernel::name_of_word(const void* address) const {
  const auto* const byte = static_cast<const char*>(address);
  if (const unsigned mm = mm_of(address); mm != fuzz::kNoMm) {
    const auto offset = static_cast<std::size_t>(byte - static_cast<const char*>(glue_.mm(mm)));
    const char* field = glue_.field("mm", offset);
    return field == nullptr ? std::string() : fuzz::mm_name(mm) + "." + field;
  }
  const std::ptrdiff_t offset = byte - glue_.percpu();
  if (offset < 0 || offset >= std::ptrdiff_t{kPerCpuBytes} * kMostMms) return {};
  std::string name = code_.name_of(glue_.percpu_template() + (offset % kPerCpuBytes));
  const std::size_t plus = name.find('+');
  const std::string variable = name.substr(0, plus);
  if (variable == "cpu_tlbstate" || variable == "flush_tlb_info") {
    const std::size_t at = plus == name.npos ? 0 : std::stoul(name.substr(plus + 1));
    if (const char* field = glue_.field(variable.c_str(), at)) name = variable + "." + field;
  }
  return fuzz::cpu_name(static_cast<unsigned>(offset / kPerCpuBytes)) + "." + name;
}

}  // namespace shootdown::port

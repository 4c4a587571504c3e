#include "kernel-glue/embed/port/kernel.h"

#include <algorithm>

#include "core/mm.h"
#include "fuzz/scenario/kinds.h"
#include "hal/host/walk.h"

namespace shootdown::port {

using fuzz::kKernelMm;
using fuzz::kNoMm;
using fuzz::Op;
using fuzz::OpKind;
using fuzz::owner_tag;
using fuzz::page_address;
using host::FrameKind;
using host::FramePool;
using host::HostHal;
using host::kPtePresent;

// ---- What the code gives

bool Functions::find(const model::Code& code, std::string& missing) {
  const auto get = [&]<class F>(F*& to, const char* name, bool must) {
    to = code.function<F>(name);
    if (to == nullptr && must && missing.empty()) missing = name;
  };
  get(system, "kit_system", true);
  get(create, "kit_space_create", true);
  get(mm, "kit_space_mm", true);
  get(map, "kit_map", true);
  get(unmap, "kit_unmap", true);
  get(unmap_table, "kit_unmap_table", false);
  get(protect, "kit_protect", false);
  get(unprotect, "kit_unprotect", false);
  return missing.empty();
}

std::uint64_t Functions::kinds() const {
  std::uint64_t kinds = 0;
  const auto add = [&](OpKind kind) { kinds |= std::uint64_t{1} << static_cast<unsigned>(kind); };
  for (const OpKind kind : {OpKind::switch_to, OpKind::idle, OpKind::resume, OpKind::leave,
                            OpKind::read, OpKind::write, OpKind::map, OpKind::unmap}) {
    add(kind);
  }
  if (unmap_table != nullptr) add(OpKind::free_table);
  if (protect != nullptr) add(OpKind::protect);
  if (unprotect != nullptr) add(OpKind::unprotect);
  return kinds;
}

/// Half of the configurations are the usual one; in the others each switch turns now and then.
void draw_header(fuzz::Random& random, fuzz::Header& header) {
  constexpr unsigned kMostSpaces = 3;
  header.mms = static_cast<std::uint8_t>(random.between(1, kMostSpaces));
  header.tso = random.chance(1, 2);
  if (random.chance(1, 2)) return;
  header.pcid = !random.chance(1, 4);
  header.concurrent = !random.chance(1, 4);
  header.invpcid = !random.chance(1, 4);
  header.lazy_masks = random.chance(1, 4);
  header.lazy_test_up_front = random.chance(1, 4);
  header.by_loaded_mm = random.chance(1, 4);
  if (random.chance(1, 4)) {
    header.ceiling = static_cast<std::uint8_t>(random.below(fuzz::kMaxCeiling));
  }
}

void PortKernel::keep(fuzz::Header& header) const {
  const fuzz::Header drawn = header;
  header = fuzz::Header{};
  header.cpus = drawn.cpus;
  header.mms = drawn.mms;
  header.pcid = drawn.pcid;
  header.concurrent = drawn.concurrent;
  header.ceiling = drawn.ceiling;
  header.invpcid = drawn.invpcid;
  header.global_pages = drawn.global_pages;
  header.lazy_masks = drawn.lazy_masks;
  header.lazy_test_up_front = drawn.lazy_test_up_front;
  header.by_loaded_mm = drawn.by_loaded_mm;
  header.tso = drawn.tso;
}

// ---- Bring-up

host::Setup PortKernel::setup(const fuzz::Scenario& scenario) {
  const fuzz::Header& header = scenario.header;
  return {
      .hardware = {.cpus = header.cpus, .pcid = header.pcid, .global_pages = header.global_pages},
      .memory = header.tso ? host::Memory::tso : host::Memory::sc,
      .programs = {.boot = &PortKernel::boot,
                   .program = &PortKernel::program,
                   .interrupt = &PortKernel::interrupt,
                   .argument = this},
      .observer = this};
}

void PortKernel::start_run() {
  spaces_ = {};
  flush_ = {};
  loaded_.fill(kNoSpace);
}

void PortKernel::bring_up() {
  const fuzz::Header& header = scenario_->header;
  const auto flag = [](bool on) { return static_cast<std::uint8_t>(on ? 1 : 0); };
  sd_config config = SD_CONFIG;
  config.pcid = flag(header.pcid);
  config.invpcid = flag(header.invpcid);
  config.global_pages = flag(header.global_pages);
  config.masks_kept_lazily = flag(header.lazy_masks);
  config.lazy_test_up_front = flag(header.lazy_test_up_front);
  config.targets_by_loaded_mm = flag(header.by_loaded_mm);
  config.serial = flag(!header.concurrent);
  config.trim_interval = 3;
  config.ceiling_strides = header.ceiling;
  sd_init(functions_.system(), &config, kernel_root());
  for (unsigned mm = 0; mm < header.mms; ++mm) create_space(mm);
}

void PortKernel::create_space(unsigned mm) {
  Space& space = spaces_[mm];
  space.object = functions_.create();
  memory_.settle();
  if (space.object == nullptr) kit_die("kit_space_create returns no space");
  space.mm = functions_.mm(space.object);
  const std::uint32_t root_frame = FramePool::frame_at(root(mm));
  if (root(mm) == 0 || root_frame == FramePool::kNoFrame) {
    kit_die("a space has no top table behind kit_space_create");
  }
  adopt_root(root(mm), mm, 4);
  // Pages in two page tables. Every other space begins without any.
  if (mm % 2 != 0) return;
  for (const unsigned page : {0U, 1U, 8U, 9U}) map_page(mm, page);
}

void PortKernel::boot(void* self, CpuId cpu) {
  auto& kernel = *static_cast<PortKernel*>(self);
  if (cpu == 0) kernel.bring_up();
  sd_cpu_online(kernel.functions_.system());
  kernel.run_task(0);
  HostHal::enable_interrupts();
  kernel.machine_.memory().serialise(kernel.machine_.running());
}

void PortKernel::interrupt(void* self, CpuId /*cpu*/) {
  sd_handle_interrupt(static_cast<PortKernel*>(self)->functions_.system());
}

// ---- Operations

void PortKernel::program(void* self, unsigned thread) {
  auto& kernel = *static_cast<PortKernel*>(self);
  kernel.run_program(thread, [&](const Op& op) { kernel.execute(op); });
}

void PortKernel::execute(const Op& op) {
  switch (op.kind) {
    case OpKind::switch_to:
      HostHal::disable_interrupts();
      run_task(op.mm);
      HostHal::enable_interrupts();
      break;
    case OpKind::resume:
      if (loaded_[HostHal::this_cpu()] == kNoSpace) break;
      HostHal::disable_interrupts();
      run_task(loaded_[HostHal::this_cpu()]);
      HostHal::enable_interrupts();
      break;
    case OpKind::idle:
      go_idle();
      break;
    case OpKind::leave:
      leave();
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
    default:
      for_mapped(op);
      break;
  }
}

void PortKernel::run_task(unsigned mm) {
  const CpuId cpu = HostHal::this_cpu();
  uses_user_[cpu] = false;
  sd_switch_mm(functions_.system(), spaces_[mm].mm);
  loaded_[cpu] = mm;
  uses_user_[cpu] = true;
}

void PortKernel::go_idle() {
  HostHal::disable_interrupts();
  uses_user_[HostHal::this_cpu()] = false;
  sd_enter_lazy(functions_.system());
  HostHal::enable_interrupts();
}

void PortKernel::leave() {
  HostHal::disable_interrupts();
  uses_user_[HostHal::this_cpu()] = false;
  sd_leave_mm(functions_.system());
  loaded_[HostHal::this_cpu()] = kNoSpace;
  HostHal::enable_interrupts();
}

void PortKernel::access(const Op& op) {
  // A kernel thread has no user memory.
  if (!uses_user_[HostHal::this_cpu()]) return;
  const bool write = op.kind == OpKind::write;
  static_cast<void>(machine_.translation().access(page_address(op.page), write));
}

void PortKernel::map_page(unsigned mm, unsigned page) {
  Space& space = spaces_[mm];
  if (space.pages[page] != State::unmapped) return;
  const std::uint64_t frame = allocate_page(mm, page);
  if (frame == 0) return;
  space.pages[page] = State::taken;
  functions_.map(space.object, page_address(page), frame);
  memory_.settle();
  space.pages[page] = State::mapped;
}

void PortKernel::for_mapped(const Op& op) {
  Space& space = spaces_[op.mm];
  for (unsigned page = op.page; page < op.page + op.count; ++page) {
    State& state = space.pages[page];
    if (state != State::mapped) continue;
    state = State::taken;
    const VirtAddr address = page_address(page);
    promising(op.mm, page, page, [&] {
      if (op.kind == OpKind::unmap) functions_.unmap(space.object, address);
      if (op.kind == OpKind::protect) functions_.protect(space.object, address);
      if (op.kind == OpKind::unprotect) functions_.unprotect(space.object, address);
    });
    state = op.kind == OpKind::unmap ? State::unmapped : State::mapped;
    if (op.kind == OpKind::unmap) oracles_.contents.on_unmapped(op.mm, page, page);
    if (op.kind == OpKind::protect) oracles_.contents.on_protected(op.mm, page, page);
    machine_.stop_if_failed();
  }
}

void PortKernel::unmap_table(const Op& op) {
  Space& space = spaces_[op.mm];
  const unsigned first = op.page / fuzz::kPagesPerTable * fuzz::kPagesPerTable;
  const unsigned last = first + fuzz::kPagesPerTable - 1;
  const auto begin = space.pages.begin() + first;
  const auto end = begin + fuzz::kPagesPerTable;
  if (std::find(begin, end, State::taken) != end) return;
  if (std::find(begin, end, State::mapped) == end) return;
  std::fill(begin, end, State::taken);
  promising(op.mm, first, last,
            [&] { functions_.unmap_table(space.object, page_address(op.page)); });
  std::fill(begin, end, State::unmapped);
  oracles_.contents.on_unmapped(op.mm, first, last);
  machine_.stop_if_failed();
}

// ---- What oracles ask

unsigned PortKernel::mm_of(const void* mm) const {
  for (unsigned i = 0; i < scenario_->header.mms; ++i) {
    if (spaces_[i].mm == mm) return i;
  }
  return kNoMm;
}

PhysAddr PortKernel::root(unsigned mm) const {
  if (spaces_[mm].mm == nullptr) return 0;
  return reinterpret_cast<const Mm<HostHal>*>(spaces_[mm].mm)->root;
}

}  // namespace shootdown::port

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

void keep_what_ports_have(fuzz::Header& header) {
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

void PortKernel::prepare(const fuzz::Scenario& scenario) {
  scenario_ = &scenario;
  code_.reset();
  memory_.start();
  model::current_memory = &memory_;
  spaces_ = {};
  base_.fill(0);
  for (auto& stores : waiting_) stores.clear();
  flush_ = {};
  loaded_.fill(kNoSpace);
  uses_user_.fill(false);
  oracles_.start(*this, scenario.header.mms);
  build_kernel();
}

/// The kernel's root, with one table below it that all spaces share.
void PortKernel::build_kernel() {
  FramePool& frames = machine_.frames();
  kernel_root_ = frames.allocate(FrameKind::table, owner_tag(kKernelMm, 4), 0, 0);
  const std::uint32_t upper = frames.allocate(FrameKind::table, owner_tag(kKernelMm, 3), 0, 0);
  frames.words(kernel_root_)[host::table_index(fuzz::kKernelBase, 4)] =
      FramePool::address(upper) | kPtePresent | host::kPteWritable;
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
  sd_init(functions_.system(), &config, FramePool::address(kernel_root_));
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
  machine_.frames().become(root_frame, FrameKind::table, owner_tag(mm, 4));
  scan(root_frame);
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
  if (kernel.machine_.recorder().timeline().empty()) kernel.memory_.start_places();
  for (const Op& op : kernel.scenario_->ops[thread]) kernel.execute(op);
}

void PortKernel::execute(const Op& op) {
  if (machine_.recorder().has_timeline()) machine_.recorder().line("== " + print(op), {});
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
  const std::uint32_t frame = machine_.frames().allocate(FrameKind::data, owner_tag(mm, page),
                                                         machine_.step(), HostHal::this_cpu());
  if (frame == FramePool::kNoFrame) return machine_.reach(host::Limit::frames);
  oracles_.contents.on_page_allocated(frame);
  // What a store leaves in the dirty bit is no concern of code whose pages are nowhere else.
  oracles_.releases.on_store_recorded(frame);
  space.pages[page] = State::taken;
  functions_.map(space.object, page_address(page), FramePool::address(frame));
  memory_.settle();
  space.pages[page] = State::mapped;
}

template <class Call>
void PortKernel::promising(unsigned mm, unsigned first, unsigned last, Call&& call) {
  oracles_.contents.on_operation(/*replaces=*/false);
  oracles_.promises.begin_promise();
  oracles_.contents.begin_promise();
  call();
  memory_.settle();
  // No other operation has changed these pages meanwhile.
  oracles_.promises.note_promise(mm, page_address(first), page_address(last) + 1);
  oracles_.promises.on_promise();
  machine_.stop_if_failed();
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
  return reinterpret_cast<const Mm<HostHal>*>(spaces_[mm].mm)->root;
}

std::uint64_t PortKernel::leaf(unsigned mm, unsigned page) const {
  const VirtAddr address = fuzz::probe_address(page);
  if (spaces_[mm].mm == nullptr) return 0;
  std::uint32_t table = FramePool::frame_at(root(mm));
  for (unsigned level = 4; table != FramePool::kNoFrame; --level) {
    const std::uint64_t entry = machine_.memory().seen_by(
        machine_.running(), machine_.frames().words(table) + host::table_index(address, level));
    if ((entry & kPtePresent) == 0) return 0;
    if (level == 1) return entry;
    table = FramePool::frame_at(entry);
  }
  return 0;
}

}  // namespace shootdown::port

#include "hal/host/hypervisor.h"

#include <memory>
#include <string>
#include <utility>

#include "core/paravirt/kvm.h"

namespace shootdown::host {

void Hypervisor::prepare() {
  for (Vcpu& vcpu : vcpus_) {
    std::destroy_at(&vcpu);
    std::construct_at(&vcpu);
  }
  for (BauPort& port : bau_) {
    std::destroy_at(&port);
    std::construct_at(&port);
  }
}

void Hypervisor::fail_next(HostCpu& cpu, std::uint64_t how) {
  Vcpu& vcpu = vcpus_[cpu.id];
  switch (machine_.setup().hardware.backend) {
    case Backend::hyperv:
      ((how & 1) != 0 ? vcpu.hidden : vcpu.fails) = true;
      break;
    case Backend::xen:
      vcpu.fails = true;
      break;
    case Backend::uv_bau:
      vcpu.unreachable = how;
      break;
    case Backend::native:
    case Backend::kvm:
      break;
  }
}

bool Hypervisor::fails_now() { return std::exchange(vcpus_[machine_.running().id].fails, false); }

void Hypervisor::announce(const char* what, const HostCpuMask& targets, Site where) {
  machine_.note(OpClass::hypervisor, targets.word(0));
  if (machine_.recorder().has_timeline()) {
    std::string text = what;
    targets.for_each([&](CpuId id) { text += " cpu" + std::to_string(id); });
    machine_.recorder().line(std::move(text), where);
  }
  if (Observer* observer = machine_.observer()) {
    observer->on_remote_flush(machine_.running().id, targets);
    machine_.stop_if_failed();
  }
}

template <class Flush>
void Hypervisor::flush_each(const HostCpuMask& targets, const Dropped& what, Flush&& flush) {
  targets.for_each([&](CpuId id) {
    // The caller is in the hypervisor: it takes no interrupt, but others go on.
    machine_.scheduler().visible_uninterrupted();
    machine_.footprint().record_all_dropped(id);
    // The processor leaves the guest for it.
    machine_.memory().drain_from_outside(machine_.cpu(id));
    flush(machine_.cpu(id).tlb);
    if (Observer* observer = machine_.observer()) observer->on_dropped(id, what);
    machine_.note(OpClass::hypervisor, id);
    if (machine_.recorder().has_timeline())
      machine_.recorder().line("flushes cpu" + std::to_string(id), Site());
    machine_.changed();
  });
}

// ---- KVM's host

void Hypervisor::deschedule(HostCpu& cpu) {
  if (machine_.setup().hardware.backend != Backend::kvm || cpu.place != VcpuPlace::running) return;
  cpu.place = VcpuPlace::descheduled;
  machine_.memory().drain(cpu, StoreBuffer::kStores);
  machine_.memory().complete_fence(cpu);
  machine_.note(OpClass::hypervisor, cpu.id);
  // A CPU in the middle of an emulated access has used its translations already. A flush before its
  // next entry would come too late, so it has to be waited for.
  machine_.record_access(&vcpus_[cpu.id].state, true);
  if (!cpu.in_emulation) vcpus_[cpu.id].state.poke(kVcpuPreempted);
  if (machine_.recorder().has_timeline()) {
    machine_.recorder().line("the host deschedules cpu" + std::to_string(cpu.id), Site());
  }
}

void Hypervisor::resume(HostCpu& cpu) {
  if (cpu.place != VcpuPlace::descheduled) return;
  Vcpu& vcpu = vcpus_[cpu.id];
  // M17: read and cleared in one step, on the copy that guests see. With a read now and a write
  // later, a flush that is asked for in between would be lost.
  const std::uint8_t state = vcpu.state.peek();
  machine_.record_access(&vcpu.state, true);
  vcpu.state.poke(0);
  vcpu.flush_taken = (state & kVcpuFlushOnEntry) != 0;
  cpu.place = VcpuPlace::entering;
  machine_.note(OpClass::hypervisor, state);
  if (machine_.recorder().has_timeline()) {
    machine_.recorder().line("the host takes cpu" + std::to_string(cpu.id) + "'s state", Site());
  }
}

void Hypervisor::enter(HostCpu& cpu) {
  Vcpu& vcpu = vcpus_[cpu.id];
  cpu.place = VcpuPlace::running;
  if (!std::exchange(vcpu.flush_taken, false)) return;
  machine_.footprint().record_all_dropped(cpu.id);
  cpu.tlb.clear();
  if (Observer* observer = machine_.observer()) {
    observer->on_dropped(cpu.id, {.every_pcid = true, .globals = true});
  }
  ++vcpu.flushes;
  if (machine_.recorder().has_timeline()) {
    machine_.recorder().line("the host flushes and enters cpu" + std::to_string(cpu.id), Site());
  }
}

bool Hypervisor::will_flush(const HostCpu& cpu) const {
  if (cpu.in_emulation) return false;
  const Vcpu& vcpu = vcpus_[cpu.id];
  if (cpu.place == VcpuPlace::entering) return vcpu.flush_taken;
  return cpu.place == VcpuPlace::descheduled && (vcpu.state.peek() & kVcpuFlushOnEntry) != 0;
}

// ---- Hyper-V

std::uint32_t Hypervisor::hyperv_processor(CpuId cpu) const {
  return vcpus_[cpu].hidden ? kNoProcessor : 60 + (2 * cpu);
}

std::uint64_t Hypervisor::hyperv_call(std::uint64_t control, Site where) {
  constexpr std::uint64_t kInvalidCode = 2;
  constexpr std::uint64_t kInvalidInput = 3;
  machine_.scheduler().visible(Pending::drained);
  machine_.memory().serialise(machine_.running());
  const CpuId self = machine_.running().id;
  const HypervPage& page = inputs_[self];
  const std::uint64_t code = control & 0xffff;
  const bool sparse = code == 0x13 || code == 0x14;
  const bool list = code == 0x03 || code == 0x14;
  if (!sparse && code != 0x02 && code != 0x03) return kInvalidCode;

  // The targets: one word of bits, or a bank of them for each bit of the word before the banks.
  std::size_t at = sparse ? 4 : 3;
  const auto is_named = [&](std::uint32_t processor) {
    if (!sparse) return processor < 64 && ((page[2] >> processor) & 1) != 0;
    const std::uint64_t below = page[3] & ((std::uint64_t{1} << (processor / 64)) - 1);
    const bool has_bank = ((page[3] >> (processor / 64)) & 1) != 0;
    return has_bank &&
           ((page[4 + static_cast<unsigned>(std::popcount(below))] >> (processor % 64)) & 1) != 0;
  };
  if (sparse) {
    if (page[2] != 0) return kInvalidInput;
    at += static_cast<unsigned>(std::popcount(page[3]));
    if (((control >> 17) & 0x3ff) != at - 4) return kInvalidInput;
  }
  HostCpuMask targets;
  for (CpuId id = 0; id < machine_.cpu_count(); ++id) {
    if (is_named(60 + (2 * id))) targets.set(id);
  }
  announce("hypercall: flush", targets, where);
  if (fails_now()) return kInvalidInput;

  const std::uint32_t root = FramePool::frame_at(page[0]);
  const bool every_mm = (page[1] & 2) != 0;
  const bool non_global = (page[1] & 4) != 0;
  Dropped dropped{.every_pcid = true, .globals = !non_global};
  if (!every_mm) dropped.root = root;
  if (!list) {
    flush_each(targets, dropped, [&](Tlb& tlb) { tlb.flush_mm(root, every_mm, non_global, 0, 0); });
    return 0;
  }
  // A part of a long list at a time, as a hypervisor does that must not run for too long.
  const std::uint64_t count = (control >> 32) & 0xfff;
  const std::uint64_t start = (control >> 48) & 0xfff;
  if (start >= count || at + count > page.size()) return kInvalidInput;
  const std::uint64_t end = start + ((count - start + 1) / 2);
  for (std::uint64_t i = start; i < end; ++i) {
    const std::uint64_t word = page[at + i];
    dropped.address = word & ~std::uint64_t{0xfff};
    dropped.pages = (word & 0xfff) + 1;
    flush_each(targets, dropped, [&](Tlb& tlb) {
      tlb.flush_mm(root, every_mm, non_global, dropped.address, dropped.pages);
    });
  }
  return end << 32;
}

// ---- Xen

int Hypervisor::xen_operation(const XenOperation& operation, Site where) {
  constexpr int kInvalid = -22;
  machine_.scheduler().visible(Pending::drained);
  machine_.memory().serialise(machine_.running());
  const CpuId self = machine_.running().id;
  const bool local = operation.command == 6 || operation.command == 7;
  const bool by_address = operation.command == 7 || operation.command == 9;
  if (operation.command < 6 || operation.command > 9) return kInvalid;
  HostCpuMask targets;
  if (local) {
    targets.set(self);
    machine_.note(OpClass::hypervisor, operation.command);
    if (machine_.recorder().has_timeline())
      machine_.recorder().line("hypercall: flush this CPU", where);
  } else {
    const auto* bits = reinterpret_cast<const std::uint64_t*>(operation.processors);
    for (CpuId id = 0; id < machine_.cpu_count(); ++id) {
      if (((bits[id / 64] >> (id % 64)) & 1) != 0) targets.set(id);
    }
    announce("hypercall: flush", targets, where);
  }
  if (fails_now()) return kInvalid;
  const Dropped dropped{.address = by_address ? operation.address : 0,
                        .pages = by_address ? 1U : 0U,
                        .every_pcid = true,
                        .globals = true};
  flush_each(targets, dropped, [&](Tlb& tlb) {
    if (by_address) {
      tlb.flush_address_everywhere(operation.address);
    } else {
      tlb.clear();
    }
  });
  return 0;
}

// ---- Hub

HostCpuMask Hypervisor::bau_send(const BauMessage& message, const HostCpuMask& targets,
                                 Site where) {
  machine_.scheduler().visible(Pending::drained);
  machine_.memory().serialise(machine_.running());
  const CpuId self = machine_.running().id;
  announce("message to", targets, where);
  const std::uint64_t unreachable = std::exchange(vcpus_[self].unreachable, 0);
  HostCpuMask leftover;
  HostCpuMask reached;
  targets.for_each([&](CpuId id) {
    BauPort& port = bau_[id];
    if (!port.open || ((unreachable >> (id % 8)) & 1) != 0) {
      leftover.set(id);
      return;
    }
    port.inbox[port.size++] = message;
    reached.set(id);
    machine_.cpu(id).bau_pending = true;
  });
  for (std::size_t i = 0; i < HostCpuMask::kWords; ++i) {
    bau_[self].unanswered[i].poke(reached.word(i));
  }
  machine_.changed();
  return leftover;
}

bool Hypervisor::bau_outstanding(Site where) {
  for (auto& word : bau_[machine_.running().id].unanswered) {
    if (word.load(std::memory_order_acquire, where) != 0) return true;
  }
  return false;
}

void Hypervisor::bau_close(Site where) {
  machine_.scheduler().visible(Pending::drained);
  machine_.memory().serialise(machine_.running());
  machine_.note(OpClass::hypervisor, 0);
  bau_[machine_.running().id].open = false;
  if (machine_.recorder().has_timeline()) {
    machine_.recorder().line("takes no more messages", where);
  }
}

bool Hypervisor::bau_receive(BauMessage& message, Site where) {
  if (machine_.setup().hardware.backend != Backend::uv_bau) return false;
  machine_.scheduler().visible(Pending::drained);
  machine_.memory().serialise(machine_.running());
  BauPort& port = bau_[machine_.running().id];
  machine_.note(OpClass::hypervisor, port.size);
  if (port.size == 0) return false;
  message = port.inbox[0];
  for (unsigned i = 1; i < port.size; ++i) port.inbox[i - 1] = port.inbox[i];
  --port.size;
  if (machine_.recorder().has_timeline()) {
    machine_.recorder().line("takes the message of cpu" + std::to_string(message.sender), where);
  }
  return true;
}

void Hypervisor::bau_acknowledge(const BauMessage& message, Site where) {
  const CpuId self = machine_.running().id;
  const std::uint64_t bit = std::uint64_t{1} << (self % 64);
  bau_[message.sender].unanswered[self / 64].fetch_and(~bit, std::memory_order_release, where);
}

}  // namespace shootdown::host

#include "fuzz/oracles/hardware/use.h"

#include <string>
#include <string_view>

#include "fuzz/oracles/reports/names.h"

namespace shootdown::fuzz {

using host::FrameKind;
using host::FramePool;
using host::TlbEntry;

template <class Use>
void UseChecker::check_demand(CpuId cpu, const TlbEntry& entry, unsigned page, const char* title,
                              Use&& use) const {
  const bool kernel = entry.from.mm == kKernelMm;
  const Demand& demand = truth_.page_behind(entry, page).demand;
  if (!truth_.is_outdated(entry, page) || entry.from.version >= demand.version) return;
  truth_.fail(kernel ? Oracle::o13 : Oracle::o2, title + std::string(older_than(demand)),
              cpu_name(cpu) + " cached " + (kernel ? "kernel page " : "page ") +
                  std::to_string(page) + " at step " + std::to_string(entry.from.step) + "; " +
                  made_by(demand) + ".",
              {.step = demand.step,
               .cpu = demand.cpu,
               .what = demand.by == Demand::By::operation ? "the operation was complete"
                                                          : "the flush of the page returned"},
              use());
}

bool UseChecker::on_use(CpuId cpu, VirtAddr address, const TlbEntry& entry) const {
  if (entry.frame == FramePool::kNoFrame) {
    truth_.fail(Oracle::o6, "a CPU uses an entry that names no memory", "There is no such frame.",
                truth_.fill_event(cpu, entry), truth_.event(cpu, "uses it"));
    return false;
  }
  truth_.machine().record_access(host::place(host::LocationKind::frame, entry.frame), false);
  const bool kernel = entry.from.mm == kKernelMm;
  const unsigned page = kernel ? kernel_page_of(address) : page_of(address);
  const unsigned mm = kernel ? kKernelMm : truth_.cpu(cpu).mm;
  const std::string_view half = kernel ? "kernel page " : "page ";
  const auto use = [&] {
    return truth_.event(cpu,
                        "uses it for an access to " + std::string(half) + std::to_string(page));
  };
  if (!kernel && (entry.from.mm != mm || entry.from.life != truth_.mm(mm).life)) {
    truth_.fail(Oracle::o4, "a CPU uses a translation of another address space",
                cpu_name(cpu) + " runs " + truth_.owner_name(mm) + " but the entry is from " +
                    truth_.origin_name(entry.from) + ".",
                truth_.fill_event(cpu, entry), use());
    return false;
  }
  check_demand(cpu, entry, page, "a CPU uses a translation ", use);
  if (truth_.machine().frames().info(entry.frame).kind != FrameKind::data) {
    truth_.fail(Oracle::o6, "a CPU uses a frame that was released",
                cpu_name(cpu) + " accesses a dead frame.", truth_.fill_event(cpu, entry), use());
  }
  return !kernel;
}

void UseChecker::on_page_store(CpuId cpu, VirtAddr address, const TlbEntry& entry,
                               std::uint32_t life) const {
  const bool kernel = entry.from.mm == kKernelMm;
  const unsigned page = kernel ? kernel_page_of(address) : page_of(address);
  const auto arrival = [&] { return truth_.event(cpu, "has the store in memory only now"); };
  const host::FrameInfo& info = truth_.machine().frames().info(entry.frame);
  if (info.kind != FrameKind::data || info.life != life) {
    truth_.fail(Oracle::o6, "a store reaches a frame that was released",
                cpu_name(cpu) + " stored to " + (kernel ? "kernel page " : "page ") +
                    std::to_string(page) + ", and the store was still in its store buffer.",
                truth_.change_event(info, "released the frame"), arrival());
    return;
  }
  check_demand(cpu, entry, page, "a store reaches memory through a translation ", arrival);
}

}  // namespace shootdown::fuzz

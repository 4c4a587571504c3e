#include "fuzz/oracles/hardware/promises.h"

#include "fuzz/oracles/reports/names.h"
#include "hal/host/walk.h"

namespace shootdown::fuzz {

using host::TlbEntry;

void PromiseChecker::start() {
  for (Promises& promises : batch_) promises.size = 0;
  for (Promises& promises : promise_) promises.size = 0;
}

void PromiseChecker::Promises::add(const Promise& promise) {
  for (unsigned i = 0; i < size; ++i) {
    if (items[i].mm != promise.mm || items[i].page != promise.page) continue;
    items[i] = promise;
    return;
  }
  items[size++] = promise;
}

void PromiseChecker::on_batch_add(CpuId cpu) {
  truth_.machine().record_access(place(Ghost::demands), false);
  const unsigned mm = truth_.changed_mm(cpu);
  const unsigned page = truth_.changed_page(cpu);
  batch_[truth_.thread_on(cpu)].add({.mm = mm,
                                     .life = truth_.mm(mm).life,
                                     .page = page,
                                     .version = truth_.mm(mm).pages[page].version});
}

void PromiseChecker::on_batch_returned(CpuId cpu) {
  check(cpu, batch_[truth_.thread_on(cpu)], Oracle::o20,
        "a batch flush returns while a CPU can still use what it removed");
  batch_[truth_.thread_on(cpu)].size = 0;
}

void PromiseChecker::note_promise(unsigned mm, VirtAddr start, VirtAddr end) {
  Promises& promises = promise_[truth_.running_thread()];
  for (unsigned page = 0; page < kPages; ++page) {
    const VirtAddr address = probe_address(page);
    if (address < start || address >= end) continue;
    truth_.machine().record_access(Truth::version_place(mm, page), false);
    const std::uint64_t version = truth_.mm(mm).pages[page].version;
    if (version == 0) continue;
    promises.add({.mm = mm, .life = truth_.mm(mm).life, .page = page, .version = version});
  }
}

void PromiseChecker::on_promise() {
  const CpuId cpu = truth_.machine().running().id;
  check(cpu, promise_[truth_.running_thread()], Oracle::o21,
        "an operation completes over a change that is not flushed");
  promise_[truth_.running_thread()].size = 0;
}

bool PromiseChecker::Promises::are_broken_by(const TlbEntry& entry) const {
  const unsigned page = page_of(entry.page << entry.shift);
  for (unsigned i = 0; i < size; ++i) {
    const Promise& promise = items[i];
    if (promise.mm == entry.from.mm && promise.page == page && promise.life == entry.from.life &&
        entry.from.version < promise.version) {
      return true;
    }
  }
  return false;
}

void PromiseChecker::check(CpuId cpu, const Promises& promises, Oracle oracle, const char* title) {
  if (promises.size == 0) return;
  truth_.machine().record_access(place(Ghost::demands), false);
  const auto by = oracle == Oracle::o20 ? Demand::By::batch : Demand::By::operation;
  for (unsigned i = 0; i < promises.size; ++i) {
    const Promise& promise = promises.items[i];
    truth_.record_page_access(promise.page);
    if (promise.life != truth_.mm(promise.mm).life) continue;
    truth_.demand(
        promise.mm, promise.page,
        {.version = promise.version, .step = truth_.machine().step(), .cpu = cpu, .by = by});
    device_.on_promised(cpu, promise.mm, promise.life, promise.page, promise.version, oracle);
  }
  truth_.for_each_usable(
      [&](const TlbEntry& entry) { return promises.are_broken_by(entry); },
      [&](CpuId target, const TlbEntry& entry) {
        truth_.fail(oracle, title,
                    cpu_name(target) + " runs " + mm_name(entry.from.mm) + " with " +
                        page_name(page_of(entry.page << entry.shift)) + " from before the change.",
                    truth_.fill_event(target, entry), truth_.event(cpu, "completes"));
      });
}

void PromiseChecker::on_copy(std::uint32_t from) const {
  truth_.record_page_accesses();
  const CpuId self = truth_.machine().running().id;
  // Without the dirty bit in the entry a store walks first, and sees what memory says.
  const auto writes = [&](const TlbEntry& entry) {
    return entry.frame == from && entry.rights.writable && entry.dirty;
  };
  truth_.for_each_usable(writes, [&](CpuId target, const TlbEntry& entry) {
    truth_.fail(Oracle::o21, "a page is copied while a CPU can still store to it",
                cpu_name(target) + " may store to the old frame behind the copy's back.",
                truth_.fill_event(target, entry), truth_.event(self, "copies the page"));
  });
}

void PromiseChecker::on_cleaned(unsigned mm, VirtAddr start, VirtAddr end) const {
  truth_.record_page_accesses();
  const CpuId self = truth_.machine().running().id;
  const auto writes = [&](const TlbEntry& entry) {
    const unsigned page = page_of(entry.page << entry.shift);
    const VirtAddr address = probe_address(page);
    return entry.from.mm == mm && start <= address && address < end && entry.rights.writable &&
           entry.dirty && (truth_.kernel().leaf(mm, page) & host::kPteDirty) == 0;
  };
  truth_.for_each_usable(writes, [&](CpuId target, const TlbEntry& entry) {
    const unsigned page = page_of(entry.page << entry.shift);
    truth_.fail(Oracle::o21, "a page counts as clean while a CPU can store to it unseen",
                cpu_name(target) + " has " + page_name(page) + " of " + mm_name(mm) +
                    " cached with the dirty bit set.",
                truth_.fill_event(target, entry), truth_.event(self, "takes the page for clean"));
  });
}

}  // namespace shootdown::fuzz

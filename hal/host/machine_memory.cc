// How stores of simulated CPUs become visible.
#include "hal/host/machine.h"

namespace shootdown::host {

void Machine::buffer_store(BufferedStore store, std::memory_order order) {
  HostCpu& self = *running_;
  if (self.stores.full()) drain(self, 1);
  if (reorders()) [[unlikely]] {
    cxx_.store(self.id, store, self.stores.size(), order);
  }
  store.number = self.stores_buffered++;
  self.stores.push(store);
}

void Machine::leave_buffer(HostCpu& cpu, unsigned index) {
  const BufferedStore store = cpu.stores.take(index);
  if (reorders()) [[unlikely]] {
    cxx_.leave(cpu.id, index);
  }
  touch(stored(cpu.id, store.number), true);
  touch(place(Part::buffer, cpu.id), true);
  touch(place(Part::pending, cpu.id), true);  // interrupts wait for an empty buffer
  store.commit(store);
}

void Machine::stores_left(const HostCpu& cpu) {
  ++changes_;
  if (!observing_) return;
  observer_->after_change(cpu.id);
  stop_if_failed();
}

void Machine::drain(HostCpu& cpu, unsigned count) {
  if (cpu.stores.empty() || count == 0) return;
  for (; count > 0 && !cpu.stores.empty(); --count) leave_buffer(cpu, 0);
  stores_left(cpu);
}

void Machine::overtake(HostCpu& cpu, std::uint64_t choice) {
  if (!reorders()) return;
  unsigned candidates = 0;
  for (unsigned i = 1; i < cpu.stores.size(); ++i) candidates += cpu.stores.may_overtake(i) ? 1 : 0;
  if (candidates == 0) return;
  choice %= candidates;
  for (unsigned i = 1;; ++i) {
    if (!cpu.stores.may_overtake(i)) continue;
    if (choice-- != 0) continue;
    leave_buffer(cpu, i);
    return stores_left(cpu);
  }
}

void Machine::drain_before_modify(const void* word, std::memory_order order) {
  HostCpu& self = *running_;
  if (self.stores.empty()) return;
  const StoreBuffer& stores = self.stores;
  if (releases(order)) return drain(self, StoreBuffer::kStores);
  // A compiler may have put the others behind this operation: what it has emitted already is
  // behind a barrier, and the word's own stores keep their order.
  const std::uint16_t epoch = cxx_.epoch(self.id);
  unsigned must = 0;
  for (unsigned i = 0; i < stores.size(); ++i) {
    const BufferedStore& store = stores[i];
    if (store.epoch != epoch || (store.word == word && !stores.may_overtake(i))) must = i + 1;
  }
  drain(self, must);
  for (unsigned i = 0; i < stores.size();) {
    if (stores[i].word != word) {
      ++i;
      continue;
    }
    leave_buffer(self, i);
    stores_left(self);
  }
}

void Machine::record_drain(CpuId cpu, const void* address, std::uint64_t value) {
  timeline_.push_back({.step = step_,
                       .cpu = cpu,
                       .what = "  drains " +
                               (observer_ != nullptr ? observer_->label(address) : "word") + " = " +
                               std::to_string(value),
                       .where = Site()});
}

}  // namespace shootdown::host

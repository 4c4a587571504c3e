#include "hal/host/cxx_memory.h"

#include <algorithm>

namespace shootdown::host {

void CxxMemory::prepare() {
  for (CpuId cpu = 0; cpu < kHostCpus; ++cpu) {
    cpus_[cpu] = {};
    // Time 0 is before the run: every CPU knows what happened then.
    cpus_[cpu].knows.times[cpu] = 1;
  }
  words_.clear();
  index_.fill(0);
  time_ = 0;
  was_stale_ = false;
  has_forgotten_ = false;
}

void CxxMemory::publish_all() {
  for (Cpu& one : cpus_) {
    for (const Cpu& other : cpus_) one.knows.join(other.knows);
  }
  for (CpuId cpu = 0; cpu < kHostCpus; ++cpu) ++cpus_[cpu].knows.times[cpu];
  words_.clear();
  index_.fill(0);
}

std::size_t CxxMemory::slot_of(const void* address) {
  const auto number = reinterpret_cast<std::uintptr_t>(address) >> 2;
  return (number * 0x9e37'79b9'7f4a'7c15 >> 40) % kIndex;
}

CxxMemory::Word* CxxMemory::find(const void* address) {
  for (std::size_t slot = slot_of(address); index_[slot] != 0; slot = (slot + 1) % kIndex) {
    Word& word = words_[index_[slot] - 1U];
    if (word.address == address) return word.count == 0 ? nullptr : &word;
  }
  return nullptr;
}

CxxMemory::Word* CxxMemory::find_or_add(const void* address, std::uint64_t value) {
  std::size_t slot = slot_of(address);
  while (index_[slot] != 0 && words_[index_[slot] - 1U].address != address) {
    slot = (slot + 1) % kIndex;
  }
  if (index_[slot] == 0) {
    // More words than any scenario has: what does not fit has no past.
    if (words_.size() == kIndex / 2) {
      has_forgotten_ = true;
      return nullptr;
    }
    words_.emplace_back();
    words_.back().address = address;
    words_.back().count = 0;
    index_[slot] = static_cast<std::uint16_t>(words_.size());
  }
  Word& word = words_[index_[slot] - 1U];
  if (word.count == 0) {
    word.count = 1;
    word.values[0] = {.bits = value, .since = 0, .released = {}};
    word.seen.fill(0);
  }
  return &word;
}

void CxxMemory::forget(const void* word) {
  if (Word* found = find(word)) found->count = 0;
}

void CxxMemory::append(CpuId cpu, Word& word, std::uint64_t bits, const VectorClock& released) {
  if (word.count == word.values.size()) {
    std::move(word.values.begin() + 1, word.values.end(), word.values.begin());
    --word.count;
  }
  word.values[word.count++] = {.bits = bits, .since = ++time_, .released = released};
  word.seen[cpu] = time_;
}

void CxxMemory::take_over(CpuId cpu, const VectorClock& released, std::memory_order order) {
  Cpu& self = cpus_[cpu];
  (acquires(order) ? self.knows : self.on_fence).join(released);
}

VectorClock CxxMemory::released_by(CpuId cpu, std::memory_order order) {
  Cpu& self = cpus_[cpu];
  if (!releases(order)) return self.at_fence;
  const VectorClock told = self.knows;
  ++self.knows.times[cpu];
  return told;
}

std::uint64_t CxxMemory::load(CpuId cpu, const void* word, std::uint64_t newest,
                              std::memory_order order) {
  was_stale_ = false;
  Word* found = find(word);
  if (found == nullptr) return newest;
  Cpu& self = cpus_[cpu];
  const std::uint32_t least = std::max(self.floor, found->seen[cpu]);
  unsigned chosen = found->count - 1;
  // A value may be read if the one after it came later than everything that this load must see.
  for (unsigned left = self.age; left > 0 && chosen > 0; --left) {
    if (found->values[chosen].since <= least) break;
    --chosen;
    was_stale_ = true;
  }
  if (was_stale_) self.age = 0;
  const Value& value = found->values[chosen];
  found->seen[cpu] = std::max(found->seen[cpu], value.since);
  // The load may have been executed as soon as the value was there.
  if (acquires(order)) self.floor = std::max(self.floor, value.since);
  take_over(cpu, value.released, order);
  return was_stale_ ? value.bits : newest;
}

unsigned CxxMemory::older_values(CpuId cpu, const void* word) {
  const Word* found = find(word);
  if (found == nullptr) return 0;
  const std::uint32_t least = std::max(cpus_[cpu].floor, found->seen[cpu]);
  unsigned older = 0;
  while (older + 1 < found->count && found->values[found->count - 1 - older].since > least) {
    ++older;
  }
  return older;
}

void CxxMemory::store(CpuId cpu, BufferedStore& store, unsigned index, std::memory_order order) {
  store.releases = releases(order);
  store.epoch = cpus_[cpu].epoch;
  cpus_[cpu].buffered[index] = released_by(cpu, order);
}

void CxxMemory::leave(CpuId cpu, unsigned index) {
  auto& buffered = cpus_[cpu].buffered;
  leaving_ = buffered[index];
  std::move(buffered.begin() + index + 1, buffered.end(), buffered.begin() + index);
}

void CxxMemory::commit(CpuId cpu, const void* word, std::uint64_t before, std::uint64_t after) {
  if (Word* found = find_or_add(word, before)) append(cpu, *found, after, leaving_);
}

void CxxMemory::modify(CpuId cpu, const void* word, std::uint64_t before, std::uint64_t after,
                       std::memory_order order) {
  if (Word* found = find_or_add(word, before)) {
    const VectorClock previous = found->values[found->count - 1].released;
    take_over(cpu, previous, order);
    // A read-modify-write goes on telling what the value before it told.
    VectorClock released = released_by(cpu, order);
    released.join(previous);
    append(cpu, *found, after, released);
  }
  if (acquires(order)) cpus_[cpu].floor = time_;
}

void CxxMemory::barrier(CpuId cpu) {
  ++cpus_[cpu].epoch;
  cpus_[cpu].floor = time_;
}

void CxxMemory::fence(CpuId cpu) {
  barrier(cpu);
  Cpu& self = cpus_[cpu];
  self.knows.join(self.on_fence);
  self.at_fence = self.knows;
  ++self.knows.times[cpu];
}

void CxxMemory::meet(CpuId one, CpuId other) {
  fence(one);
  fence(other);
  cpus_[one].knows.join(cpus_[other].knows);
  cpus_[other].knows.join(cpus_[one].knows);
  fence(one);
  fence(other);
}

}  // namespace shootdown::host

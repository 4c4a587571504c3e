// The store buffer of a simulated CPU, as x86-TSO has it: stores leave it in order, and until then
// only their own CPU sees them (SDM vol. 3, 9.2.3; Sewell and others, x86-TSO, CACM 2010).
#pragma once

#include <array>
#include <cstdint>

#include "core/types.h"

namespace shootdown::host {

/// A store that other CPUs do not see yet.
struct BufferedStore {
  void* word{nullptr};
  std::uint64_t bits{0};
  /// Makes it visible. Knows the word's type.
  void (*commit)(const BufferedStore& store){nullptr};
  std::uint32_t site{0};  // where in the source it was, for feedback
  std::uint8_t cpu{0};
  // What a compiler may do with it: it is a release; how many compiler barriers its CPU had passed.
  bool releases{false};
  std::uint16_t epoch{0};
  std::uint64_t number{0};  // of all that the CPU has buffered
};

/// First in, first out, unless a compiler has changed the order. A full one drains before the next
/// store, as hardware's does.
class StoreBuffer {
 public:
  static constexpr unsigned kStores = 16;

  [[nodiscard]] bool empty() const { return size_ == 0; }
  [[nodiscard]] bool full() const { return size_ == kStores; }
  [[nodiscard]] unsigned size() const { return size_; }
  [[nodiscard]] const BufferedStore& operator[](unsigned index) const { return stores_[index]; }
  void clear() { size_ = 0; }
  /// Precondition: not full.
  void push(const BufferedStore& store) { stores_[size_++] = store; }
  /// Precondition: index < size(); 0 is the oldest.
  BufferedStore take(unsigned index) {
    const BufferedStore taken = stores_[index];
    --size_;
    for (unsigned i = index; i < size_; ++i) stores_[i] = stores_[i + 1];
    return taken;
  }

  /// Whether a compiler may have put the store at `index` before all that are older.
  [[nodiscard]] bool may_overtake(unsigned index) const {
    const BufferedStore& store = stores_[index];
    if (store.releases) return false;
    for (unsigned i = 0; i < index; ++i) {
      if (stores_[i].word == store.word || stores_[i].epoch != store.epoch) return false;
    }
    return true;
  }

  /// The newest store to `word`, or null: what its own CPU reads.
  [[nodiscard]] const BufferedStore* find(const void* word) const {
    for (unsigned i = size_; i > 0; --i) {
      if (stores_[i - 1].word == word) return &stores_[i - 1];
    }
    return nullptr;
  }

 private:
  std::array<BufferedStore, kStores> stores_{};
  unsigned size_{0};
};

}  // namespace shootdown::host
